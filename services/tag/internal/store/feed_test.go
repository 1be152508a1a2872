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

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/tag/internal/store"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// copied is the tags as a reader of the feed knows them.
type copied map[uint64]tag.Tag

func (c copied) apply(changes []tag.Change) {
	for _, change := range changes {
		if change.Kind == tag.Delete {
			delete(c, change.TagID)
			continue
		}
		c[change.TagID] = tag.Tag{ID: change.TagID, Name: change.Name, State: change.State}
	}
}

// bare leaves of the tags what the feed tells.
func bare(tags []tag.Tag) copied {
	c := copied{}
	for _, t := range tags {
		c[t.ID] = tag.Tag{ID: t.ID, Name: t.Name, State: t.State}
	}
	return c
}

// Sixteen writers on two replicas, whose writes also fail and are broken off,
// against readers that follow: no number is missing or late, and at every
// position the feed tells exactly what the snapshot of that position shows.
func TestFeedUnderLoad(t *testing.T) {
	const writers = 16
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		writes := 8
		db, first := open(t, cfg)
		if cfg.DBType == database.MySQL { // a file of SQLite's has one process, and one writer at a time
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
						time.Sleep(5 * time.Millisecond) // the writers need the processors, too
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
			return // the error says more than what follows from it
		}

		all := follows[0]
		for _, other := range follows[1:] {
			require.Equal(t, all, other, "every reader is told the same")
		}
		require.GreaterOrEqual(t, int64(len(all)), acknowledged.Load(), "no acknowledged write is missing")
		last, err := first.Snapshot(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, len(all), last.Sequence)
		for _, snapshot := range append(snapshots, last) {
			replayed := copied{}
			replayed.apply(all[:snapshot.Sequence])
			require.Equal(t, replayed, bare(snapshot.Tags), "at the position %d", snapshot.Sequence)
		}
	})
}

// write makes one write of some kind and returns how many changes it surely
// added to the feed: 1, or 0 when it failed or nobody knows.
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
		return 1 + refused(t, err, errcode.TagNameExists)
	case 1: // rolled back: no such tag
		return 1 + refused(t, s.Delete(ctx, created.ID+1<<40, "", nil), errcode.TagNotFound)
	case 2: // broken off somewhere
		broken, cancel := context.WithTimeout(ctx, rand.N(5*time.Millisecond))
		defer cancel()
		_, err = s.Update(broken, created.ID, draft(name+", broken off", tag.Disabled), nil)
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

func refused(t *testing.T, err error, code errcode.Code) int64 {
	var coded *errcode.Error
	if !errors.As(err, &coded) || coded.Code != code {
		t.Errorf("expected the code %d, got %v", code, err)
	}
	return 0
}

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

// A snapshot of more tags than one batch holds is whole.
func TestLargeSnapshot(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db, s := open(t, cfg)
		fill(t, db, 3500, func(i int) (int, int) { return i % 7 / 6, i % 2 })
		snapshot, err := s.Snapshot(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 3500, snapshot.Sequence)
		require.Len(t, snapshot.Tags, 3000)
		require.Len(t, bare(snapshot.Tags), 3000, "none twice")
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
		{"clocks disagree, and no hole appears", []int{10, 1, 9, 1}, 10, []int64{3, 0}, []uint64{4}},
		{"clocks disagree the other way round", []int{9, 1, 10, 1}, 10, []int64{1, 2, 0}, []uint64{4}},
		{"nothing there", nil, 10, []int64{0}, nil},
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
				gone := uint64(len(c.ages) - len(c.left))
				found, err := s.Changes(t.Context(), gone, 100)
				require.NoError(t, err)
				require.Equal(t, c.left, sequences(found.Changes))
				for after := range gone {
					_, err := s.Changes(t.Context(), after, 100)
					requireCode(t, errcode.ChangesTrimmed, err)
				}
				snapshot, err := s.Snapshot(t.Context())
				require.NoError(t, err)
				require.Len(t, snapshot.Tags, len(c.ages), "the tags themselves stay")
				created := create(t, s, "next")
				found, err = s.Changes(t.Context(), snapshot.Sequence, 100)
				require.NoError(t, err)
				require.Equal(t, created.ID, found.Changes[0].TagID)
				require.Equal(t, []uint64{snapshot.Sequence + 1}, sequences(found.Changes))
			})
		})
	}
}

// Replicas trim at the same time, and while others write.
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
