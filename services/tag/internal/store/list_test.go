package store_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// Lists with equal parameters that wait share one query, which starts after they began to
// wait. Lists with other parameters have queries of their own.
func TestEqualListsShareAQuery(t *testing.T) {
	const readers = 20
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db, s := open(t, cfg)
		create(t, s, "old")
		var queries atomic.Int64
		proceed := make(chan struct{})
		db.OnQuery(func(query string, _ []any) {
			if strings.Contains(query, "AS numbers") { // a list
				queries.Add(1)
				<-proceed
			}
		})
		var group sync.WaitGroup
		read := func(want int, filter tag.Filter, limit int) {
			group.Go(func() {
				list, err := s.List(t.Context(), filter, tag.Page{Limit: limit})
				if err != nil || len(list.Tags) < want || list.Total < int64(want) {
					t.Errorf("the list is %+v with the error %v, want at least %d tags", list, err, want)
				}
			})
		}
		for n := range 4 { // the reads in progress at most
			read(1, tag.Filter{}, 10+n)
		}
		require.Eventually(t, func() bool { return queries.Load() == 4 }, time.Minute, time.Millisecond)
		create(t, s, "new")
		for range readers {
			read(2, tag.Filter{}, 10)
			read(2, tag.Filter{State: new(tag.Enabled)}, 10)
			read(1, tag.Filter{Name: new("new")}, 10)
		}
		require.Eventually(t, func() bool { return s.Waiting() == 3*readers }, time.Minute, time.Millisecond)
		close(proceed)
		group.Wait()
		require.EqualValues(t, 7, queries.Load())
	})
}

// Lists with many different prefixes wait for each other, and the rest is rejected at once.
// Other lists go on.
func TestPrefixesLeaveRoom(t *testing.T) {
	const readers = 30
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db, s := open(t, cfg)
		create(t, s, "a")
		proceed := make(chan struct{})
		db.OnQuery(func(query string, _ []any) {
			if strings.Contains(query, "AS counted") { // with a prefix
				<-proceed
			}
		})
		var read, rejected atomic.Int64
		var group sync.WaitGroup
		for n := range readers {
			group.Go(func() {
				_, err := s.List(t.Context(), tag.Filter{Prefix: new(fmt.Sprint("a", n))}, tag.Page{Limit: 10, Order: tag.Order{By: tag.ByName}})
				if err == nil {
					read.Add(1)
					return
				}
				expectCode(t, err, errcode.Unavailable)
				rejected.Add(1)
			})
		}
		require.Eventually(t, func() bool { return rejected.Load() == readers-10 }, time.Minute, time.Millisecond)
		list, err := s.List(t.Context(), tag.Filter{}, tag.Page{Limit: 10})
		require.NoError(t, err)
		require.Len(t, list.Tags, 1)
		close(proceed)
		group.Wait()
		require.EqualValues(t, 10, read.Load())
	})
}
