// Package api serves the HTTP API of the article service: its routes, its handlers,
// and the types of requests and responses.
package api

import (
	"context"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/batch"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/swagger"
	"github.com/achilles-blog/achilles/services/article/docs"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// Articles is the part of article.Service that the handlers use.
type Articles interface {
	Create(ctx context.Context, draft article.Draft, key idempotency.Key) (created article.Article, replayed bool, err error)
	CreateAll(ctx context.Context, drafts []article.Draft, key idempotency.Key) (created []article.Article, replayed bool, err error)
	CreateEach(ctx context.Context, items []batch.Item[article.Draft], key idempotency.Key) ([]batch.Result[article.Article], error)
	Get(ctx context.Context, viewer article.Viewer, id uint64) (*article.View, error)
	GetWithoutContent(ctx context.Context, viewer article.Viewer, id uint64) (*article.View, error)
	GetBySlug(ctx context.Context, viewer article.Viewer, slug string) (*article.View, error)
	GetBySlugWithoutContent(ctx context.Context, viewer article.Viewer, slug string) (*article.View, error)
	Newest(ctx context.Context, tag *string, limit int) (*article.List, error)
	List(ctx context.Context, viewer article.Viewer, filter article.Filter, page article.Page) (*article.List, error)
	Tags(ctx context.Context, viewer article.Viewer, page article.TagPage) (*article.TagList, error)
	ContentSizes(ctx context.Context, articles []article.Article) (map[uint64]int64, error)
	ContentSizeForUpdate(ctx context.Context, id uint64) (int64, error)
	Contents(ctx context.Context, articles []article.Article) (map[uint64]string, error)
	Export(ctx context.Context, viewer article.Viewer, after uint64, limit time.Duration, use func(article.Article) error) error
	Update(ctx context.Context, id uint64, draft article.Draft, precondition article.Precondition) (article.Article, error)
	Delete(ctx context.Context, id uint64, actor string, precondition article.Precondition) error
}

// API holds the dependencies of the handlers.
type API struct {
	Articles Articles
	Binder   *requests.Binder
	Paging   settings.Value[requests.Paging]
	Bodies   *requests.Bodies
	// Memory bounds the memory of responses.
	Memory *responses.Memory
	// Access is the middleware of every route of the API; see service.Service.
	Access []gin.HandlerFunc
	// LimitSearch limits lists that are expensive.
	LimitSearch gin.HandlerFunc
	// LimitBatch counts n further writes: those of a batch's objects after the first.
	LimitBatch func(c *gin.Context, n int)
	// Feed is the feed of changes. Client identifies the client of a request.
	Feed    Feed
	Client  func(*gin.Context) string
	Exports *Exports
	// WebFeeds is how the web feeds describe the site.
	WebFeeds WebFeeds
}

// Register adds the routes of the service.
//
//	@title			Achilles article service
//	@version		1
//	@description	Articles of the blog, and the tags they carry.
//	@license.name	Apache-2.0
//	@license.url	https://www.apache.org/licenses/LICENSE-2.0
//	@securityDefinitions.apikey	AppToken
//	@in							header
//	@name						Authorization
//	@description				a token from POST /auth, with the scope write for all but reads; the header "token" will do as well
func (a *API) Register(routes gin.IRouter) {
	articles := routes.Group("/api/v1/articles", a.Access...)
	write := articles.Group("", auth.RequireScope(auth.ScopeWrite))
	write.POST("", a.Bodies.Large, a.createArticle)
	write.POST("/batch", a.Bodies.Large, a.createArticles)
	articles.GET("", a.listArticles)
	articles.HEAD("", a.listArticles)
	articles.GET("/tags", a.listTags)
	articles.HEAD("/tags", a.listTags)
	articles.GET("/changes", a.listChanges)
	articles.HEAD("/changes", a.listChanges)
	articles.GET("/export", a.exportArticles)
	articles.HEAD("/export", a.exportArticles)
	articles.GET("/:id", a.getArticle)
	articles.HEAD("/:id", a.getArticle)
	articles.GET("/slug/:slug", a.getArticleBySlug)
	articles.HEAD("/slug/:slug", a.getArticleBySlug)
	a.registerWebFeeds(articles)
	write.PUT("/:id", a.Bodies.Large, a.updateArticle)
	write.PATCH("/:id", a.Bodies.Large, a.patchArticle)
	write.PATCH("/:id/state", a.setState)
	write.DELETE("/:id", a.deleteArticle)

	swagger.Register(routes.Group("", a.Access...), "article", docs.OpenAPI)
}
