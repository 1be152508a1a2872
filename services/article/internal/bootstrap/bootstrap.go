// Package bootstrap builds the article service from its settings. It is the
// only place that constructs and connects its parts.
package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/achilles-blog/achilles/pkg/changefeed/follow"
	"github.com/achilles-blog/achilles/pkg/changefeed/sqlfeed"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/pkg/issuer"
	"github.com/achilles-blog/achilles/pkg/memory"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
	"github.com/achilles-blog/achilles/services/article/migrations"
)

// purgeInterval is the time between two purges of deleted articles.
const purgeInterval = 10 * time.Minute

// Command returns the command line of the service.
func Command() command.Service[Config] {
	return command.Service[Config]{
		Name:     "article",
		Summary:  "The article service of Achilles",
		Defaults: defaults,
		Serve:    serve,
		Migrate: func(ctx context.Context, run command.Run[Config]) error {
			return service.Migrate(ctx, shared(run.Config), migrations.All(), run.Stdout)
		},
		Recount: func(ctx context.Context, run command.Run[Config]) error {
			report := reporting(run.Stderr)
			return service.Recount(ctx, shared(run.Config), migrations.All(), run.Stdout, func(ctx context.Context, db *database.DB) ([]string, error) {
				repaired, err := recount(ctx, db, report)
				return repaired, errors.Join(err, run.Config.Files.lost(ctx, db, report))
			})
		},
		Epoch: func(ctx context.Context, run command.Run[Config], options command.EpochOptions) error {
			restored := service.Restored{Feeds: []func(*database.DB) sqlfeed.Feed{store.Feed}, IDs: []string{"article", "file"}, Revisions: []string{"article", "import"}}
			return service.Epoch(ctx, shared(run.Config), migrations.All(), run.Stdout, restored, options)
		},
		Commands: issuer.Commands(shared, migrations.All(), checkCommand, importCommand, exportCommand),
	}
}

func serve(ctx context.Context, run command.Run[Config]) error {
	if run.Config.Feed.Token == "" { // Validate accepts it: other commands don't need a token
		return settings.Invalid("Feed.Token", "", "the secret that the tag service has as Feed.Token; openssl rand -hex 32 makes one")
	}
	return service.Run(ctx, run, shared, migrations.All(), register)
}

func register(base *service.Service, live *settings.Live[Config]) error {
	config := live.Now()
	binder, err := requests.NewBinder()
	if err != nil {
		return err
	}
	articles, feed, err := newArticles(base, config)
	if err != nil {
		return err
	}
	bodies := memory.New(memory.Config{Use: "request_bodies", Total: config.App.MaxBodyMemory})
	base.Metrics.Registry().MustRegister(bodies)
	(&api.API{
		Articles: articles, Binder: binder, Paging: settings.Map(live, Config.paging), Memory: base.Responses, Access: base.Access(), LimitSearch: base.Limits.Search(), LimitBatch: base.Limits.Batch(),
		Feed: feed, Client: base.Limits.Client, WebFeeds: config.Site.webFeeds(), Exports: api.NewExports(config.exports(base.Process.Draining())),
		Bodies: requests.NewBodies(bodies, config.App.maxBodyBytes(), base.Limits.Client),
	}).Register(base.Engine)
	files, err := newFiles(base, live, binder)
	if err != nil {
		return err
	}
	files.Register(base.Engine)
	issuer.Register(base, binder)
	return nil
}

func newArticles(base *service.Service, config Config) (*article.Service, *article.Feed, error) {
	stored := store.New(base.DB, config.Idempotency.Retention)
	sweeper := replay.Sweeper{DB: base.DB, Interval: config.Idempotency.SweepInterval, Log: base.Log}
	base.Process.Go("idempotency sweeper", sweeper.Run)
	if config.App.PurgeAfter > 0 {
		purger := store.Purger{DB: base.DB, After: config.App.PurgeAfter, Interval: purgeInterval, Log: base.Log}
		base.Process.Go("purger", purger.Run)
	}
	client := tagfeed.NewClient(config.Feed.URL, config.Feed.Token, config.Feed.Timeout)
	follower, err := service.Follow(base, client, stored, follow.Options{Name: "tag", Wait: config.Feed.Wait, CatchUpTimeout: config.Feed.Timeout})
	if err != nil {
		return nil, nil, err
	}
	feed := newFeed(base, config, stored)
	base.Process.Go("publisher of scheduled articles", store.DuePublisher{Store: stored, Published: feed.Changed, Log: base.Log}.Run)
	return article.NewService(feed.Announcing(withFaults(stored)), follower.CatchUp, config.App.MaxContentBytes), feed, nil
}

// newFeed returns the feed of changes of the articles. An eighth of Server.MaxRequests may
// wait for a change without a token, and as many with one.
func newFeed(base *service.Service, config Config, stored *store.Store) *article.Feed {
	watchers := base.Feed(service.Feed{Config: config.Feed.Config, Trim: stored.TrimChanges, MaxWaiting: max(1, config.Server.MaxRequests/8)},
		service.FeedPart{Name: "public", Last: stored.LastNumber(article.Anonymous)}, service.FeedPart{Name: "all", Last: stored.LastNumber(article.Authenticated)})
	base.Process.Go("feed publisher", stored.PublishChanges)
	return article.NewFeed(stored, watchers[0], watchers[1])
}

// progressInterval is the time between two lines of progress.
const progressInterval = 10 * time.Second

// reporting returns a function that prints a line if it printed none for a while.
func reporting(to io.Writer) func(string) {
	last := time.Now()
	return func(line string) {
		if time.Since(last) >= progressInterval {
			last = time.Now()
			_, _ = fmt.Fprintln(to, line)
		}
	}
}

// recount repairs counters and indexes, and returns a line for each that was wrong, also
// before an error. It calls report with its progress.
func recount(ctx context.Context, db *database.DB, report func(string)) (repaired []string, err error) {
	stored := store.New(db, 0)
	found, err := stored.Recount(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		which := fmt.Sprintf("articles with tag %d", r.TagID)
		if r.TagID == 0 {
			which = "all articles"
		}
		repaired = append(repaired, fmt.Sprintf("%s, state %d: %d, was %d", which, r.State, r.Is, r.Was))
	}
	filled, err := stored.FillSlugs(ctx)
	if filled > 0 {
		repaired = append(repaired, fmt.Sprintf("slugs: made %d missing ones", filled))
	}
	if err != nil {
		return repaired, err
	}
	for _, index := range []struct {
		name   string
		repair func() (added, removed int64, err error)
	}{
		{"titles", func() (int64, int64, error) { return stored.Reindex(ctx) }},
		{"words", func() (int64, int64, error) { return stored.ReindexWords(ctx, report) }},
	} {
		added, removed, err := index.repair()
		if added+removed > 0 {
			repaired = append(repaired, fmt.Sprintf("index of %s: added %d missing entries, removed %d wrong ones", index.name, added, removed))
		}
		if err != nil {
			return repaired, err
		}
	}
	return repaired, nil
}
