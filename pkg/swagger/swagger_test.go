package swagger_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
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
		"/swagger/tag":                      {http.StatusMovedPermanently, "", ""},
		"/swagger/tag/":                     {http.StatusOK, "text/html; charset=utf-8", "swagger-ui-bundle.js"},
		"/swagger":                          {http.StatusMovedPermanently, "", ""},
		"/swagger/":                         {http.StatusMovedPermanently, "", ""},
		"/swagger/tag/page.js":              {http.StatusOK, "text/javascript; charset=utf-8", "persistAuthorization: true"},
		"/swagger/tag/descriptions.json":    {http.StatusOK, "application/json; charset=utf-8", `[{"name":"tag","url":"openapi.json"}]`},
		"/swagger/tag/swagger-ui.css":       {http.StatusOK, "text/css; charset=utf-8", ".swagger-ui"},
		"/swagger/tag/swagger-ui-bundle.js": {http.StatusOK, "text/javascript; charset=utf-8", "SwaggerUIBundle"},
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

// Redirects are relative, so that they work behind a prefix of the path.
func TestRedirects(t *testing.T) {
	engine := gin.New()
	swagger.Register(engine, "tag", nil)
	for from, to := range map[string]string{"/swagger": "swagger/tag/", "/swagger/": "tag/", "/swagger/tag": "tag/"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			recorder := httptest.NewRecorder()
			engine.ServeHTTP(recorder, httptest.NewRequest(method, from, nil))
			require.Equal(t, http.StatusMovedPermanently, recorder.Code)
			require.Equal(t, to, recorder.Header().Get("Location"), from)
		}
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

// Every file is sent compressed, and kept for a year under the URL that the page uses.
func TestAssetsAreCompressedAndCached(t *testing.T) {
	engine := gin.New()
	swagger.Register(engine, "tag", nil)
	do := func(target string, headers ...string) *httptest.ResponseRecorder {
		recorder, request := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/swagger/tag/"+target, nil)
		for i := 0; i < len(headers); i += 2 {
			request.Header.Set(headers[i], headers[i+1])
		}
		engine.ServeHTTP(recorder, request)
		return recorder
	}
	plain := func(answer *httptest.ResponseRecorder) string {
		r, err := gzip.NewReader(answer.Body)
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		return string(content)
	}
	page := do("", "Accept-Encoding", "gzip, deflate, br")
	require.Equal(t, "no-cache", page.Header().Get("Cache-Control"))
	urls := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(plain(page), -1)
	require.Len(t, urls, 5)
	for _, url := range append(urls, []string{"", ""}) {
		packed, unpacked := do(url[1], "Accept-Encoding", "br, gzip;q=0.5"), do(url[1])
		require.Equal(t, http.StatusOK, packed.Code, url)
		require.Equal(t, "gzip", packed.Header().Get("Content-Encoding"))
		require.Empty(t, unpacked.Header().Get("Content-Encoding"))
		require.NotEmpty(t, unpacked.Body.String())
		require.Equal(t, unpacked.Body.String(), plain(packed), url)
		require.Equal(t, unpacked.Body.String(), do(url[1], "Accept-Encoding", "gzip;q=0").Body.String())
		if url[1] != "" {
			require.Equal(t, "public, max-age=31536000, immutable", packed.Header().Get("Cache-Control"), url)
			name, _, _ := strings.Cut(url[1], "?")
			require.Equal(t, "no-cache", do(name).Header().Get("Cache-Control"))
			require.Equal(t, "no-cache", do(name+"?v=0").Header().Get("Cache-Control"))
		}
		require.NotEqual(t, packed.Header().Get("ETag"), unpacked.Header().Get("ETag"))
		for _, answer := range []*httptest.ResponseRecorder{packed, unpacked} {
			require.Equal(t, "Accept-Encoding", answer.Header().Get("Vary"))
			require.Regexp(t, `^"[^"]+"$`, answer.Header().Get("ETag"))
			again := do(url[1], "If-None-Match", answer.Header().Get("ETag"), "Accept-Encoding", answer.Header().Get("Content-Encoding"))
			require.Equal(t, http.StatusNotModified, again.Code)
			require.Empty(t, again.Body.String())
		}
	}
}
