package store_test

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/changefeed/feedtest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

func TestTags(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		_, s := open(t, cfg)
		name := strings.Repeat("🦄", 100)
		created, _, err := s.Create(t.Context(), draft(name, tag.Disabled), idempotency.Key{})
		require.NoError(t, err)
		require.NotZero(t, created.ID)
		require.Equal(t, name, created.Name)
		require.Equal(t, tag.Disabled, created.State)
		require.WithinDuration(t, time.Now(), created.CreatedAt, time.Minute)
		got, err := s.Get(t.Context(), created.ID)
		require.NoError(t, err)
		require.Equal(t, created, got.Tag, "including the times, in UTC")

		updated, err := s.Update(t.Context(), created.ID, tag.Draft{Name: new("new")}, nil)
		require.NoError(t, err)
		require.Equal(t, tag.Disabled, updated.State, "unchanged")
		updated, err = s.Update(t.Context(), created.ID, draft("new", tag.Enabled), nil)
		require.NoError(t, err)
		got, err = s.Get(t.Context(), created.ID)
		require.NoError(t, err)
		require.Equal(t, updated, got.Tag)

		require.NoError(t, s.Delete(t.Context(), created.ID, "", nil))
		for _, id := range []uint64{created.ID, 0, 99, 1 << 32, 1<<63 - 1} {
			_, err = s.Get(t.Context(), id)
			requireCode(t, errcode.TagNotFound, err)
			_, err = s.Update(t.Context(), id, tag.Draft{Name: new("x")}, nil)
			requireCode(t, errcode.TagNotFound, err)
			requireCode(t, errcode.TagNotFound, s.Delete(t.Context(), id, "", nil))
		}
	})
}

func TestNames(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		_, s := open(t, cfg)
		other := create(t, s, "other")
		for range 3 {
			created := create(t, s, "name")
			_, _, err := s.Create(t.Context(), draft("name", tag.Enabled), idempotency.Key{})
			requireCode(t, errcode.TagNameExists, err)
			_, err = s.Update(t.Context(), other.ID, tag.Draft{Name: new("name")}, nil)
			requireCode(t, errcode.TagNameExists, err)
			require.NoError(t, s.Delete(t.Context(), created.ID, "", nil))
		}
		got, err := s.Get(t.Context(), other.ID)
		require.NoError(t, err)
		require.Equal(t, other, got.Tag)
		for _, distinct := range []string{"name", "Name", "NAME", "näme", "nаme", "name\u200b"} { // one has a Cyrillic letter
			create(t, s, distinct)
		}
	})
}

// Concurrent renames never give two tags the same name.
func TestConcurrentRenames(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		_, s := open(t, cfg)
		ids := []uint64{create(t, s, "a").ID, create(t, s, "b").ID, create(t, s, "c").ID}
		var working sync.WaitGroup
		for w := range 8 {
			working.Go(func() {
				for n := range 20 {
					_, err := s.Update(t.Context(), ids[(w+n)%3], tag.Draft{Name: new([]string{"a", "b", "c", "d"}[(w*n)%4])}, nil)
					if err != nil {
						expectCode(t, err, errcode.TagNameExists)
					}
				}
			})
		}
		working.Wait()
		list, err := s.List(t.Context(), tag.Filter{}, tag.Page{Limit: 100})
		require.NoError(t, err)
		require.EqualValues(t, 3, list.Total)
		distinct := map[string]bool{}
		for _, found := range list.Tags {
			distinct[found.Name] = true
		}
		require.Len(t, distinct, 3)
	})
}

// A page and its count are of the same snapshot of the data.
func TestListAndCountAreConsistent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		_, s := open(t, cfg)
		done := make(chan struct{})
		defer func() { <-done }()
		go func() {
			defer close(done)
			for range 30 {
				created, _, err := s.Create(t.Context(), draft("flickering", tag.Enabled), idempotency.Key{})
				if noError(t, err) {
					noError(t, s.Delete(t.Context(), created.ID, "", nil))
				}
			}
		}()
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			list, err := s.List(t.Context(), tag.Filter{}, tag.Page{Limit: 100})
			require.NoError(t, err)
			require.Len(t, list.Tags, int(list.Total))
		}
	})
}

// When the request's context ends, the write is rolled back and its sequence number
// is used by the next write.
func TestContextEndsWrite(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db, s := open(t, cfg)
		release := dbtest.Hold(t, dbtest.Open(t, cfg), "UPDATE "+db.Table("tag_sequence")+" SET value = value")
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, _, err := s.Create(ctx, draft("late", tag.Enabled), idempotency.Key{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, time.Since(began), cfg.Timeout/2)
		release()
		create(t, s, "next")
		found, err := s.Changes(t.Context(), 0, 10)
		require.NoError(t, err)
		require.Equal(t, []uint64{1}, feedtest.Numbers(found.Changes))
		require.Equal(t, "next", found.Changes[0].Name)
	})
}

// Acknowledged writes survive a crash of the database server.
func TestAcknowledgedWritesSurviveCrash(t *testing.T) {
	mysql := dbtest.NewMySQL(t, "--innodb-flush-log-at-trx-commit=1")
	db, s := open(t, mysql.Config(t))
	ids, failed := make(chan uint64), make(chan error, 1)
	go func() {
		defer close(ids)
		for {
			created, _, err := s.Create(t.Context(), draft(rand.Text(), tag.Enabled), idempotency.Key{})
			if err != nil {
				failed <- err
				return
			}
			ids <- created.ID
		}
	}()
	var acknowledged []uint64
	for range 20 {
		acknowledged = append(acknowledged, <-ids)
	}
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		mysql.Kill(t)
	}()
	for id := range ids { // until the server is killed
		acknowledged = append(acknowledged, id)
	}
	requireCode(t, errcode.Unavailable, <-failed)
	<-killed
	mysql.Start(t)
	require.Eventually(t, func() bool { return db.Ping(t.Context()) == nil }, patience, 10*time.Millisecond)
	snapshot, err := s.Snapshot(t.Context())
	require.NoError(t, err)
	stored := readModelOf(snapshot.Tags)
	for _, id := range acknowledged {
		require.Contains(t, stored, id)
	}
	found, err := s.Changes(t.Context(), 0, 10000)
	require.NoError(t, err)
	require.Len(t, found.Changes, int(snapshot.Sequence))
	replayed := readModel{}
	replayed.apply(found.Changes)
	require.Equal(t, stored, replayed)
	requireCounters(t, s)
}
