package store

import (
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/search"
)

const (
	// maxCounted is the number of articles up to which a search counts.
	maxCounted = 1000
	// maxCandidates is the number of compared titles after which a search reads no further
	// batch.
	maxCandidates = 20_000
	// maxShort is the number of entries of the index up to which a search for one or two
	// letters reads all of them.
	maxShort = 5000
	// maxSamples is the number of grams among which a search looks for the rarest one, and
	// sampleSize the number of entries of each that it reads for that.
	maxSamples, sampleSize = 16, 100
)

// candidates are the articles that a search may find: those in an index with a key. The
// titles are compared afterwards.
type candidates struct {
	// table has the alias c, and id is its column with the ids of articles.
	table, id string
	key       statement // a condition
}

// searchTitles returns a page of the articles whose title contains key.title.
func (s *Store) searchTitles(ctx context.Context, key listKey) (found list, err error) {
	err = s.db.Expensive().Read(ctx, func(db *gorm.DB) error {
		found, err = s.searchPage(db, key, search.NewQuery(key.title))
		return err
	})
	return found, err
}

// searchPage compares the titles of candidates, newest first, until there are enough for
// the page and the total.
func (s *Store) searchPage(db *gorm.DB, key listKey, q search.Query) (list, error) {
	c, err := s.candidates(db, key, q)
	if err != nil {
		return list{}, err
	}
	if c.table == "" {
		return list{}, nil
	}
	ids, more, err := s.matching(db, key, q, c)
	if err != nil {
		return list{}, err
	}
	total := article.Total{Rows: int64(min(len(ids), maxCounted)), AtLeast: more || len(ids) > maxCounted}
	ids = ids[min(key.offset, len(ids)):min(key.offset+key.limit, len(ids))]
	if len(ids) == 0 {
		return list{total: total}, nil
	}
	found, err := s.readPage(db, ids, key.order)
	// An article that no longer matches is left out.
	found.articles = slices.DeleteFunc(found.articles, func(a article.Article) bool { return !q.Matches(a.Title) || !key.matches(a) })
	found.total = total
	return found, err
}

// candidates returns the smallest set of candidates, estimated from samples. It returns the
// zero value if there are none.
func (s *Store) candidates(db *gorm.DB, key listKey, q search.Query) (candidates, error) {
	var known []candidates
	if tag := key.only(); tag != 0 {
		known = append(known, candidates{
			table: s.indexed("article_tag AS c", "article_tag_tag"), id: "c.article_id", key: statement{"c.tag_id = ?", []any{tag}},
		})
	}
	grams := s.db.Table("article_gram")
	for i := range min(len(q.Grams), maxSamples) { // from everywhere in the text
		gram := q.Grams[i*len(q.Grams)/min(len(q.Grams), maxSamples)]
		known = append(known, candidates{table: grams + " AS c", id: "c.article_id", key: statement{"c.gram = ?", []any{[]byte(gram)}}})
	}
	if q.Prefix != "" {
		entries := statement{" FROM " + grams + " WHERE gram >= ? AND gram <= ?", []any{[]byte(q.Prefix), []byte(q.Prefix + "\xff")}}
		few, err := s.atMost(db, entries, maxShort)
		switch {
		case err != nil:
			return candidates{}, err
		case few:
			return candidates{table: "(SELECT DISTINCT article_id" + entries.text + ") AS c", id: "c.article_id", key: statement{"1 = 1", entries.values}}, nil
		case len(known) == 0:
			return candidates{table: s.titles("c"), id: "c.id", key: statement{text: "c.is_deleted = 0"}}, nil
		}
	}
	if len(known) == 1 {
		return known[0], nil
	}
	return s.rarest(db, known)
}

// atMost reports whether there are at most n entries.
func (s *Store) atMost(db *gorm.DB, entries statement, n int) (few bool, err error) {
	err = db.Raw("SELECT (SELECT 1"+entries.text+" LIMIT 1 OFFSET ?) IS NULL", append(slices.Clone(entries.values), n)...).Scan(&few).Error
	return few, err
}

// rarest returns the candidates with the fewest entries in a sample of the newest; if several
// fill the sample, those whose sample reaches the oldest article.
func (s *Store) rarest(db *gorm.DB, known []candidates) (candidates, error) {
	var samples []string
	var values []any
	for i, c := range known {
		samples = append(samples, "SELECT "+strconv.Itoa(i)+" AS i, COUNT(*) AS n, COALESCE(MIN(id), 0) AS oldest FROM (SELECT "+c.id+" AS id FROM "+c.table+
			" WHERE "+c.key.text+" ORDER BY "+c.id+" DESC LIMIT ?) AS sample")
		values = append(append(values, c.key.values...), sampleSize)
	}
	var rarest struct{ I, N int }
	err := db.Raw(strings.Join(samples, " UNION ALL ")+" ORDER BY n, oldest LIMIT 1", values...).Scan(&rarest).Error
	if err != nil || rarest.N == 0 {
		return candidates{}, err
	}
	return known[rarest.I], nil
}

// matching returns the ids of the candidates that match, newest first, until there are
// enough. more reports whether there may be others.
func (s *Store) matching(db *gorm.DB, key listKey, q search.Query, c candidates) (ids []uint64, more bool, err error) {
	enough := max(maxCounted+1, key.offset+key.limit)
	stmt := s.compared(key, c)
	for last, looked := uint64(largestID), 0; len(ids) < enough; {
		if looked >= maxCandidates {
			return ids, true, nil
		}
		n, matched, oldest, err := s.readTitles(db, key, q, stmt, last, enough)
		if err != nil {
			return nil, false, err
		}
		ids = append(ids, matched...)
		if looked += n; n < enough {
			return ids, false, nil
		}
		last = oldest - 1
	}
	return ids, false, nil
}

// compared returns the statement that reads the next candidates and what decides whether
// they match. The caller appends the values of the last id and the limit.
func (s *Store) compared(key listKey, c candidates) statement {
	join := " STRAIGHT_JOIN " // in this order
	if s.db.Dialect() == database.SQLite {
		join = " CROSS JOIN "
	}
	stmt := statement{text: "SELECT a.id, a.title, (1 = 1"}
	s.filtered(&stmt, key, "a")
	stmt.text += ") FROM " + c.table + join + s.titles("a") + " ON a.is_deleted = 0 AND a.id = " + c.id + " WHERE " + c.key.text
	stmt.values = append(stmt.values, c.key.values...)
	stmt.text += " AND " + c.id + " <= ? ORDER BY " + c.id + " DESC LIMIT ?"
	return stmt
}

// readTitles compares the next candidates. It returns their number, the ids of those that
// match, and the last id.
func (s *Store) readTitles(db *gorm.DB, key listKey, q search.Query, stmt statement, last uint64, limit int) (n int, ids []uint64, oldest uint64, err error) {
	var title string
	var matches bool
	err = s.db.QueryIn(db, stmt.text, append(slices.Clone(stmt.values), last, limit), func(rows *sql.Rows) error {
		n++
		err := rows.Scan(&oldest, &title, &matches)
		if err == nil && matches && q.Matches(title) {
			ids = append(ids, oldest)
		}
		return err
	})
	return n, ids, oldest, err
}
