package tagfeed_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/feedtest"
	"github.com/achilles-blog/achilles/pkg/changefeed/follow"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
	"github.com/achilles-blog/achilles/services/article/migrations"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// replica is a follower with a real store.
type replica struct {
	*follow.Follower[tagfeed.Change, tagfeed.Snapshot]
	store    *store.Store
	db       *database.DB
	registry *prometheus.Registry
	logs     *observer.ObservedLogs
	ready    atomic.Int64
}

// options are the settings that a test can change.
type options struct {
	url            string
	token          settings.Secret
	wait           time.Duration
	catchUpTimeout time.Duration
}

func newReplica(t *testing.T, cfg database.Config, f *feed, change ...func(*options)) *replica {
	t.Helper()
	o := options{url: f.URL, token: token, wait: 20 * time.Second, catchUpTimeout: patience}
	for _, c := range change {
		c(&o)
	}
	db := dbtest.Open(t, cfg)
	_, _, err := database.Migrate(t.Context(), db, migrations.All())
	require.NoError(t, err)
	core, logs := observer.New(zapcore.DebugLevel)
	r := &replica{store: store.New(db, time.Hour), db: db, registry: prometheus.NewRegistry(), logs: logs}
	r.Follower, err = follow.NewFollower(newClient(t, o.url, o.token, patience), r.store, follow.Options{
		Name: "tag", Wait: o.wait, CatchUpTimeout: o.catchUpTimeout, Ready: func() { r.ready.Add(1) }, Log: zap.New(core),
	}, r.registry)
	require.NoError(t, err)
	return r
}

// follow runs the follower until the end of the test.
func (r *replica) follow(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(patience):
			t.Error("the follower does not stop")
		}
	})
	t.Cleanup(stop)
	return stop
}

// tags returns the tags of the read model.
func (r *replica) tags(t *testing.T) map[uint64]string {
	t.Helper()
	var rows []struct {
		ID   uint64
		Name string
	}
	require.NoError(t, r.db.Read(t.Context(), func(db *gorm.DB) error { return db.Table("blog_tag_projection").Find(&rows).Error }))
	tags := map[uint64]string{}
	for _, row := range rows {
		tags[row.ID] = row.Name
	}
	return tags
}

func (r *replica) eventually(t *testing.T, want map[uint64]string) {
	t.Helper()
	require.Eventually(t, func() bool { return fmt.Sprint(r.tags(t)) == fmt.Sprint(want) }, patience, time.Millisecond, "%v", want)
}

func (r *replica) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := r.registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "achilles_tag_feed_"+name {
			metric := family.GetMetric()[0]
			return metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

func TestFollow(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		f := newFeed(t)
		f.put(1, "one")
		r := newReplica(t, cfg, f)
		require.Zero(t, r.ready.Load())
		r.follow(t)
		r.eventually(t, map[uint64]string{1: "one"})
		require.Eventually(t, func() bool { return r.ready.Load() > 0 }, patience, time.Millisecond)

		requireWithin(t, 10*time.Second, func() { // a long poll lasts 20 s
			f.put(2, "two")
			r.eventually(t, map[uint64]string{1: "one", 2: "two"})
			f.put(1, "first")
			f.Remove(2)
			r.eventually(t, map[uint64]string{1: "first"})
		})
		require.Equal(t, 1, f.Count(snapshotPath))
		// More than one batch.
		want := map[uint64]string{1: "first"}
		for id := range uint64(350) {
			f.put(100+id, "x")
			want[100+id] = "x"
		}
		r.eventually(t, want)
		require.Equal(t, 1, f.Count(snapshotPath))
		require.Contains(t, f.Waits(), "20")
	})
}

func TestFollowStopsInTheMiddleOfALongPoll(t *testing.T) {
	f := newFeed(t)
	r := newReplica(t, dbtest.SQLite(t), f)
	stop := r.follow(t)
	require.Eventually(t, func() bool { return f.Count(changesPath) == 1 }, patience, time.Millisecond)
	requireWithin(t, 10*time.Second, stop)
	require.Zero(t, r.logs.FilterLevelExact(zapcore.WarnLevel).Len())
	require.Zero(t, r.metric(t, "failures_total"))
}

// A stale read model is served while the tag service is unavailable.
func TestReadyWithStaleReadModel(t *testing.T) {
	f, cfg := newFeed(t), dbtest.SQLite(t)
	f.put(1, "one")
	require.NoError(t, newReplica(t, cfg, f).CatchUp(t.Context()))
	f.Answer(feedtest.Status(http.StatusServiceUnavailable))
	r := newReplica(t, cfg, f)
	r.follow(t)
	require.Eventually(t, func() bool { return r.ready.Load() > 0 }, patience, time.Millisecond)
	empty := newReplica(t, dbtest.SQLite(t), f)
	empty.follow(t)
	require.Eventually(t, func() bool { return empty.metric(t, "failures_total") >= 2 }, patience, time.Millisecond)
	require.Zero(t, empty.ready.Load(), "without a read model every tag would be unknown")
}

func TestFollowRecovers(t *testing.T) {
	f := newFeed(t)
	f.put(1, "one")
	r := newReplica(t, dbtest.SQLite(t), f, func(o *options) { o.wait = time.Second })
	r.follow(t)
	r.eventually(t, map[uint64]string{1: "one"})
	f.Answer(feedtest.Status(http.StatusInternalServerError))
	f.CloseClientConnections()
	f.put(2, "two")
	before := f.Count(changesPath)
	began := time.Now()
	require.Eventually(t, func() bool { return r.metric(t, "failures_total") >= 4 }, patience, time.Millisecond)
	// Pauses of at least 50, 100 and 200 ms lie between four failures.
	require.Greater(t, time.Since(began), 350*time.Millisecond)
	maximum := 2
	for left, pause := time.Since(began), 50*time.Millisecond; left > 0; left, pause = left-pause, 2*pause {
		maximum++
	}
	require.LessOrEqual(t, f.Count(changesPath)-before, maximum)
	warnings := r.logs.FilterLevelExact(zapcore.WarnLevel)
	require.Equal(t, 1, warnings.Len(), "only the first failure is logged")
	require.Equal(t, map[uint64]string{1: "one"}, r.tags(t))

	f.Answer(nil)
	r.eventually(t, map[uint64]string{1: "one", 2: "two"})
	require.Eventually(t, func() bool { return r.logs.FilterMessage("reading the tag feed succeeded again").Len() == 1 }, patience, time.Millisecond)
}

func TestWrongTokenIsLogged(t *testing.T) {
	f := newFeed(t)
	r := newReplica(t, dbtest.SQLite(t), f, func(o *options) { o.token = "wrong" })
	r.follow(t)
	require.Eventually(t, func() bool { return r.logs.FilterLevelExact(zapcore.WarnLevel).Len() == 1 }, patience, time.Millisecond)
	text := fmt.Sprint(r.logs.FilterLevelExact(zapcore.WarnLevel).All()[0].ContextMap())
	require.Contains(t, text, "give both services the same Feed.Token")
	require.NotContains(t, text, "wrong")
	require.Zero(t, r.ready.Load())
}

func TestStartOver(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what takes seconds")
	}
	for name, sabotage := range map[string]func(f *feed){
		"the feed was trimmed":         func(f *feed) { f.put(3, "three"); f.Trim() },
		"another epoch":                func(f *feed) { f.Restart("second", 900); f.put(3, "three") },
		"another epoch, same offset":   func(f *feed) { f.put(3, "three"); f.Restart("second", 2) },
		"another epoch, higher offset": func(f *feed) { f.put(3, "three"); f.Restart("second", 3) },
		"another epoch, lower offset":  func(f *feed) { f.put(3, "three"); f.Restart("second", 1) },
		"an old backup":                func(f *feed) { f.put(3, "three"); f.Restart("first", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			f.put(1, "one")
			f.put(2, "two")
			r := newReplica(t, dbtest.SQLite(t), f, func(o *options) { o.wait = time.Second })
			stop := r.follow(t)
			r.eventually(t, map[uint64]string{1: "one", 2: "two"})
			stop()
			f.Forget(2)
			sabotage(f)
			r.follow(t)
			r.eventually(t, map[uint64]string{1: "one", 3: "three"})
			f.put(4, "four")
			r.eventually(t, map[uint64]string{1: "one", 3: "three", 4: "four"})
			require.Equal(t, 2, f.Count(snapshotPath))
		})
	}
}

// A response of another program must not be read as an empty feed.
func TestResponseOfAnotherProgram(t *testing.T) {
	f := newFeed(t)
	f.put(1, "one")
	r := newReplica(t, dbtest.SQLite(t), f, func(o *options) { o.wait = time.Second })
	require.NoError(t, r.CatchUp(t.Context()))
	require.NoError(t, r.Check(t.Context()))
	f.Answer(func(w http.ResponseWriter, _ *http.Request) bool {
		feedtest.Respond(w, map[string]string{"status": "ok"})
		return true
	})
	r.follow(t)
	require.Eventually(t, func() bool { return r.metric(t, "failures_total") >= 2 }, patience, time.Millisecond)
	require.Equal(t, map[uint64]string{1: "one"}, r.tags(t))
	require.ErrorContains(t, r.Check(t.Context()), "does not come from a tag service")
}

// Immediate responses must not cause a busy loop.
func TestNoBusyLoop(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what takes seconds")
	}
	const watched, most = 600 * time.Millisecond, 10
	at := func(path string, data any) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != path {
				return false
			}
			if data == nil {
				w.WriteHeader(http.StatusGone)
			} else {
				feedtest.Respond(w, data)
			}
			return true
		}
	}
	for name, instead := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"nothing new at once":  at(changesPath, tagfeed.Changes{Epoch: "first", Last: 1}),
		"always gone":          at(changesPath, nil),
		"always another epoch": at(changesPath, tagfeed.Changes{Epoch: "other", Last: 1}),
		"always a gap":         at(changesPath, tagfeed.Changes{Epoch: "first", Changes: []tagfeed.Change{{Sequence: 9, Kind: changefeed.Put, TagID: 1}}, Last: 9}),
		"errors":               feedtest.Status(http.StatusBadGateway),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			f.put(1, "one")
			r := newReplica(t, dbtest.SQLite(t), f)
			require.NoError(t, r.CatchUp(t.Context()))
			f.Answer(instead)
			before, began := f.Count(changesPath), time.Now()
			stop := r.follow(t)
			require.Eventually(t, func() bool {
				return f.Count(changesPath) > before && time.Since(began) > watched
			}, patience, 10*time.Millisecond)
			stop()
			served := f.Count(changesPath) - before
			require.LessOrEqual(t, served, most*(1+int(time.Since(began)/watched)))
			require.Equal(t, map[uint64]string{1: "one"}, r.tags(t))
		})
	}
}

func TestCatchUp(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		f := newFeed(t)
		f.put(1, "one")
		r := newReplica(t, cfg, f)
		require.NoError(t, r.CatchUp(t.Context()), "from an empty read model")
		require.Equal(t, map[uint64]string{1: "one"}, r.tags(t))
		want := map[uint64]string{1: "one"}
		for id := range uint64(250) {
			f.put(2+id, "x")
			want[2+id] = "x"
		}
		require.NoError(t, r.CatchUp(t.Context()), "more than one batch")
		require.Equal(t, want, r.tags(t))
		f.Remove(1)
		f.Trim()
		delete(want, 1)
		require.NoError(t, r.CatchUp(t.Context()), "over trimmed changes")
		require.Equal(t, want, r.tags(t))
		f.Restart("second", 7)
		f.put(1, "again")
		want[1] = "again"
		require.NoError(t, r.CatchUp(t.Context()), "to another epoch")
		require.Equal(t, want, r.tags(t))
		require.Empty(t, strings.Trim(strings.Join(f.Waits(), ""), "0"), "CatchUp must not long-poll")
	})
}

// A call that waits for another one sees all changes that were committed when it
// began, even those that the other one missed.
func TestCatchUpSeesCommittedChanges(t *testing.T) {
	const joining = 10
	f := newFeed(t)
	r := newReplica(t, dbtest.SQLite(t), f)
	require.NoError(t, r.CatchUp(t.Context()))
	// On a busy machine a call may begin too late to join.
	require.Eventually(t, func() bool { return f.catchUpTogether(t, r, joining) <= joining/2 }, patience, time.Millisecond, "waiting calls share reads")
}

// catchUpTogether starts a call that reads the feed before its last change, and
// calls that wait for it. It returns how often the waiting calls read the feed.
func (f *feed) catchUpTogether(t *testing.T, r *replica, joining int64) (reads int64) {
	t.Helper()
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.Hold(func(*http.Request) { once.Do(func() { close(held); <-release }) })
	name := rand.Text()

	var group sync.WaitGroup
	group.Go(func() {
		if err := r.CatchUp(t.Context()); err != nil {
			t.Errorf("first call: %v", err)
		}
	})
	<-held // it has read the feed and found nothing
	before := f.Count(changesPath)
	f.put(1, name)
	var begun atomic.Int64
	for range joining {
		group.Go(func() {
			begun.Add(1)
			if err := r.CatchUp(t.Context()); err != nil {
				t.Errorf("waiting call: %v", err)
			}
			if tags := r.tags(t); tags[1] != name {
				t.Errorf("a waiting call missed the change: %v", tags)
			}
		})
	}
	require.Eventually(t, func() bool { return begun.Load() == joining }, patience, time.Millisecond)
	close(release)
	group.Wait()
	return int64(f.Count(changesPath) - before)
}

// The timeout applies to every concurrent call.
func TestCatchUpIsBounded(t *testing.T) {
	const callers, timeout = 16, 300 * time.Millisecond
	f := newFeed(t)
	r := newReplica(t, dbtest.SQLite(t), f, func(o *options) { o.catchUpTimeout = timeout })
	caughtUp := func() bool { return r.CatchUp(t.Context()) == nil }
	require.Eventually(t, caughtUp, patience, time.Millisecond)
	f.Answer(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
	dbtest.Within(t, 4*timeout, func() {
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				err := r.CatchUp(t.Context())
				var coded *errcode.Error
				if !errors.As(err, &coded) || coded.Code != errcode.Unavailable || coded.RetryAfter != time.Second {
					t.Errorf("unexpected: %v", err)
				}
			})
		}
		group.Wait()
	})
	f.Answer(nil)
	require.Eventually(t, caughtUp, patience, time.Millisecond, "it recovers")
}

func TestCatchUpFails(t *testing.T) {
	for name, instead := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"unavailable": feedtest.Status(http.StatusServiceUnavailable), "wrong token": feedtest.Status(http.StatusUnauthorized),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(t)
			f.Answer(instead)
			var coded *errcode.Error
			require.ErrorAs(t, newReplica(t, dbtest.SQLite(t), f).CatchUp(t.Context()), &coded)
			require.Equal(t, errcode.Unavailable, coded.Code)
			require.Equal(t, time.Second, coded.RetryAfter)
		})
	}
}

// When the caller's context ends, CatchUp returns its error and not Unavailable.
func TestCatchUpReturnsTheContextError(t *testing.T) {
	f := newFeed(t)
	r := newReplica(t, dbtest.SQLite(t), f)
	f.Answer(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, r.CatchUp(ctx), context.DeadlineExceeded)
	canceled, cancelLater := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancelLater)
	require.ErrorIs(t, r.CatchUp(canceled), context.Canceled)
}

// Three replicas share one read model, and also catch up.
func TestReplicasShareOneReadModel(t *testing.T) {
	const replicas, changes = 3, 300
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		f := newFeed(t)
		all := make([]*replica, 0, replicas)
		for range replicas {
			r := newReplica(t, cfg, f, func(o *options) { o.wait = time.Second })
			r.follow(t)
			all = append(all, r)
		}
		var group sync.WaitGroup
		for n := range uint64(changes) {
			f.put(1+n%20, fmt.Sprint("as of ", n))
			if n%7 == 0 {
				f.Remove(1 + n%20)
			}
			if n == changes/2 {
				f.Trim()
			}
			if n%50 == 0 {
				group.Go(func() {
					if err := all[n%replicas].CatchUp(t.Context()); err != nil {
						t.Errorf("catch up: %v", err)
					}
				})
			}
		}
		group.Wait()
		want := map[uint64]string{}
		for id, tag := range f.Rows() {
			want[id] = tag.Name
		}
		all[0].eventually(t, want)
		for _, r := range all {
			require.Zero(t, r.metric(t, "failures_total"), "%v", r.logs.FilterLevelExact(zapcore.WarnLevel).All())
		}
	})
}

func TestMetrics(t *testing.T) {
	f := newFeed(t)
	r := newReplica(t, dbtest.SQLite(t), f)
	for id := range uint64(250) {
		f.put(id+1, "x")
	}
	require.NoError(t, r.CatchUp(t.Context()))
	require.EqualValues(t, 250, r.metric(t, "offset"))
	require.Zero(t, r.metric(t, "lag_changes"))
	require.InDelta(t, time.Now().Unix(), r.metric(t, "last_sync_timestamp_seconds"), 60)

	for range 250 {
		f.put(1, "y")
	}
	// Reading the second of three batches fails.
	var reads atomic.Int64
	f.Answer(func(w http.ResponseWriter, r *http.Request) bool {
		return reads.Add(1) > 1 && feedtest.Status(http.StatusServiceUnavailable)(w, r)
	})
	require.Error(t, r.CatchUp(t.Context()))
	require.EqualValues(t, 350, r.metric(t, "offset"))
	require.EqualValues(t, 150, r.metric(t, "lag_changes"))
	require.Zero(t, r.metric(t, "failures_total"), "only failures of Run are counted")

	_, err := follow.NewFollower(tagfeed.NewClient("", "", 0), nil, follow.Options{Name: "tag"}, r.registry)
	require.ErrorContains(t, err, "registering the metrics of the tag feed")
}
