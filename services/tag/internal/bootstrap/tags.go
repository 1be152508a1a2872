package bootstrap

import (
	"context"
	"fmt"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/tag/internal/api"
	"github.com/achilles-blog/achilles/services/tag/internal/store"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// tags returns the resource of tags.
func tags() resource {
	return resource{table: "tag", feed: store.Feed, pageMemory: api.PageMemory, recount: recountTags, register: registerTags}
}

func registerTags(p parts) {
	config := p.live.Now()
	(&api.API{
		Tags: newTags(p.Service, config), Binder: p.binder, Paging: settings.Map(p.live, Config.paging), Memory: p.Responses,
		Access: p.Access(), FeedAccess: auth.RequireServiceToken(config.Feed.Token, p.Limits.Auth()), LimitSearch: p.Limits.Search(), LimitBatch: p.Limits.Batch(),
		Bodies: requests.NewBodies(p.bodies, api.MaxBatchBytes, p.Limits.Client),
	}).Register(p.Engine)
}

func newTags(base *service.Service, config Config) *tag.Service {
	stored := store.New(base.DB, config.Idempotency.Retention)
	feed := base.Feed(service.Feed{Config: config.Feed.Config, Trim: stored.Trim}, service.FeedPart{Name: "tags", Last: stored.LastChange})
	return tag.NewService(stored, feed[0])
}

func recountTags(ctx context.Context, db *database.DB) (repaired []string, err error) {
	found, err := store.New(db, 0).Recount(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		repaired = append(repaired, fmt.Sprintf("tags, state %d: %d, was %d", r.State, r.Is, r.Was))
	}
	return repaired, nil
}
