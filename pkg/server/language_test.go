package server_test

import (
	"net/http"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/locale"
	"github.com/achilles-blog/achilles/pkg/server"
)

func TestLanguage(t *testing.T) {
	f := start(t, server.Default(), func(e *gin.Engine) {
		e.GET("/language", func(c *gin.Context) { c.String(http.StatusOK, locale.FromContext(c)) })
	})
	require.Equal(t, locale.ZH, f.do("GET", "/language", "").body)
	require.Equal(t, locale.EN, f.do("GET", "/language", "", "locale", "en").body)
	require.Equal(t, locale.ZHHantTW, f.do("GET", "/language", "", "Accept-Language", "zh-TW, en;q=0.5").body)
	require.Equal(t, locale.EN, f.do("GET", "/language", "", "locale", "en", "Accept-Language", "zh-TW").body)
}
