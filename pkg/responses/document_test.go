package responses_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/responses"
)

func TestDocument(t *testing.T) {
	memory, _ := newMemory(1 << 20)
	respond := func(method, ifNoneMatch string, err error) (recorder *httptest.ResponseRecorder, made bool) {
		recorder = httptest.NewRecorder()
		c := gin.CreateTestContextOnly(recorder, gin.New())
		c.Request = httptest.NewRequest(method, "/", nil)
		if ifNoneMatch != "" {
			c.Request.Header.Set("If-None-Match", ifNoneMatch)
		}
		c.Header("Content-Language", "en")
		reserved, failed := memory.Reserve(c, 100)
		require.NoError(t, failed)
		defer reserved.Release()
		responses.Document(c, responses.PageETag("", responses.Pager{}, nil), "application/rss+xml", "zh-CN", reserved, func() ([]byte, error) {
			made = true
			return []byte("<rss/>"), err
		})
		return recorder, made
	}
	whole, _ := respond(http.MethodGet, "", nil)
	require.Equal(t, http.StatusOK, whole.Code)
	require.Equal(t, "<rss/>", whole.Body.String())
	require.Equal(t, "application/rss+xml; charset=utf-8", whole.Header().Get("Content-Type"))
	require.Equal(t, "6", whole.Header().Get("Content-Length"))
	require.Equal(t, "zh-CN", whole.Header().Get("Content-Language"))
	etag := whole.Header().Get("ETag")
	head, made := respond(http.MethodHead, "", nil)
	require.False(t, made)
	require.Equal(t, [3]any{http.StatusOK, "application/rss+xml; charset=utf-8", etag}, [3]any{head.Code, head.Header().Get("Content-Type"), head.Header().Get("ETag")})
	unchanged, made := respond(http.MethodGet, etag, nil)
	require.False(t, made)
	require.Equal(t, http.StatusNotModified, unchanged.Code)
	failed, _ := respond(http.MethodGet, "", errors.New("broken"))
	require.Equal(t, http.StatusInternalServerError, failed.Code)
	require.Equal(t, "en", failed.Header().Get("Content-Language"))
	require.Empty(t, failed.Header().Get("ETag"))
}
