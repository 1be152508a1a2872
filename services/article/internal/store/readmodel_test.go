package store_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/follow"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

func TestReadModelIsInitiallyEmpty(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		require.Equal(t, changefeed.Offset{}, s.offset(t))
		require.ErrorIs(t, s.apply(t.Context(), put(1, 1, "a")), follow.ErrStartOver, "no snapshot is loaded yet")
		s.replace(t, tagfeed.Snapshot{Epoch: epoch})
		require.Equal(t, changefeed.Offset{Epoch: epoch}, s.offset(t))
		require.NoError(t, s.apply(t.Context(), put(1, 1, "a")))
	})
}

func TestApply(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(5, 1, 2))
		for _, c := range []struct {
			name    string
			changes []tagfeed.Change
			want    map[uint64]string
			at      uint64
		}{
			{"no changes", nil, map[uint64]string{1: "tag 1 (1)", 2: "tag 2 (1)"}, 5},
			{"new tag", []tagfeed.Change{put(6, 3, "三 😀")}, map[uint64]string{1: "tag 1 (1)", 2: "tag 2 (1)", 3: "三 😀 (1)"}, 6},
			{"renamed, disabled, deleted", []tagfeed.Change{put(7, 1, "one"), {Sequence: 8, TagID: 2, Kind: changefeed.Put, Name: "two"}, remove(9, 3)},
				map[uint64]string{1: "one (1)", 2: "two (0)"}, 9},
			{"repeated", []tagfeed.Change{put(7, 1, "wrong"), put(8, 2, "wrong"), put(9, 3, "wrong")}, map[uint64]string{1: "one (1)", 2: "two (0)"}, 9},
			{"overlapping", []tagfeed.Change{put(8, 1, "wrong"), put(9, 1, "wrong"), put(10, 1, "new")}, map[uint64]string{1: "new (1)", 2: "two (0)"}, 10},
			{"delete an unknown tag", []tagfeed.Change{remove(11, 77)}, map[uint64]string{1: "new (1)", 2: "two (0)"}, 11},
			{"deleted and restored", []tagfeed.Change{remove(12, 1), put(13, 1, "back"), remove(14, 2), put(15, 2, "x"), remove(16, 2)}, map[uint64]string{1: "back (1)"}, 16},
		} {
			require.NoError(t, s.Apply(t.Context(), tagfeed.Changes{Epoch: epoch, Changes: c.changes}), c.name)
			names, offset := s.readModel(t)
			require.Equal(t, c.want, names, c.name)
			require.Equal(t, changefeed.Offset{Epoch: epoch, Sequence: c.at}, offset, c.name)
		}
	})
}

func TestApplyStartsOver(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(5, 1))
		for name, changes := range map[string]tagfeed.Changes{
			"a gap":            {Epoch: epoch, Changes: []tagfeed.Change{put(7, 1, "x")}},
			"a gap within":     {Epoch: epoch, Changes: []tagfeed.Change{put(6, 1, "x"), put(8, 2, "x")}},
			"backwards":        {Epoch: epoch, Changes: []tagfeed.Change{put(7, 1, "x"), put(6, 2, "x")}},
			"another epoch":    {Epoch: "other", Changes: []tagfeed.Change{put(6, 1, "x")}},
			"no epoch":         {Changes: []tagfeed.Change{put(6, 1, "x")}},
			"old and a gap":    {Epoch: epoch, Changes: []tagfeed.Change{put(5, 1, "x"), put(7, 2, "x")}},
			"epoch, no change": {Epoch: "other"},
		} {
			require.ErrorIs(t, s.Apply(t.Context(), changes), follow.ErrStartOver, name)
			names, offset := s.readModel(t)
			require.Equal(t, map[uint64]string{1: "tag 1 (1)"}, names, name)
			require.Equal(t, changefeed.Offset{Epoch: epoch, Sequence: 5}, offset, name)
		}
	})
}

func TestApplyIsAllOrNothing(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(5, 1, 2))
		tagged := s.create(t, "a", 1, 2)
		s.reject(t, "INSERT", "tag_projection", "NEW.name = 'poison'")
		require.ErrorContains(t, s.apply(t.Context(), remove(6, 1), put(7, 2, "x"), put(8, 3, "poison")), injected)
		poisoned := snapshot(9, 2)
		poisoned.Tags[0].Name = "poison"
		require.ErrorContains(t, s.Replace(t.Context(), s.offset(t), poisoned), injected)
		readModel, offset := s.readModel(t)
		require.Equal(t, map[uint64]string{1: "tag 1 (1)", 2: "tag 2 (1)"}, readModel)
		require.EqualValues(t, 5, offset.Sequence)
		require.Equal(t, []uint64{1, 2}, s.tagsOf(t, tagged.ID))
	})
}

// Four replicas apply overlapping and outdated batches of the feed. At any time the
// read model has the state of the feed at its offset.
func TestApplyExactlyOnce(t *testing.T) {
	const appliers, changes, tags, maxBatch = 4, 400, 12, 25
	feed, states := history(changes, tags)
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		first := open(t, cfg)
		first.replace(t, tagfeed.Snapshot{Epoch: epoch})
		ctx := t.Context()
		var group, watching sync.WaitGroup
		for range appliers {
			replica := open(t, cfg)
			group.Go(func() {
				for ctx.Err() == nil {
					offset, err := replica.Offset(ctx)
					if err != nil {
						t.Errorf("offset: %v", err)
						return
					}
					if offset.Sequence == changes {
						return
					}
					from := offset.Sequence - min(offset.Sequence, rand.Uint64N(maxBatch))
					to := min(offset.Sequence+1+rand.Uint64N(maxBatch), changes)
					if err := replica.apply(ctx, feed[from:to]...); err != nil {
						t.Errorf("apply %d to %d: %v", from, to, err)
						return
					}
				}
			})
		}
		done := make(chan struct{})
		watching.Go(func() {
			for {
				names, offset := first.readModel(t)
				if !maps.Equal(states[offset.Sequence], names) {
					t.Errorf("at offset %d the read model is %v, want %v", offset.Sequence, names, states[offset.Sequence])
					return
				}
				select {
				case <-done:
					return
				case <-time.After(time.Millisecond):
				}
			}
		})
		group.Wait()
		close(done)
		watching.Wait()
		_, offset := first.readModel(t)
		require.EqualValues(t, changes, offset.Sequence)
	})
}

// history returns a random feed, and the tags after each of its changes.
func history(changes int, tags uint64) ([]tagfeed.Change, []map[uint64]string) {
	feed, states := make([]tagfeed.Change, 0, changes), []map[uint64]string{{}}
	for i := range changes {
		now, tag, sequence := maps.Clone(states[i]), 1+rand.Uint64N(tags), uint64(i+1)
		if rand.N(3) == 0 {
			feed = append(feed, remove(sequence, tag))
			delete(now, tag)
		} else {
			name := fmt.Sprint("as of ", sequence)
			feed = append(feed, put(sequence, tag, name))
			now[tag] = name + " (1)"
		}
		states = append(states, now)
	}
	return feed, states
}

func TestReplaceKeepsAssociations(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(5, 1, 2, 3))
		one, two := s.create(t, "one", 1, 2, 3), s.create(t, "two", 1)
		next := snapshot(9, 2, 3, 4)
		next.Tags[0].Name, next.Tags[1].State = "renamed", 0
		s.replace(t, next)
		names, offset := s.readModel(t)
		require.Equal(t, map[uint64]string{2: "renamed (1)", 3: "tag 3 (0)", 4: "tag 4 (1)"}, names)
		require.Equal(t, changefeed.Offset{Epoch: epoch, Sequence: 9}, offset)
		require.Equal(t, []uint64{2, 3}, s.tagsOf(t, one.ID))
		require.Empty(t, s.tagsOf(t, two.ID))
		found, err := s.get(t.Context(), one.ID)
		require.NoError(t, err)
		require.Equal(t, []article.Tag{{ID: 2, Name: "renamed", State: 1}, {ID: 3, Name: "tag 3", State: 0}}, found.Tags)
		s.requireNoDanglingTags(t)
	})
}

func TestReplaceByAnotherEpoch(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(5, 1, 2))
		tagged := s.create(t, "a", 1, 2)

		other := tagfeed.Snapshot{Epoch: "another", Sequence: 1, Tags: []tagfeed.Tag{{ID: 2, Name: "b", State: 1}}}
		s.replace(t, other)
		names, offset := s.readModel(t)
		require.Equal(t, map[uint64]string{2: "b (1)"}, names)
		require.Equal(t, changefeed.Offset{Epoch: "another", Sequence: 1}, offset)
		require.Equal(t, []uint64{2}, s.tagsOf(t, tagged.ID))
		require.ErrorIs(t, s.apply(t.Context(), put(2, 2, "of the old epoch")), follow.ErrStartOver)

		s.replace(t, tagfeed.Snapshot{Epoch: "another", Sequence: 2})
		names, _ = s.readModel(t)
		require.Empty(t, names)
		require.Empty(t, s.tagsOf(t, tagged.ID))
	})
}

// Several replicas start over at the same time. A slow one with an older snapshot
// must not undo the work of a faster one.
func TestReplaceNeverGoesBackward(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		start := changefeed.Offset{}
		require.NoError(t, s.Replace(t.Context(), start, snapshot(8, 1, 2)))
		require.NoError(t, s.Replace(t.Context(), start, snapshot(5, 1)), "an older snapshot is no error")
		require.NoError(t, s.Replace(t.Context(), start, snapshot(9, 1, 2, 3)), "nor is a newer one")
		names, offset := s.readModel(t)
		require.Len(t, names, 2)
		require.EqualValues(t, 8, offset.Sequence)

		// If the tag service was restored from an old backup, the read model goes
		// backward too.
		require.NoError(t, s.Replace(t.Context(), offset, snapshot(3, 1)))
		names, offset = s.readModel(t)
		require.Len(t, names, 1)
		require.EqualValues(t, 3, offset.Sequence)
	})
}

func TestConcurrentReplacements(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := open(t, cfg)
		var group sync.WaitGroup
		for n := range uint64(4) {
			replica := open(t, cfg)
			group.Go(func() {
				if err := replica.Replace(t.Context(), changefeed.Offset{}, snapshot(1+n, 1, 2+n)); err != nil {
					t.Errorf("replica %d: %v", n, err)
				}
			})
		}
		group.Wait()
		names, offset := s.readModel(t)
		require.Equal(t, map[uint64]string{1: "tag 1 (1)", 1 + offset.Sequence: fmt.Sprintf("tag %d (1)", 1+offset.Sequence)}, names)
	})
}

// An update may take longer than Database.Timeout, because it would fail again and
// again. Each statement has a bounded number of rows, whatever the number of tags
// and articles.
func TestLargeUpdates(t *testing.T) {
	const tags, articles, most = 1200, 2000, 500
	each(t, func(t *testing.T, patient fixture) {
		all := make([]uint64, 0, tags)
		for id := range uint64(tags) {
			all = append(all, id+1)
		}
		patient.replace(t, snapshot(1, 1, 2))
		patient.fill(t, articles, "1", "2")
		associations := patient.count(t, "article_tag", "1 = 1")
		db := patient.db.WithTimeout(time.Nanosecond) // any operation exceeds it
		s := fixture{store.New(db, time.Hour), db}
		_, err := s.Offset(t.Context())
		require.Error(t, err)

		written := map[string]int64{} // rows by table
		bounded := func(tx *gorm.DB) {
			written[tx.Statement.Table] += tx.RowsAffected
			if tx.RowsAffected > most {
				t.Errorf("%d rows by one statement: %.200s", tx.RowsAffected, tx.Statement.SQL.String())
			}
		}
		callbacks := db.Gorm(t.Context()).Callback()
		require.NoError(t, callbacks.Create().After("gorm:create").Register("test:bounded", bounded))
		require.NoError(t, callbacks.Delete().After("gorm:delete").Register("test:bounded", bounded))

		require.NoError(t, s.Replace(t.Context(), patient.offset(t), snapshot(2, all...)), "a large snapshot")
		require.EqualValues(t, tags, patient.count(t, "tag_projection", "1 = 1"))
		require.NoError(t, s.apply(t.Context(), remove(3, 1)), "deletion of a tag that every article has")
		require.NoError(t, s.Replace(t.Context(), patient.offset(t), snapshot(4, all[2:]...)), "a snapshot without such a tag")
		require.Zero(t, patient.count(t, "article_tag", "1 = 1"))
		require.EqualValues(t, tags-2, patient.count(t, "tag_projection", "1 = 1"))
		require.EqualValues(t, associations, written[patient.db.Table("article_tag")], "the foreign key deletes no rows by cascade")
	})
}

// Replacing the read model does not lock unchanged tags: articles can be written at
// the same time.
func TestReplaceDoesNotBlockWriters(t *testing.T) {
	cfg := dbtest.MySQL(t)
	s, other := open(t, cfg), open(t, cfg)
	s.replace(t, snapshot(5, 1, 2, 3))
	written := false
	require.NoError(t, s.db.Gorm(t.Context()).Callback().Create().After("gorm:create").Register("test:meanwhile", func(*gorm.DB) {
		written = true
		other.create(t, "meanwhile", 1, 2)
	}))
	next := snapshot(6, 1, 2, 3)
	next.Tags[2].Name = "renamed"
	require.NoError(t, s.Replace(t.Context(), s.offset(t), next))
	require.True(t, written)
	require.EqualValues(t, 1, s.count(t, "article", "title = 'meanwhile'"))
}
