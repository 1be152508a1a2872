package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// nextArticle is the article of a release that has one more field.
type nextArticle struct {
	ID       uint64 `json:"id"`
	Title    string `json:"title"`
	Subtitle string `json:"subtitle"`
}

// nextRelease returns a handler that reads and changes articles of the database of
// s, in another shape.
func nextRelease(t *testing.T, s *service) http.Handler {
	t.Helper()
	articles := article.NewService(s.store, s.follow, mebibyte)
	respond := func(c *gin.Context, a article.Article, err error) {
		if err != nil {
			responses.Error(c, err)
			return
		}
		etag := responses.ETag{Version: a.Version(), Shape: responses.ShapeOf[nextArticle]()}
		responses.Object(c, etag, nextArticle{ID: a.ID, Title: a.Title}, nil)
	}
	engine := gin.New()
	engine.GET("/api/v1/articles/:id", func(c *gin.Context) {
		id, err := requests.ID(c, 0)
		require.NoError(t, err)
		found, err := articles.Get(c.Request.Context(), article.Authenticated, id)
		require.NoError(t, err)
		respond(c, found.Article, nil)
	})
	engine.PUT("/api/v1/articles/:id", func(c *gin.Context) {
		id, err := requests.ID(c, 0)
		require.NoError(t, err)
		title := "changed by the next release"
		updated, err := articles.Update(c.Request.Context(), id, article.Draft{Title: &title}, responses.Precondition(c))
		respond(c, updated, err)
	})
	return engine
}

// During a rollout, a client can read from one release and write to the other.
func TestTwoShapesOnOneDatabase(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		path := at(s.create(t, fields{"title": "a", "tag_ids": []int{1}}).ID)
		old, next := s.handler, nextRelease(t, s)
		send := func(release http.Handler, method, header, etag string) *http.Response {
			request := httptest.NewRequest(method, path, strings.NewReader(`{"title":"b"}`))
			request.Header = http.Header{"Authorization": {s.token}, "Content-Type": {"application/json"}, header: {etag}}
			recorder := httptest.NewRecorder()
			release.ServeHTTP(recorder, request)
			return recorder.Result()
		}
		etag := func(release http.Handler) string {
			return send(release, http.MethodGet, "Accept", "*/*").Header.Get("ETag")
		}
		stale := []string{etag(old), etag(next)}
		require.NotEqual(t, stale[0], stale[1])
		require.Equal(t, http.StatusOK, send(old, http.MethodGet, "If-None-Match", etag(next)).StatusCode, "the client has the response of another release")
		require.Equal(t, http.StatusNotModified, send(old, http.MethodGet, "If-None-Match", etag(old)).StatusCode)

		require.Equal(t, http.StatusOK, send(next, http.MethodPut, "If-Match", etag(old)).StatusCode)
		require.Equal(t, http.StatusOK, send(old, http.MethodPut, "If-Match", etag(next)).StatusCode)
		for _, release := range []http.Handler{old, next} {
			for _, tag := range stale {
				require.Equal(t, http.StatusPreconditionFailed, send(release, http.MethodPut, "If-Match", tag).StatusCode)
			}
		}
	})
}
