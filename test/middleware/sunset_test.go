package middleware

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
)

func TestSunset(t *testing.T) {
	handler, err := sunset(SunsetConfig{Prefix: "/api/v0/", Date: "2027-01-31"})
	require.NoError(t, err)
	engine := gin.New()
	engine.Use(handler)
	for path, want := range map[string]string{"/api/v0/things": "Sun, 31 Jan 2027 00:00:00 GMT", "/api/v1/things": ""} {
		recorder := httptest.NewRecorder()
		engine.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, want, recorder.Header().Get("Sunset"))
	}
}
