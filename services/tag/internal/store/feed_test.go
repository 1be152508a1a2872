package store_test

import (
	"context"
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

// A snapshot of MariaDB may lack a change before its last one. It is shown as a hole here.
func TestChangesUpToAGap(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db, s := open(t, cfg)
		for n := range 5 {
			write(t, s, 0, 5*n+1) // a change each
		}
		all, err := s.Changes(t.Context(), 0, 100)
		require.NoError(t, err)
		require.Len(t, all.Changes, 5)
		require.NoError(t, db.Gorm(t.Context()).Exec("DELETE FROM blog_tag_change WHERE sequence = 3").Error)
		before, err := s.Changes(t.Context(), 0, 100)
		require.NoError(t, err)
		require.Equal(t, all.Changes[:2], before.Changes)
		at, err := s.Changes(t.Context(), 2, 100)
		require.NoError(t, err, "the change is not trimmed, there are older ones")
		require.Empty(t, at.Changes)
		require.Equal(t, all.Last, at.Last)
		after, err := s.Changes(t.Context(), 3, 100)
		require.NoError(t, err)
		require.Equal(t, all.Changes[3:], after.Changes)
	})
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

func TestChanges(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		_, s := open(t, cfg)
		for i := range 5 {
			create(t, s, fmt.Sprint(i))
		}
		for _, c := range []struct {
			after uint64
			limit int
			want  []uint64
		}{
			{0, 100, []uint64{1, 2, 3, 4, 5}}, {0, 1, []uint64{1}}, {2, 2, []uint64{3, 4}}, {4, 2, []uint64{5}}, {5, 2, nil},
		} {
			found, err := s.Changes(t.Context(), c.after, c.limit)
			require.NoError(t, err)
			require.EqualValues(t, 5, found.Last)
			require.Equal(t, c.want, sequences(found.Changes))
		}
		for _, after := range []uint64{6, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
			_, err := s.Changes(t.Context(), after, 1)
			requireCode(t, errcode.ChangesTrimmed, err)
		}
	})
}

func sequences(changes []tag.Change) (numbers []uint64) {
	for _, change := range changes {
		numbers = append(numbers, change.Sequence)
	}
	return numbers
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

func TestTrim(t *testing.T) {
	now := time.Now().UTC()
	day := func(age int) time.Time { return now.AddDate(0, 0, -age) }
	for _, c := range []struct {
		about   string
		ages    []int // of the changes, in days
		limit   int
		removed []int64 // by each call
		left    []uint64
	}{
		{"none is old", []int{3, 2, 1}, 10, []int64{0}, []uint64{1, 2, 3}},
		{"some are old", []int{9, 8, 2, 1}, 10, []int64{2, 0}, []uint64{3, 4}},
		{"all are old", []int{9, 9, 8, 8}, 10, []int64{4, 0}, nil},
		{"in batches", []int{9, 9, 9, 9, 9, 1}, 2, []int64{2, 2, 1, 0}, []uint64{6}},
		{"clocks disagree, without a gap in the sequence", []int{10, 1, 9, 1}, 10, []int64{3, 0}, []uint64{4}},
		{"clocks disagree in the other order", []int{9, 1, 10, 1}, 10, []int64{1, 2, 0}, []uint64{4}},
		{"empty feed", nil, 10, []int64{0}, nil},
	} {
		t.Run(c.about, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, cfg database.Config) {
				db, s := open(t, cfg)
				for i, age := range c.ages {
					create(t, s, fmt.Sprint(i))
					exec(t, db, "UPDATE "+db.Table("tag_change")+" SET created_at = ? WHERE sequence = ?", day(age), i+1)
				}
				for _, want := range c.removed {
					removed, err := s.Trim(t.Context(), day(7), c.limit)
					require.NoError(t, err)
					require.Equal(t, want, removed)
				}
				trimmed := uint64(len(c.ages) - len(c.left))
				found, err := s.Changes(t.Context(), trimmed, 100)
				require.NoError(t, err)
				require.Equal(t, c.left, sequences(found.Changes))
				for after := range trimmed {
					_, err := s.Changes(t.Context(), after, 100)
					requireCode(t, errcode.ChangesTrimmed, err)
				}
				snapshot, err := s.Snapshot(t.Context())
				require.NoError(t, err)
				require.Len(t, snapshot.Tags, len(c.ages), "trimming keeps the tags")
				created := create(t, s, "next")
				found, err = s.Changes(t.Context(), snapshot.Sequence, 100)
				require.NoError(t, err)
				require.Equal(t, created.ID, found.Changes[0].TagID)
				require.Equal(t, []uint64{snapshot.Sequence + 1}, sequences(found.Changes))
			})
		})
	}
}

// Replicas trim concurrently with each other and with writers.
func TestTrimUnderLoad(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		_, s := open(t, cfg)
		var removed atomic.Int64
		var working sync.WaitGroup
		for w := range 4 {
			working.Go(func() {
				for n := range 20 {
					_, _, err := s.Create(t.Context(), draft(fmt.Sprint(w, " ", n), tag.Enabled), idempotency.Key{})
					noError(t, err)
				}
			})
			working.Go(func() {
				for range 20 {
					n, err := s.Trim(t.Context(), time.Now().Add(time.Hour), 3)
					noError(t, err)
					removed.Add(n)
				}
			})
		}
		working.Wait()
		found, err := s.Changes(t.Context(), uint64(removed.Load()), 100)
		require.NoError(t, err)
		require.EqualValues(t, 80, found.Last)
		require.Len(t, found.Changes, 80-int(removed.Load()))
	})
}
