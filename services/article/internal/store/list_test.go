package store_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// Lists with equal parameters that wait share one query, which starts after they began to
// wait. Lists with other parameters have queries of their own.
func TestEqualListsShareAQuery(t *testing.T) {
	const readers = 20
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1))
		s.create(t, "old", 1)
		var queries atomic.Int64
		proceed := make(chan struct{})
		s.db.OnQuery(func(query string, _ []any) {
			if strings.Contains(query, "AS one") { // a list
				queries.Add(1)
				<-proceed
			}
		})
		var group sync.WaitGroup
		read := func(want string, filter article.Filter, limit int) {
			group.Go(func() {
				list, total, err := s.List(t.Context(), filter, article.Page{Limit: limit})
				if err != nil || len(list) < 1 || list[0].Title != want && want != "" || total.Rows < 1 {
					t.Errorf("the list is %v of %v with the error %v, want %s first", list, total, err, want)
				}
			})
		}
		for n := range 4 { // the reads in progress at most
			read("", article.Filter{}, 1+n)
		}
		require.Eventually(t, func() bool { return queries.Load() == 4 }, time.Minute, time.Millisecond)
		s.create(t, "new", 1)
		for range readers {
			read("new", article.Filter{}, 1)
			read("new", article.Filter{AnyTag: []uint64{1}}, 1)
		}
		require.Eventually(t, func() bool { return s.Waiting() == 2*readers }, time.Minute, time.Millisecond)
		close(proceed)
		group.Wait()
		require.EqualValues(t, 6, queries.Load())
	})
}

// A list reads about as many rows as its page has, and those before it, of 300,000; a
// search reads those that it counts, too. The tag 1 has half of the articles, tag 2 has ten.
func TestListsReadTheirPageOnly(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what takes a minute")
	}
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		cfg.MaxOpenConns, cfg.MaxIdleConns = 1, 1 // the counters of rows are those of a connection
		s := open(t, cfg)
		s.replace(t, snapshot(1, 1, 2, 3, 4, 5))
		rows := 300_000                                    // a tag of half of them has more than any list may read
		if raceDetector && cfg.DBType == database.SQLite { // SQLite is Go code, which the detector slows down
			rows = 20_000
		}
		s.fillFast(t, rows)
		s.searchesReadFewRows(t, rows)
		s.scansReadFewRows(t, rows)
		s.wordsReadFewRows(t, rows)
		enabled, disabled := article.Enabled, article.Disabled
		most, rare := []uint64{1}, []uint64{2}
		for name, filter := range map[string]article.Filter{
			"all": {}, "enabled": {State: &enabled}, "disabled": {State: &disabled},
			"most used tag": {AnyTag: most}, "most used tag, enabled": {AnyTag: most, State: &enabled},
			"most used tag, disabled": {AnyTag: most, State: &disabled}, "most used tag, anonymous": {AnyTag: most, State: &enabled, TagEnabled: true},
			"rare tag": {AnyTag: rare}, "rare tag, enabled": {AnyTag: rare, State: &enabled}, "rare tag, anonymous": {AnyTag: rare, State: &enabled, TagEnabled: true},
			"no tag": {AnyTag: []uint64{9}, State: &enabled}, "public": public(), "public, most used tag": public(most...), "public, rare tag": public(rare...),
		} {
			s.readsPageOnly(t, name, filter)
		}
		s.scheduleMany(t)
		for name, filter := range map[string]article.Filter{"public": public(), "public, most used tag": public(most...), "public, rare tag": public(rare...), "public, no tag": public(9)} {
			s.readsPageOnly(t, name+", many scheduled", filter)
		}
	})
}

// public returns the filter of what everybody sees.
func public(tags ...uint64) article.Filter {
	return article.Filter{AnyTag: tags, State: new(article.Enabled), Public: true, TagEnabled: true}
}

// readsPageOnly requires that a list reads the rows of its page and those before only.
func (f fixture) readsPageOnly(t *testing.T, name string, filter article.Filter) {
	t.Helper()
	for _, page := range []article.Page{{Limit: 10}, {Limit: 100}, {Offset: 10_000, Limit: 10}} {
		for _, by := range []article.OrderBy{article.ByID, article.ByPublished} {
			if by == article.ByPublished && filter.State == nil {
				continue // merges the lists of the states
			}
			page.Order.By = by
			var found []article.Article
			var total article.Total
			read := rowsRead(t, f.db, func() {
				var err error
				found, total, err = f.List(t.Context(), filter, page)
				require.NoError(t, err)
			})
			require.Len(t, found, max(0, min(page.Limit, int(total.Rows)-page.Offset)), name)
			assert.LessOrEqual(t, read, page.Offset+100+10*page.Limit, "%s: %+v", name, page)
		}
	}
}

// scheduleMany schedules as many articles of fillFast as may be.
func (f fixture) scheduleMany(t *testing.T) {
	t.Helper()
	f.exec(t, "UPDATE blog_article SET state = 2, published_at = ? WHERE state = 1 AND id <= ?", never, article.MaxScheduled)
	f.exec(t, "UPDATE blog_article_tag SET article_state = 2, published_at = ? WHERE article_state = 1 AND article_id <= ?", never, article.MaxScheduled)
	_, err := f.Recount(t.Context())
	require.NoError(t, err)
}

// Lists read their index forward, also those with an offset: backward takes InnoDB twice
// the time.
func TestListsReadForward(t *testing.T) {
	cfg := dbtest.MySQL(t)
	cfg.MaxOpenConns, cfg.MaxIdleConns = 1, 1 // the counters of rows are those of a connection
	s := open(t, cfg)
	var descending bool
	require.NoError(t, s.db.Gorm(t.Context()).Raw("SELECT COUNT(*) > 0 FROM information_schema.statistics WHERE table_schema = DATABASE() AND collation = 'D'").Scan(&descending).Error)
	if !descending {
		t.Skip("the server is older than MariaDB 10.8 or MySQL 8 and has no descending indexes")
	}
	s.replace(t, snapshot(1, 1))
	s.fill(t, 2000, "1")
	dbtest.Analyze(t, s.db, "article", "article_tag")
	enabled := article.Enabled
	for name, filter := range map[string]article.Filter{
		"all": {}, "state": {State: &enabled}, "tag": {AnyTag: []uint64{1}}, "tag and state": {AnyTag: []uint64{1}, State: &enabled},
		"public": public(), "public tag": public(1),
	} {
		for _, order := range []article.Order{{}, {By: article.ByPublished}, {By: article.ByCreated}, {By: article.ByUpdated}, {By: article.ByTitle, Ascending: true}} {
			before := handlerReads(t, s.db, "Handler_read_prev")
			found, _, err := s.List(t.Context(), filter, article.Page{Order: order, Offset: 500, Limit: 10})
			require.NoError(t, err)
			require.Len(t, found, 10)
			require.Equal(t, before, handlerReads(t, s.db, "Handler_read_prev"), "%s %+v", name, order)
		}
	}
}

// searchesReadFewRows requires that a search reads a bounded number of rows of fillFast.
func (f fixture) searchesReadFewRows(t *testing.T, rows int) {
	t.Helper()
	enabled, disabled := article.Enabled, article.Disabled
	most, rare := []uint64{1}, []uint64{2}
	for _, one := range []struct {
		title  string
		filter article.Filter
		total  article.Total
		rows   int // that may be read
	}{
		{"滚动", article.Filter{}, article.Total{Rows: 1000, AtLeast: true}, 4500},
		{"滚", article.Filter{State: &enabled}, article.Total{Rows: 1000, AtLeast: true}, 8500},
		{"动滚", article.Filter{AnyTag: most, State: &enabled, TagEnabled: true}, article.Total{Rows: 1000, AtLeast: true}, 12_000},
		{"0123动滚", article.Filter{State: &enabled}, article.Total{}, 1500 + 5*rows/1000},
		{"0123动滚", article.Filter{State: &disabled}, article.Total{Rows: int64(rows / 1000)}, 1500 + 5*rows/1000},
		{"0124滚动", article.Filter{State: &enabled}, article.Total{Rows: int64(rows / 1000)}, 1500 + 5*rows/1000},
		{"动滚", article.Filter{AnyTag: rare, State: &enabled, TagEnabled: true}, article.Total{Rows: 10}, 400},
		{"无人问津", article.Filter{}, article.Total{}, 10},
		{"重", article.Filter{}, article.Total{}, 10},
		{"zz", article.Filter{}, article.Total{}, 10},
		{"0", article.Filter{}, article.Total{Rows: 1000, AtLeast: true}, 12_000},
		// The grams are in half of the titles each, and never together.
		{"滚动滚", article.Filter{}, article.Total{AtLeast: rows/2 > 20_000}, 82_000},
		{"滚动滚", article.Filter{AnyTag: most}, article.Total{AtLeast: rows/2 > 20_000}, 110_000},
	} {
		one.filter.Title = &one.title
		for _, page := range []article.Page{{Limit: 10}, {Offset: 500, Limit: 100}} {
			f.requireSearch(t, one.title, one.filter, page, one.total, one.rows)
		}
	}
}

// requireSearch requires that a search has a total and its articles, and reads at most a
// number of rows beside those of its page.
func (f fixture) requireSearch(t *testing.T, text string, filter article.Filter, page article.Page, want article.Total, most int) {
	t.Helper()
	var found []article.Article
	var total article.Total
	read := rowsRead(t, f.db, func() {
		var err error
		found, total, err = f.List(t.Context(), filter, page)
		require.NoError(t, err)
	})
	require.Equal(t, want, total, "%s %+v", text, filter)
	require.Len(t, found, max(0, min(page.Limit, int(total.Rows)-page.Offset)), text)
	assert.LessOrEqual(t, read, most+10*page.Limit, "%s %+v %+v", text, filter, page)
	t.Logf("%s %+v: %d rows", text, page, read)
}

// fillFast inserts n articles, a multiple of 10,000, with their tags and some words, as fast as
// the database can. They are created a second apart, and changed at the same time. A title has
// the four digits of id % 1000 and 滚动, or 动滚 if the id is odd.
func (f fixture) fillFast(t *testing.T, n int) {
	t.Helper()
	step := min(n, 100_000) // so that no statement takes long
	begin, binary, created := "PRAGMA foreign_keys = OFF", "BLOB", "strftime('%Y-%m-%d %H:%M:%S', '2026-01-02 03:04:05', CONCAT(1000 * k + i, ' seconds')) || ' +0000 UTC'"
	if f.db.Dialect() == database.MySQL {
		begin, binary, created = "SET foreign_key_checks = 0, unique_checks = 0", "BINARY", "TIMESTAMPADD(SECOND, 1000 * k + i, '2026-01-02 03:04:05')"
	}
	f.exec(t, begin)
	// Entries in random order are inserted slowly, and sorted fast.
	indexes := []string{"created (is_deleted, state, created_at DESC, id DESC)", "published (is_deleted, state, published_at DESC, id DESC)", "updated (is_deleted, state, updated_at DESC, id DESC)", "by_title (is_deleted, state, title, id)"}
	for _, index := range indexes {
		name, _, _ := strings.Cut(index, " ")
		if f.db.Dialect() == database.MySQL {
			f.exec(t, "ALTER TABLE blog_article DROP KEY blog_article_"+name)
		}
	}
	for first := 0; first < n; first += step {
		f.exec(t, fmt.Sprintf("INSERT INTO blog_article (id, created_at, published_at, updated_at, is_deleted, title, content, state) "+
			"WITH RECURSIVE ones(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM ones WHERE i < 1000), "+
			"thousands(k) AS (SELECT %d UNION ALL SELECT k + 1 FROM thousands WHERE k < %d) ", first/1000, (first+step)/1000-1)+
			"SELECT 1000 * k + i, "+created+", "+created+", '2026-01-02 03:04:05', CASE WHEN i % 100 = 0 THEN 1 ELSE 0 END, SUBSTR(CONCAT(10000 + i, CASE WHEN i % 2 = 0 THEN '滚动' ELSE '动滚' END), 2), 'x', "+
			"CASE WHEN i % 3 = 0 THEN 0 ELSE 1 END FROM thousands CROSS JOIN ones")
		these := fmt.Sprintf(" FROM blog_article WHERE id > %d AND id <= %d AND ", first, first+step)
		const associate = "INSERT INTO blog_article_tag (created_at, updated_at, published_at, article_id, tag_id, article_state) SELECT created_at, updated_at, published_at, id, "
		f.exec(t, associate+"1, state"+these+"is_deleted = 0 AND id % 2 = 1")
		f.exec(t, associate+"3, state"+these+"is_deleted = 0 AND id % 20 = 1")
		f.exec(t, associate+"4, state"+these+"is_deleted = 0 AND id % 20 = 2")
		f.exec(t, associate+"5, state"+these+"id % 1000 = 7")
		f.exec(t, associate+"2, state"+these+fmt.Sprintf("id %% %d = 7", n/10))
		for _, gram := range []string{"SUBSTR(title, 1, 3)", "SUBSTR(title, 2, 3)", "SUBSTR(title, 3, 3)", "SUBSTR(title, 4, 3)", "SUBSTR(title, 5, 1)", "SUBSTR(title, 5)", "SUBSTR(title, 6)"} {
			f.exec(t, "INSERT INTO blog_article_gram (gram, article_id) SELECT CAST("+gram+" AS "+binary+") AS gram, id"+these+"is_deleted = 0 ORDER BY gram")
		}
		for word, condition := range map[string]string{"even": "id % 2 = 0", "odd": "id % 2 = 1", "off": "state = 0", "rare": "id % 10000 = 7", "few": "id % 1000 = 14"} {
			f.exec(t, "INSERT INTO blog_article_word (word, article_id, weight) SELECT CAST('"+word+"' AS "+binary+"), id, 1 + id % 7"+these+"is_deleted = 0 AND "+condition)
		}
	}
	for _, index := range indexes {
		if f.db.Dialect() == database.MySQL {
			f.exec(t, "ALTER TABLE blog_article ADD KEY blog_article_"+index)
		}
	}
	f.exec(t, "INSERT INTO blog_article_count (tag_id, state, slot, value) SELECT 0, state, 0, COUNT(*) FROM blog_article WHERE is_deleted = 0 GROUP BY state")
	f.exec(t, "INSERT INTO blog_article_count (tag_id, state, slot, value) SELECT tag_id, article_state, 0, COUNT(*) FROM blog_article_tag GROUP BY tag_id, article_state")
	if f.db.Dialect() == database.MySQL {
		dbtest.Analyze(t, f.db, "article", "article_tag", "tag_projection", "article_count")
	}
}

// rowsRead returns the number of rows that work reads on the only connection of db. SQLite
// doesn't count them; there it requires that no table is read as a whole, and returns 0.
func rowsRead(t *testing.T, db *database.DB, work func()) (rows int) {
	t.Helper()
	if db.Dialect() == database.SQLite {
		dbtest.Indexed(t, db, work)
		return 0
	}
	before := handlerReads(t, db, "Handler_read%")
	work()
	return handlerReads(t, db, "Handler_read%") - before
}

// handlerReads returns the sum of MariaDB's counters whose names match a pattern, of the
// only connection of db.
func handlerReads(t *testing.T, db *database.DB, pattern string) (sum int) {
	t.Helper()
	var status []struct {
		VariableName string
		Value        int
	}
	require.NoError(t, db.Gorm(t.Context()).Raw("SHOW SESSION STATUS LIKE '"+pattern+"'").Scan(&status).Error)
	for _, s := range status {
		sum += s.Value
	}
	return sum
}
