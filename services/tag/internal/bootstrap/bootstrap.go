// Package bootstrap builds the tag service from its settings. It is the only
// place that constructs and connects its parts.
package bootstrap

import (
	"context"
	"fmt"

	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/pkg/memory"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/services/tag/internal/api"
	"github.com/achilles-blog/achilles/services/tag/internal/store"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
	"github.com/achilles-blog/achilles/services/tag/migrations"
)

// Command returns the command line of the service.
func Command() command.Service[Config] {
	return command.Service[Config]{
		Name:     "tag",
		Summary:  "The tag service of Achilles",
		Defaults: defaults,
		Serve:    serve,
		Migrate: func(ctx context.Context, run command.Run[Config]) error {
			return service.Migrate(ctx, shared(run.Config), migrations.All(), run.Stdout)
		},
		Recount: func(ctx context.Context, run command.Run[Config]) error {
			return service.Recount(ctx, shared(run.Config), migrations.All(), run.Stdout, recount)
		},
	}
}

func serve(ctx context.Context, run command.Run[Config]) error {
	return service.Run(ctx, run, shared, migrations.All(), register)
}

func register(base *service.Service, config Config) error {
	binder, err := requests.NewBinder()
	if err != nil {
		return err
	}
	bodies := memory.New(memory.Config{Use: "request_bodies", Total: api.MaxBatchMemory})
	base.Metrics.Registry().MustRegister(bodies)
	(&api.API{
		Tags: newTags(base, config), Binder: binder, Paging: config.App.paging(), Memory: base.Responses,
		Access: base.Access(), FeedToken: config.Feed.Token, LimitGuesses: base.Limits.Auth(), LimitSearch: base.Limits.Search(), LimitBatch: base.Limits.Batch(),
		Bodies: requests.NewBodies(bodies, api.MaxBatchBytes, base.Limits.Client),
	}).Register(base.Engine)
	return nil
}

func newTags(base *service.Service, config Config) *tag.Service {
	if config.Feed.Token == "" {
		base.Log.Warn("the feed of tags rejects all readers: set Feed.Token to the same secret as in the article service; openssl rand -hex 32 makes one")
	}
	stored := store.New(base.DB, config.Idempotency.Retention)
	sweeper := replay.Sweeper{DB: base.DB, Interval: config.Idempotency.SweepInterval, Log: base.Log}
	base.Process.Go("idempotency sweeper", sweeper.Run)
	feed := base.Feed(service.Feed{Config: config.Feed.Config, Trim: stored.Trim}, service.FeedPart{Name: "tags", Last: stored.LastChange})
	return tag.NewService(stored, feed[0])
}

func recount(ctx context.Context, db *database.DB) (repaired []string, err error) {
	found, err := store.New(db, 0).Recount(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		repaired = append(repaired, fmt.Sprintf("tags, state %d: %d, was %d", r.State, r.Is, r.Was))
	}
	return repaired, nil
}
