// Package api serves the HTTP API of the tag service: its routes, its handlers,
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
	"github.com/achilles-blog/achilles/services/tag/docs"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// Tags is the part of tag.Service that the handlers use.
type Tags interface {
	Create(ctx context.Context, draft tag.Draft, key idempotency.Key) (created tag.Tag, replayed bool, err error)
	CreateAll(ctx context.Context, drafts []tag.Draft, key idempotency.Key) (created []tag.Tag, replayed bool, err error)
	CreateEach(ctx context.Context, items []batch.Item[tag.Draft], key idempotency.Key) ([]batch.Result[tag.Tag], error)
	Get(ctx context.Context, viewer tag.Viewer, id uint64) (*tag.Shared, error)
	List(ctx context.Context, viewer tag.Viewer, filter tag.Filter, page tag.Page) (*tag.List, error)
	Update(ctx context.Context, id uint64, draft tag.Draft, precondition tag.Precondition) (tag.Tag, error)
	Delete(ctx context.Context, id uint64, actor string, precondition tag.Precondition) error
	Changes(ctx context.Context, after uint64, limit int, wait time.Duration) (tag.Changes, error)
	Snapshot(ctx context.Context) (tag.Snapshot, error)
}

// API holds the dependencies of the handlers.
type API struct {
	Tags   Tags
	Binder *requests.Binder
	Paging settings.Value[requests.Paging]
	// Memory bounds the memory of responses.
	Memory *responses.Memory
	// Access is the middleware of every route of the API; see service.Service.
	Access []gin.HandlerFunc
	// LimitSearch limits expensive lists.
	LimitSearch gin.HandlerFunc
	// LimitBatch counts n further writes: those of a batch's objects after the first.
	LimitBatch func(c *gin.Context, n int)
	// Bodies are those of batches.
	Bodies *requests.Bodies
	// FeedAccess rejects requests for the feed without the token of its readers.
	FeedAccess gin.HandlerFunc
}

// Register adds the routes of the service.
//
//	@title			Achilles tag service
//	@version		1
//	@description	Tags of the blog, and the feed of their changes for other services.
//	@license.name	Apache-2.0
//	@license.url	https://www.apache.org/licenses/LICENSE-2.0
//	@securityDefinitions.apikey	ServiceToken
//	@in							header
//	@name						Authorization
//	@description				the token that the services share
//	@securityDefinitions.apikey	AppToken
//	@in							header
//	@name						Authorization
//	@description				a token from POST /auth, with the scope write for all but reads; the header "token" will do as well
func (a *API) Register(routes gin.IRouter) {
	tags := routes.Group("/api/v1/tags", a.Access...)
	write := tags.Group("", auth.RequireScope(auth.ScopeWrite))
	write.POST("", a.createTag)
	write.POST("/batch", a.Bodies.Large, a.createTags)
	tags.GET("", a.listTags)
	tags.HEAD("", a.listTags)
	tags.GET("/:id", a.getTag)
	tags.HEAD("/:id", a.getTag)
	write.PUT("/:id", a.updateTag)
	write.PATCH("/:id", a.patchTag)
	write.DELETE("/:id", a.deleteTag)

	internal := routes.Group("/internal/v1", a.FeedAccess)
	internal.GET("/tag-changes", a.listChanges)
	internal.HEAD("/tag-changes", a.listChanges)
	internal.GET("/tag-snapshot", a.getSnapshot)
	internal.HEAD("/tag-snapshot", a.getSnapshot)

	swagger.Register(routes.Group("", a.Access...), "tag", docs.OpenAPI)
}
