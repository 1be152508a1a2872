package service

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/follow"
	"github.com/achilles-blog/achilles/pkg/changefeed/notify"
	"github.com/achilles-blog/achilles/pkg/database"
)

// Feed is a feed of changes that the service has.
type Feed struct {
	Config changefeed.Config
	// Trim is that of changefeed.Trimmer.
	Trim func(ctx context.Context, before time.Time, limit int) (int64, error)
	// MaxWaiting is the maximum number of readers of each part that wait for a change; 0 for no
	// maximum.
	MaxWaiting int
}

// FeedPart is a part of a feed that has numbers of its own.
type FeedPart struct {
	// Name is its label in metrics.
	Name string
	// Last returns the number of the newest change.
	Last func(context.Context) (uint64, error)
}

// Feed starts the workers of a feed, and returns a watcher for each of its parts.
func (s *Service) Feed(feed Feed, parts ...FeedPart) []*changefeed.Watcher {
	watchers := make([]*changefeed.Watcher, len(parts))
	announce := s.announce(func() {
		for _, w := range watchers {
			w.Broadcast()
		}
	})
	for i, part := range parts {
		watchers[i] = changefeed.NewWatcher(changefeed.WatcherOptions{
			Head: part.Last, Interval: feed.Config.PollInterval, Announce: announce, Draining: s.Process.Draining(), MaxWaiting: feed.MaxWaiting,
		})
		s.feeds.add(part)
		s.measureFeed(part.Name, watchers[i])
		s.Process.Go("feed watcher", watchers[i].Run)
	}
	trimmer := changefeed.Trimmer{Trim: feed.Trim, Retention: feed.Config.Retention, Interval: feed.Config.TrimInterval, Log: s.Log}
	s.Process.Go("feed trimmer", trimmer.Run)
	return watchers
}

// Follow keeps a read model up to date with the feed that the client reads, until the service
// stops. The service is ready when the read model has been loaded, even if it is stale. It sets
// Ready and Log of the options.
func Follow[E changefeed.Entry, S follow.Snapshot](s *Service, client *follow.Client[E, S], model follow.ReadModel[E, S], options follow.Options) (*follow.Follower[E, S], error) {
	name := options.Name + " feed"
	s.Process.OnStop(name, StopTimeout, func(context.Context) error { client.Close(); return nil })
	options.Ready, options.Log = s.Health.Gate(options.Name+" read model").Open, s.Log
	follower, err := follow.NewFollower(client, model, options, s.Metrics.Registry())
	if err != nil {
		return nil, err
	}
	s.Health.Observe(name, func(ctx context.Context) error { return database.WithReason(follower.Check(ctx)) })
	s.Process.Go(name, follower.Run)
	return follower, nil
}

// announce returns a function that calls changed on the other replicas, or nil without
// Redis.
func (s *Service) announce(changed func()) func() {
	if s.Redis == nil {
		return nil
	}
	between := notify.New(s.Redis, s.migrations.Service, changed, s.Log)
	s.Process.Go("notifier publish", between.Publish)
	s.Process.Go("notifier listen", between.Listen)
	return between.Announce
}

func (s *Service) measureFeed(name string, w *changefeed.Watcher) {
	labels := prometheus.Labels{"feed": name}
	s.Metrics.Registry().MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "achilles_feed_waiting_readers", Help: "Requests that wait for a change of the feed.", ConstLabels: labels,
		}, func() float64 { return float64(w.Waiting()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "achilles_feed_rejected_readers_total", Help: "Requests that were rejected with 503, because too many waited for a change of the feed.", ConstLabels: labels,
		}, func() float64 { return float64(w.Rejected()) }))
}
