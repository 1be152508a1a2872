package store_test

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/feedtest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/tag/internal/store"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// readModel has the tags by id, without the fields that the feed omits.
type readModel map[uint64]tag.Tag

func (c readModel) apply(changes []tag.Change) {
	for _, change := range changes {
		if change.Kind == changefeed.Delete {
			delete(c, change.TagID)
			continue
		}
		c[change.TagID] = tag.Tag{ID: change.TagID, Name: change.Name, State: change.State}
	}
}

// readModelOf returns the read model that has the tags.
func readModelOf(tags []tag.Tag) readModel {
	c := readModel{}
	for _, t := range tags {
		c[t.ID] = tag.Tag{ID: t.ID, Name: t.Name, State: t.State}
	}
	return c
}

// Sixteen writers on two replicas run concurrently with readers of the feed. Some
// writes fail or are canceled. Readers get every sequence number in order, and the
// feed up to a snapshot's offset results in the tags of the snapshot.
func TestFeedUnderLoad(t *testing.T) {
	const writers = 16
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		writes := 8
		db, first := open(t, cfg)
		if cfg.DBType == database.MySQL { // a SQLite file has one process and one writer at a time
			writes = 25
			db = dbtest.Open(t, cfg)
		}
		second := store.New(db, time.Hour)
		replicas := []*store.Store{first, second}
		var acknowledged atomic.Int64
		var stop atomic.Bool
		var writing, reading sync.WaitGroup
		for w := range writers {
			writing.Go(func() {
				for n := range writes {
					acknowledged.Add(write(t, replicas[(w+n)%2], w, n))
				}
			})
		}
		follows := make([][]tag.Change, 3)
		for i := range follows {
			reading.Go(func() {
				for last := uint64(0); ; {
					stopped := stop.Load()
					found, err := replicas[i%2].Changes(t.Context(), last, 7)
					if !noError(t, err) || stopped && len(found.Changes) == 0 {
						return
					}
					for _, change := range found.Changes {
						if last++; change.Sequence != last || last > found.Last {
							t.Errorf("reader %d: expected the change %d of %d, got %d", i, last, found.Last, change.Sequence)
							return
						}
					}
					follows[i] = append(follows[i], found.Changes...)
					if len(found.Changes) == 0 {
						time.Sleep(5 * time.Millisecond) // leave the processors to the writers
					}
				}
			})
		}
		var snapshots []tag.Snapshot
		reading.Go(func() {
			for !stop.Load() || len(snapshots) < 2 {
				snapshot, err := second.Snapshot(t.Context())
				if !noError(t, err) {
					return
				}
				snapshots = append(snapshots, snapshot)
				time.Sleep(20 * time.Millisecond)
			}
		})
		writing.Wait()
		stop.Store(true)
		reading.Wait()
		if t.Failed() {
			return // the errors below would only follow from this one
		}

		all := follows[0]
		for _, other := range follows[1:] {
			require.Equal(t, all, other, "all readers get the same changes")
		}
		require.GreaterOrEqual(t, int64(len(all)), acknowledged.Load(), "no acknowledged write is missing")
		last, err := first.Snapshot(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, len(all), last.Sequence)
		for _, snapshot := range append(snapshots, last) {
			replayed := readModel{}
			replayed.apply(all[:snapshot.Sequence])
			require.Equal(t, replayed, readModelOf(snapshot.Tags), "at offset %d", snapshot.Sequence)
		}
	})
}

// write creates a tag, and then changes or deletes it, or fails to. It returns the
// number of acknowledged changes.
func write(t *testing.T, s *store.Store, writer, n int) int64 {
	ctx := t.Context()
	name := fmt.Sprintf("writer %d, write %d", writer, n)
	created, _, err := s.Create(ctx, draft(name, tag.Enabled), idempotency.Key{})
	if !noError(t, err) {
		return 0
	}
	switch n % 5 {
	case 0: // rolled back: a name that exists
		_, _, err = s.Create(ctx, draft(name, tag.Enabled), idempotency.Key{})
		return 1 + expectCode(t, err, errcode.TagNameExists)
	case 1: // rolled back: no such tag
		return 1 + expectCode(t, s.Delete(ctx, created.ID+1<<40, "", nil), errcode.TagNotFound)
	case 2: // canceled at any time
		canceled, cancel := context.WithTimeout(ctx, rand.N(5*time.Millisecond))
		defer cancel()
		_, err = s.Update(canceled, created.ID, draft(name+", canceled", tag.Disabled), nil)
		if err != nil {
			return 1
		}
	case 3:
		_, err = s.Update(ctx, created.ID, draft(name+", changed", tag.Disabled), nil)
		noError(t, err)
	case 4:
		noError(t, s.Delete(ctx, created.ID, "", nil))
	}
	return 2
}

// expectCode reports a test error unless err has the code. It returns 0, the number
// of acknowledged changes.
func expectCode(t *testing.T, err error, code errcode.Code) int64 {
	var coded *errcode.Error
	if !errors.As(err, &coded) || coded.Code != code {
		t.Errorf("expected the code %d, got %v", code, err)
	}
	return 0
}

// noError reports err as a test error and reports whether it is nil. Unlike
// require.NoError, it can be called by any goroutine.
func noError(t *testing.T, err error) bool {
	if err != nil {
		t.Error(err)
	}
	return err == nil
}

// A snapshot is complete even if it has more tags than a batch.
func TestLargeSnapshot(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db, s := open(t, cfg)
		fill(t, db, 3500, func(i int) (int, int) { return i % 7 / 6, i % 2 })
		snapshot, err := s.Snapshot(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 3500, snapshot.Sequence)
		require.Len(t, snapshot.Tags, 3000)
		require.Len(t, readModelOf(snapshot.Tags), 3000, "no duplicates")
		require.True(t, slices.IsSortedFunc(snapshot.Tags, func(a, b tag.Tag) int { return int(a.ID) - int(b.ID) }))
	})
}

// feed returns the feed of an empty database, for feedtest.
func feed(t *testing.T, cfg database.Config) feedtest.Feed {
	t.Helper()
	db, s := open(t, cfg)
	return feedtest.Feed{
		DB: db, Changes: "tag_change", Number: "sequence", Trim: s.Trim,
		Write: func(ctx context.Context) error {
			_, _, err := s.Create(ctx, draft(crand.Text(), tag.Enabled), idempotency.Key{})
			return err
		},
		Read: func(ctx context.Context, after uint64, limit int) ([]uint64, uint64, error) {
			found, err := s.Changes(ctx, after, limit)
			return feedtest.Numbers(found.Changes), found.Last, err
		},
		SQL: store.Feed(db),
		Epoch: func(ctx context.Context) (string, error) {
			all, err := s.Snapshot(ctx)
			return all.Epoch, err
		},
	}
}

func TestFeed(t *testing.T) {
	for name, config := range map[string]func(testing.TB) database.Config{database.SQLite: dbtest.SQLite, database.MySQL: dbtest.MySQL} {
		t.Run(name, func(t *testing.T) {
			feedtest.Run(t, func(t *testing.T) feedtest.Feed { return feed(t, config(t)) })
		})
	}
}

// Trimming keeps the tags, and a snapshot goes on after what was trimmed.
func TestSnapshotAfterTrim(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		_, s := open(t, cfg)
		for n := range 3 {
			create(t, s, fmt.Sprint(n))
		}
		_, err := s.Trim(t.Context(), time.Now().Add(time.Hour), 2)
		require.NoError(t, err)
		snapshot, err := s.Snapshot(t.Context())
		require.NoError(t, err)
		require.Len(t, snapshot.Tags, 3)
		require.EqualValues(t, 3, snapshot.Sequence)
	})
}

// Followers of the feed apply each change exactly once, also if they are killed and started
// again, and start over after a trim.
func TestFollowers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		_, s := open(t, cfg)
		watcher := changefeed.NewWatcher(changefeed.WatcherOptions{Head: s.LastChange, Interval: 20 * time.Millisecond})
		dbtest.Work(t, watcher.Run)
		service := tag.NewService(s, watcher)
		source := feedtest.Source[tag.Change]{
			Read: func(ctx context.Context, after changefeed.Offset, limit int, wait time.Duration) (tag.Changes, error) {
				return service.Changes(ctx, after.Sequence, limit, wait)
			},
			All: func(ctx context.Context) (feedtest.Snapshot, error) {
				all, err := service.Snapshot(ctx)
				objects := feedtest.Objects{}
				for _, t := range all.Tags {
					objects[t.ID] = fmt.Sprint(t.Name, t.State)
				}
				return feedtest.Snapshot{Offset: changefeed.Offset{Epoch: all.Epoch, Sequence: all.Sequence}, Objects: objects}, err
			},
			Entry: func(c tag.Change) (uint64, string, bool) {
				return c.TagID, fmt.Sprint(c.Name, c.State), c.Kind == changefeed.Delete
			},
		}
		write := func(ctx context.Context, _, n int) error {
			created, _, err := service.Create(ctx, draft(crand.Text(), tag.Enabled), idempotency.Key{})
			if err == nil && n%3 == 0 {
				err = service.Delete(ctx, created.ID, "", nil)
			} else if err == nil {
				_, err = service.Update(ctx, created.ID, draft(crand.Text(), tag.Disabled), nil)
			}
			return err
		}
		feedtest.Follow(t, source, 8, 10, write, nil)
		feedtest.Follow(t, source, 8, 10, write, func(ctx context.Context) error {
			_, err := s.Trim(ctx, time.Now().Add(time.Hour), 1000)
			return err
		})
	})
}
