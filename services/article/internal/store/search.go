package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/search"
)

const (
	// maxCounted is the number of articles up to which a search counts.
	maxCounted = 1000
	// maxShort is the number of entries of the index up to which a search for one or two
	// letters reads all of them.
	maxShort = 5000
	// maxSamples is the number of grams among which a search looks for the rarest one, and
	// sampleSize the number of entries of each index that it reads for that.
	maxSamples, sampleSize = 16, 100
)

// searchLimits bounds what a search reads.
type searchLimits struct {
	// titles is the number of candidates whose titles are compared, if words don't restrict
	// them.
	titles int
	// lookups is the number of times that a search for words looks whether a candidate has a
	// word. candidates is the number of candidates that it looks at, however many words it has.
	lookups, candidates int
	// firstBatch is the number of candidates that are looked at first. Each time there are twice
	// as many.
	firstBatch int
}

func defaultSearchLimits() searchLimits {
	return searchLimits{titles: 20_000, lookups: 12_000, candidates: 1000, firstBatch: 1024}
}

// candidates are the articles that a search may find: those in an index with a key.
type candidates struct {
	table statement // with the alias c
	id    string    // its column with the ids of articles
	key   statement // a condition
	word  string    // if the index is that of words
}

// searches reports whether there is a condition on texts.
func (key listKey) searches() bool { return key.title != "" || key.words != "" }

// search returns a page of the articles whose title contains key.title, and that have all
// of key.words. All of it is read from one snapshot, so an article is found as it is shown.
func (s *Store) search(ctx context.Context, key listKey) (found list, err error) {
	err = s.db.Expensive().Snapshot(ctx, func(tx *gorm.DB) error {
		key, scheduled, err := s.at(tx, key)
		if err != nil {
			return err
		}
		resolved, _, ok, err := s.resolve(tx, key)
		if err == nil && ok {
			r := &searcher{Store: s, tx: tx, key: resolved, title: search.NewQuery(key.title), words: strings.Fields(key.words)}
			found, err = r.page()
		}
		found.scheduled = scheduled
		return err
	})
	return found, err
}

// searcher reads the page of a search in one transaction.
type searcher struct {
	*Store
	tx    *gorm.DB
	key   listKey // without names and disabled tags
	title search.Query
	words []string // the rarest first, when the candidates are chosen
	from  candidates
}

// match is an article that a search has found. It has what lists are ordered by only.
type match struct {
	article.Article
	rank int
}

func (r *searcher) position(m match) article.Position {
	position := r.key.order.PositionOf(m.Article)
	if r.key.order.By == article.ByRank {
		position.Rank = m.rank
	}
	return position
}

func (r *searcher) page() (list, error) {
	ok, err := r.choose()
	if err != nil || !ok {
		return list{}, err
	}
	if r.key.order.By == article.ByID {
		return r.pageByID()
	}
	return r.sortedPage()
}

// pageByID reads the candidates in the order of the list, so there may be as many pages as
// there are articles.
func (r *searcher) pageByID() (list, error) {
	enough := max(r.key.offset+r.key.limit, maxCounted) + 1
	if r.key.after.set {
		enough = r.key.limit + 1
	}
	found, err := r.find(r.key.after, enough)
	if err != nil {
		return list{}, err
	}
	counted := found
	if r.key.after.set { // the total is that of the whole list
		if counted, err = r.find(position{}, maxCounted+1); err != nil {
			return list{}, err
		}
	}
	total := totalOf(max(len(counted.matches), min(len(found.matches), r.key.limit)))
	total.AtLeast = total.AtLeast || counted.stopped
	shown := found.matches[min(r.key.offset, len(found.matches)):]
	var next *article.Position
	switch {
	case len(shown) > r.key.limit:
		shown = shown[:r.key.limit]
		next = new(r.position(shown[len(shown)-1]))
	case found.stopped && r.key.offset <= len(found.matches):
		next = &article.Position{ID: found.last}
	}
	return r.rows(shown, total, next)
}

// sortedPage sorts the newest articles that are found, as many as are counted.
func (r *searcher) sortedPage() (list, error) {
	found, err := r.find(position{}, maxCounted+1)
	if err != nil {
		return list{}, err
	}
	total := totalOf(len(found.matches))
	total.AtLeast = total.AtLeast || found.stopped
	matches := found.matches[:min(len(found.matches), maxCounted)]
	order := r.key.order
	slices.SortFunc(matches, func(a, b match) int { return order.Compare(r.position(a), r.position(b)) })
	matches = matches[min(r.key.offset, len(matches)):]
	if r.key.after.set {
		after := r.key.after.position()
		matches = slices.DeleteFunc(matches, func(m match) bool { return order.Compare(r.position(m), after) <= 0 })
	}
	var next *article.Position
	if len(matches) > r.key.limit {
		matches = matches[:r.key.limit]
		next = new(r.position(matches[len(matches)-1]))
	}
	return r.rows(matches, total, next)
}

// rows returns the page with the articles that were found, in their order.
func (r *searcher) rows(matches []match, total article.Total, next *article.Position) (list, error) {
	if len(matches) == 0 {
		return list{total: total, next: next}, nil
	}
	ids, at := make([]uint64, 0, len(matches)), make(map[uint64]int, len(matches))
	for i, m := range matches {
		ids = append(ids, m.ID)
		at[m.ID] = i
	}
	found, err := r.readPage(r.tx, ids, r.key.now, article.Order{})
	slices.SortFunc(found.articles, func(a, b article.Article) int { return cmp.Compare(at[a.ID], at[b.ID]) })
	found.total, found.next = total, next
	return found, err
}

// choose sets from to the smallest set of candidates, estimated from samples. ok is false if
// there are none.
func (r *searcher) choose() (ok bool, err error) {
	var known []candidates
	for _, tag := range r.key.allTags.ids() {
		known = append(known, candidates{
			table: statement{text: r.db.Indexed("article_tag AS c", "article_tag_tag")}, id: "c.article_id", key: statement{"c.tag_id = ?", []any{tag}},
		})
	}
	for _, word := range r.words {
		known = append(known, candidates{
			table: statement{text: r.db.Table("article_word") + " AS c"}, id: "c.article_id", key: statement{"c.word = ?", []any{[]byte(word)}}, word: word,
		})
	}
	if r.key.title != "" {
		titles, err := r.titleCandidates(len(known) > 0)
		if err != nil {
			return false, err
		}
		known = append(known, titles...)
	}
	if len(known) > 1 {
		known, err = r.rarest(known)
	}
	if err != nil || len(known) == 0 {
		return false, err
	}
	r.from, r.words = known[0], nil
	for _, c := range known[1:] {
		if c.word != "" {
			r.words = append(r.words, c.word)
		}
	}
	return true, nil
}

// titleCandidates returns candidates whose titles may contain the title of the search. There are
// none if they are many and others are known.
func (r *searcher) titleCandidates(othersKnown bool) (known []candidates, err error) {
	grams := r.db.Table("article_gram")
	n := min(len(r.title.Grams), maxSamples)
	for i := range n { // from everywhere in the text
		gram := r.title.Grams[i*len(r.title.Grams)/n]
		known = append(known, candidates{table: statement{text: grams + " AS c"}, id: "c.article_id", key: statement{"c.gram = ?", []any{[]byte(gram)}}})
	}
	if r.title.Prefix == "" {
		return known, nil
	}
	entries := statement{" FROM " + grams + " WHERE gram >= ? AND gram <= ?", []any{[]byte(r.title.Prefix), []byte(r.title.Prefix + "\xff")}}
	few, err := r.atMost(entries, maxShort)
	switch {
	case err != nil:
		return nil, err
	case few:
		known = append(known, candidates{
			table: statement{"(SELECT DISTINCT article_id" + entries.text + ") AS c", entries.values}, id: "c.article_id", key: statement{text: "1 = 1"},
		})
	case !othersKnown:
		known = append(known, candidates{table: statement{text: r.titles("c")}, id: "c.id", key: statement{text: "c.is_deleted = 0"}})
	}
	return known, nil
}

// atMost reports whether there are at most n entries.
func (r *searcher) atMost(entries statement, n int) (few bool, err error) {
	err = r.tx.Raw("SELECT (SELECT 1"+entries.text+" LIMIT 1 OFFSET ?) IS NULL", append(slices.Clone(entries.values), n)...).Scan(&few).Error
	return few, err
}

// rarest returns the candidates, the rarest first, or none if one of them has no entries. It
// reads a sample of the newest entries of each. Of several full samples, the one that reaches
// back to the oldest article is that of the rarest.
func (r *searcher) rarest(known []candidates) ([]candidates, error) {
	var samples []string
	var values []any
	for i, c := range known {
		samples = append(samples, "SELECT "+strconv.Itoa(i)+" AS i, COUNT(*) AS n, COALESCE(MIN(id), 0) AS oldest FROM (SELECT "+c.id+" AS id FROM "+c.table.text+
			" WHERE "+c.key.text+" ORDER BY "+c.id+" DESC LIMIT ?) AS sample")
		values = append(append(append(values, c.table.values...), c.key.values...), sampleSize)
	}
	var sampled []struct {
		I, N int
	}
	if err := r.tx.Raw(strings.Join(samples, " UNION ALL ")+" ORDER BY n, oldest", values...).Scan(&sampled).Error; err != nil || sampled[0].N == 0 {
		return nil, err
	}
	ordered := make([]candidates, 0, len(known))
	for _, sample := range sampled {
		ordered = append(ordered, known[sample.I])
	}
	return ordered, nil
}

// searchResult is what a search has found.
type searchResult struct {
	matches []match
	// stopped reports that as many candidates were looked at as may be, before enough were
	// found. last is the id of the last of them.
	stopped bool
	last    uint64
}

// find returns articles that match, in the order of their ids, until there are enough or no
// more candidates may be looked at. It begins behind a position in that order.
func (r *searcher) find(after position, enough int) (found searchResult, err error) {
	w := window{enough: enough, last: largestID, behind: " < ", within: " >= ", orderBy: " DESC"}
	if r.key.order.By == article.ByID && r.key.order.Ascending {
		w = window{enough: enough, behind: " > ", within: " <= "}
	}
	if after.set {
		w.last = after.id
	}
	left := r.mayLookAt()
	for size := min(left, r.limits.firstBatch); size > 0; size = min(left, 2*size) {
		if w.end, w.ends, err = r.windowEnd(w, size); err != nil {
			return searchResult{}, err
		}
		if err := r.readWindow(&w, &found); err != nil || len(found.matches) == enough || !w.ends {
			return found, err
		}
		left -= size
		w.last, found.last = w.end, w.end
	}
	found.stopped = true
	return found, nil
}

// mayLookAt returns the number of candidates that the search may look at.
func (r *searcher) mayLookAt() int {
	if len(r.words) == 0 && r.from.word == "" {
		return r.limits.titles
	}
	return max(r.limits.candidates, r.limits.lookups/(len(r.words)+1))
}

// window is a part of the candidates, in the order of their ids.
type window struct {
	last   uint64 // the candidate before the window
	end    uint64 // its last one, if it ends before the others do
	ends   bool
	enough int // matches
	// The operators of the candidates behind last, and up to end, and the order.
	behind, within, orderBy string
}

// windowEnd returns the id of the candidate that ends a window of a size. ok is false if
// there are fewer candidates.
func (r *searcher) windowEnd(w window, size int) (end uint64, ok bool, err error) {
	stmt := statement{"SELECT " + r.from.id + " FROM " + r.from.table.text + " WHERE " + r.from.key.text, slices.Concat(r.from.table.values, r.from.key.values)}
	stmt.and(r.from.id+w.behind+"?", w.last)
	stmt.text += " ORDER BY " + r.from.id + w.orderBy + " LIMIT 1 OFFSET ?"
	err = r.db.QueryIn(r.tx, stmt.text, append(stmt.values, size-1), func(rows *sql.Rows) error {
		ok = true
		return rows.Scan(&end)
	})
	return end, ok, err
}

// readWindow adds the articles of a window that match, until there are enough.
func (r *searcher) readWindow(w *window, found *searchResult) error {
	for {
		stmt := r.matching(*w)
		limit := w.enough - len(found.matches)
		n := 0
		err := r.db.QueryIn(r.tx, stmt.text, append(stmt.values, limit), func(rows *sql.Rows) error {
			var m match
			var published, created, updated sql.NullTime
			var matches bool
			n++
			err := rows.Scan(&m.ID, &m.Title, &published, &created, &updated, &m.rank, &matches)
			m.PublishedAt, m.CreatedAt, m.UpdatedAt = published.Time, created.Time, updated.Time
			if w.last = m.ID; err == nil && matches && (r.key.title == "" || r.title.Matches(m.Title)) {
				found.matches = append(found.matches, m)
			}
			return err
		})
		if err != nil || n < limit || len(found.matches) == w.enough {
			return err
		}
	}
}

// matching returns the statement that reads the articles of a window that have all words,
// and whether they match otherwise, apart from their titles. The caller appends the limit.
func (r *searcher) matching(w window) statement {
	join := r.orderedJoin()
	rank, joins := "0", statement{" FROM " + r.from.table.text, slices.Clone(r.from.table.values)}
	if r.from.word != "" {
		rank = "c.weight"
	}
	for i, word := range r.words {
		alias := "w" + strconv.Itoa(i)
		rank += " + " + alias + ".weight"
		joins.text += join + r.db.Table("article_word") + " AS " + alias + " ON " + alias + ".word = ? AND " + alias + ".article_id = " + r.from.id
		joins.values = append(joins.values, []byte(word))
	}
	articles, times := r.titles("a"), "NULL, NULL"
	if r.key.created != always() || r.key.updated != always() || r.key.order.By == article.ByCreated || r.key.order.By == article.ByUpdated {
		articles, times = r.db.Table("article")+" AS a", "a.created_at, a.updated_at"
	}
	joins.text += join + articles + " ON a.is_deleted = 0 AND a.id = " + r.from.id + " WHERE " + r.from.key.text
	joins.values = append(joins.values, r.from.key.values...)
	joins.and(r.from.id+w.behind+"?", w.last)
	if w.ends {
		joins.and(r.from.id+w.within+"?", w.end)
	}
	stmt := statement{text: "SELECT a.id, a.title, a.published_at, " + times + ", " + rank + ", (1 = 1"}
	r.filtered(&stmt, r.key, "a")
	return statement{stmt.text + ")" + joins.text + " ORDER BY " + r.from.id + w.orderBy + " LIMIT ?", append(stmt.values, joins.values...)}
}
