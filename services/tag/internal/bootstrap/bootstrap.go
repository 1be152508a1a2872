// Package bootstrap builds the tag service from its settings. It is the only
// place that constructs and connects its parts.
package bootstrap

import (
	"context"

	"github.com/achilles-blog/achilles/pkg/changefeed/sqlfeed"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/pkg/memory"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/tag/internal/api"
	"github.com/achilles-blog/achilles/services/tag/migrations"
)

// resource is one kind of object that the service stores.
type resource struct {
	table      string // without its prefix
	feed       func(*database.DB) sqlfeed.Feed
	pageMemory func(size int) int64
	recount    func(context.Context, *database.DB) (repaired []string, err error)
	register   func(parts)
}

// resources returns every kind of object that the service stores.
func resources() []resource {
	return []resource{tags()}
}

// parts are the parts of the service that all its resources share.
type parts struct {
	*service.Service
	live   *settings.Live[Config]
	binder *requests.Binder
	bodies *memory.Budget
}

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
		Epoch: func(ctx context.Context, run command.Run[Config], options command.EpochOptions) error {
			return service.Epoch(ctx, shared(run.Config), migrations.All(), run.Stdout, restored(), options)
		},
	}
}

func serve(ctx context.Context, run command.Run[Config]) error {
	return service.Run(ctx, run, shared, migrations.All(), register)
}

func register(base *service.Service, live *settings.Live[Config]) error {
	config := live.Now()
	binder, err := requests.NewBinder()
	if err != nil {
		return err
	}
	if config.Feed.Token == "" {
		base.Log.Warn("the feed of changes rejects all readers: set Feed.Token to the same secret as in the services that follow it; openssl rand -hex 32 makes one")
	}
	bodies := memory.New(memory.Config{Use: "request_bodies", Total: api.MaxBatchMemory})
	base.Metrics.Registry().MustRegister(bodies)
	sweeper := replay.Sweeper{DB: base.DB, Interval: config.Idempotency.SweepInterval, Log: base.Log}
	base.Process.Go("idempotency sweeper", sweeper.Run)
	for _, r := range resources() {
		r.register(parts{Service: base, live: live, binder: binder, bodies: bodies})
	}
	return nil
}

func recount(ctx context.Context, db *database.DB) (repaired []string, err error) {
	for _, r := range resources() {
		lines, err := r.recount(ctx, db)
		repaired = append(repaired, lines...)
		if err != nil {
			return repaired, err
		}
	}
	return repaired, nil
}

func restored() (restored service.Restored) {
	for _, r := range resources() {
		restored.Feeds = append(restored.Feeds, r.feed)
		restored.IDs = append(restored.IDs, r.table)
		restored.Revisions = append(restored.Revisions, r.table)
	}
	return restored
}
