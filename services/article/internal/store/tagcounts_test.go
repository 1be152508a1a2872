package store_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// The list of tags has the numbers of the articles that the viewer sees, in each order, on pages
// with numbers and with cursors.
func TestTagsWithCounts(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		m := s.fillModel(t, 60)
		for viewer, shown := range map[article.Viewer][]uint64{article.Anonymous: {1, 2, 4, 5}, article.Authenticated: {1, 2, 3, 4, 5}} {
			var all []article.TagCount
			for _, id := range shown {
				one := article.TagCount{Tag: article.Tag{ID: id, Name: fmt.Sprint("tag ", id), State: article.Enabled}}
				if id == 3 {
					one.State = article.Disabled
				}
				for _, a := range m.articles {
					hasTag := slices.ContainsFunc(a.Tags, func(t article.Tag) bool { return t.ID == id })
					if hasTag && (viewer == article.Authenticated || a.State == article.Enabled) {
						one.Count++
					}
				}
				all = append(all, one)
			}
			for range 30 {
				page := article.TagPage{ByName: rand.N(2) == 0, Ascending: rand.N(2) == 0, Limit: 1 + rand.N(6), Offset: rand.N(3)}
				slices.SortFunc(all, func(a, b article.TagCount) int {
					c := cmp.Or(cmp.Compare(a.Count, b.Count), cmp.Compare(a.ID, b.ID))
					if page.ByName {
						c = strings.Compare(a.Name, b.Name)
					}
					if !page.Ascending {
						c = -c
					}
					return c
				})
				for want := all[page.Offset:]; ; page.Offset = 0 {
					found, err := s.Tags(t.Context(), viewer, page)
					require.NoError(t, err)
					require.Equal(t, article.Total{Rows: int64(len(all))}, found.Total)
					n := min(page.Limit, len(want))
					require.Equal(t, want[:n], found.Tags, "%+v", page)
					if want = want[n:]; len(want) == 0 {
						require.Nil(t, found.Next)
						break
					}
					page.After = found.Next
				}
			}
		}
		none, err := s.Tags(t.Context(), article.Anonymous, article.TagPage{Offset: 10, Limit: 10})
		require.NoError(t, err)
		require.Equal(t, []article.TagCount{}, none.Tags)
		require.EqualValues(t, 4, none.Total.Rows)
	})
}

// Of 100,000 tags, a list by name reads its page, and one by numbers of articles reads 5000 tags.
func TestTagListsReadABoundedNumberOfRows(t *testing.T) {
	cfg := dbtest.MySQL(t)                    // which counts them
	cfg.MaxOpenConns, cfg.MaxIdleConns = 1, 1 // the counters of rows are those of a connection
	s := open(t, cfg)
	numbers := "WITH RECURSIVE ones(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM ones WHERE i < 1000), hundreds(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM hundreds WHERE k < 99) "
	s.exec(t, "INSERT INTO blog_tag_projection (id, name, state) "+numbers+"SELECT 1000 * k + i, CONCAT('tag ', 1000 * k + i), i % 2 FROM ones CROSS JOIN hundreds")
	s.exec(t, "INSERT INTO blog_article_count (tag_id, state, slot, value) "+numbers+"SELECT 1000 * k + i, 1, i % 16, i % 7 FROM ones CROSS JOIN hundreds")
	dbtest.Analyze(t, s.db, "tag_projection", "article_count")
	for _, viewer := range []article.Viewer{article.Anonymous, article.Authenticated} {
		for _, page := range []article.TagPage{
			{ByName: true}, {ByName: true, Ascending: true}, {ByName: true, After: &article.TagCount{Tag: article.Tag{ID: 5, Name: "tag 5"}}}, {ByName: true, Offset: 1000},
			{}, {Ascending: true}, {Offset: 1000}, {After: &article.TagCount{Tag: article.Tag{ID: 5}, Count: 3}},
		} {
			page.Limit = 10
			most := 2300
			total := int64(1000)
			if !page.ByName {
				most, total = 45_100, 5000
			}
			var found *article.TagList
			read := rowsRead(t, s.db, func() {
				var err error
				found, err = s.Tags(t.Context(), viewer, page)
				require.NoError(t, err)
			})
			require.Len(t, found.Tags, 10)
			require.Equal(t, article.Total{Rows: total, AtLeast: true}, found.Total)
			require.LessOrEqual(t, read, most+page.Offset, "%+v", page)
			t.Logf("%+v: %d rows", page, read)
		}
	}
}
