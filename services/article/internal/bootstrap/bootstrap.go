// Package bootstrap builds the article service from its settings. It is the
// only place that constructs and connects its parts.
package bootstrap

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/article/internal/access"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
	"github.com/achilles-blog/achilles/services/article/migrations"
)

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
		Commands: func(bind command.Bind[Config]) []*cobra.Command {
			return []*cobra.Command{clientCommand(bind), keyCommand(), tokenCommand(bind), checkCommand(bind)}
		},
	}
}

func serve(ctx context.Context, run command.Run[Config]) error {
	if run.Config.Feed.Token == "" { // Validate accepts it: other commands don't need a token
		return settings.Invalid("Feed.Token", "", "the secret that the tag service has as Feed.Token")
	}
	return service.Run(ctx, run, shared, migrations.All(), register)
}

func register(base *service.Service, config Config) error {
	binder, err := requests.NewBinder()
	if err != nil {
		return err
	}
	articles, err := newArticles(base, config)
	if err != nil {
		return err
	}
	(&api.API{Articles: articles, Binder: binder, Paging: config.App.paging(), Access: base.Access()}).Register(base.Engine)
	tokens := &api.Tokens{Clients: access.NewService(store.NewClients(base.DB)), KeySet: base.KeySet, Binder: binder}
	tokens.Register(base.Engine.Group("", base.Limits.Auth()))
	return nil
}

func newArticles(base *service.Service, config Config) (*article.Service, error) {
	stored := store.New(base.DB, config.Idempotency.Retention)
	sweeper := replay.Sweeper{DB: base.DB, Interval: config.Idempotency.SweepInterval, Log: base.Log}
	base.Process.Go("idempotency sweeper", sweeper.Run)
	client := tagfeed.NewClient(config.Feed.URL, config.Feed.Token, config.Feed.Timeout)
	base.Process.OnStop("tag feed", service.StopTimeout, func(context.Context) error { client.Close(); return nil })
	follower, err := tagfeed.NewFollower(client, stored, tagfeed.Options{
		Wait: config.Feed.Wait, CatchUpTimeout: config.Feed.Timeout,
		Ready: base.Health.Gate("tag read model").Open, Log: base.Log,
	}, base.Metrics.Registry())
	if err != nil {
		return nil, err
	}
	base.Health.Observe("tag feed", follower.Check)
	base.Process.Go("tag feed", follower.Run)
	return article.NewService(withFaults(stored), follower.CatchUp, config.App.MaxContentBytes), nil
}
