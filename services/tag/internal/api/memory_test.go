package api_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/memory"
)

// Lists, changes and snapshots get 503 if there is no memory for them.
func TestMemoryOfResponses(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	s.create(t, fields{"name": "a"})
	var reserved []*memory.Reservation
	reserve := func(client string, bytes int64) {
		r, err := s.memory.Reserve(t.Context(), client, bytes, func() {})
		require.NoError(t, err)
		reserved = append(reserved, r)
	}
	reserve("app:test", 20<<20)
	reserve("ip:127.0.0.1", 15<<20)
	for range 20 { // what is kept for small ones
		reserve("small", 256<<10)
	}
	read := s.reads.Load()
	requests := []apitest.Case{{Path: tagsPath}, {Path: changesPath, Header: authorized}, {Path: snapshotPath, Header: authorized}}
	var waiting sync.WaitGroup
	for _, request := range requests {
		waiting.Go(func() {
			result := s.Do(t, request)
			require.Equal(t, http.StatusServiceUnavailable, result.Status, request.Path)
			require.Equal(t, errcode.Unavailable, codeOf(t, result))
			require.Equal(t, "1", result.Header.Get("Retry-After"))
		})
	}
	waiting.Wait()
	require.Equal(t, read, s.reads.Load(), "nothing is read before there is memory for it")
	for _, r := range reserved {
		r.Release()
	}
	for _, request := range requests {
		require.Equal(t, http.StatusOK, s.Do(t, request).Status, request.Path)
	}
	require.Eventually(t, func() bool { return s.memory.Reserved() == 0 }, patience, time.Millisecond)
}

// An anonymous client can't tell a disabled tag from a missing one by the statements
// that it takes.
func TestDisabledTagsCostLikeMissingOnes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		disabled, deleted := s.create(t, fields{"name": "a", "state": 0}), s.create(t, fields{"name": "b"})
		s.delete(t, deleted.ID)
		var mu sync.Mutex
		var statements []string
		record := func(query string, _ []any) {
			mu.Lock()
			defer mu.Unlock()
			statements = append(statements, query)
		}
		s.db.OnQuery(record)
		require.NoError(t, s.db.Gorm(t.Context()).Callback().Query().After("gorm:query").Register("test", func(db *gorm.DB) {
			record(db.Statement.SQL.String(), nil)
		}))
		for n, id := range []uint64{disabled.ID, deleted.ID, 1 << 40} {
			require.Equal(t, http.StatusNotFound, s.anonymous.Do(t, apitest.Case{Path: at(id)}).Status)
			require.Len(t, statements, n+1)
			require.Equal(t, statements[0], statements[n])
		}
		require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Path: at(disabled.ID)}).Status)
	})
}
