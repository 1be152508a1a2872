package swagger_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/swagger"
)

func TestRegister(t *testing.T) {
	engine := gin.New()
	swagger.Register(engine, "tag", []byte(`{"openapi":"3.0.3"}`))
	cases := map[string]struct {
		status      int
		contentType string
		contains    string
	}{
		"/swagger/tag":                      {http.StatusMovedPermanently, "text/html; charset=utf-8", "/swagger/tag/"},
		"/swagger/tag/":                     {http.StatusOK, "text/html; charset=utf-8", "swagger-ui-bundle.js"},
		"/swagger":                          {http.StatusMovedPermanently, "text/html; charset=utf-8", "/swagger/tag/"},
		"/swagger/":                         {http.StatusMovedPermanently, "text/html; charset=utf-8", "/swagger/tag/"},
		"/swagger/tag/page.js":              {http.StatusOK, "text/javascript; charset=utf-8", "persistAuthorization: true"},
		"/swagger/tag/descriptions.json":    {http.StatusOK, "application/json; charset=utf-8", `[{"name":"tag","url":"openapi.json"}]`},
		"/swagger/tag/swagger-ui.css":       {http.StatusOK, "text/css; charset=utf-8", ".swagger-ui"},
		"/swagger/tag/swagger-ui-bundle.js": {http.StatusOK, "application/javascript", "SwaggerUIBundle"},
		"/swagger/tag/openapi.json":         {http.StatusOK, "application/json; charset=utf-8", "3.0.3"},
		"/swagger/tag/swagger-ui.js.map":    {http.StatusNotFound, "text/plain", ""},
		"/swagger/tag/../../etc/passwd":     {http.StatusNotFound, "text/plain", ""},
	}
	for target, want := range cases {
		t.Run(target, func(t *testing.T) {
			recorder := httptest.NewRecorder()
			engine.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, target, nil))
			require.Equal(t, want.status, recorder.Code)
			require.Equal(t, want.contentType, recorder.Header().Get("Content-Type"))
			require.Contains(t, recorder.Body.String(), want.contains)
		})
	}
}

// The page must not use another host.
func TestPageUsesNoOtherHost(t *testing.T) {
	engine := gin.New()
	swagger.Register(engine, "tag", nil)
	for _, target := range []string{"/swagger/tag/", "/swagger/tag/page.js"} {
		recorder := httptest.NewRecorder()
		engine.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, target, nil))
		require.NotContains(t, recorder.Body.String(), "://")
		require.NotContains(t, recorder.Header().Get("Content-Security-Policy"), "://")
	}
}
