package store

import (
	"context"
	"database/sql"
	"slices"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// scanLimits bounds what a list reads.
type scanLimits struct {
	// entries is the number of entries that a list reads at most. If they don't suffice for its
	// page, the page ends early, and the next one goes on there.
	entries int
	// sorted is the number of articles up to which a list reads all that have a tag, or a time
	// in an interval, and sorts them.
	sorted int
	// A scan reads firstChunk entries first, and then twice as many each time, up to lastChunk.
	firstChunk, lastChunk int
}

func defaultScanLimits() scanLimits {
	return scanLimits{entries: 20_000, sorted: 5000, firstChunk: 64, lastChunk: 1024}
}

// scannedList returns a page of a list that scans; see article.Filter.Scans. All of it is read
// from one snapshot.
func (s *Store) scannedList(ctx context.Context, key listKey) (found list, err error) {
	err = s.db.Expensive().Snapshot(ctx, func(tx *gorm.DB) error {
		found, err = s.scanPage(tx, key)
		return err
	})
	return found, err
}

func (s *Store) scanPage(tx *gorm.DB, key listKey) (list, error) {
	key, scheduled, err := s.at(tx, key)
	if err != nil {
		return list{}, err
	}
	resolved, tags, ok, err := s.resolve(tx, key)
	if err != nil || !ok {
		return list{scheduled: scheduled}, err
	}
	r := &scanner{Store: s, tx: tx, key: resolved, left: s.scans.entries}
	page, err := r.page(tags)
	if err != nil || len(page.ids) == 0 {
		return list{total: page.total, next: page.next, scheduled: scheduled}, err
	}
	found, err := s.readPage(tx, page.ids, key.now, key.order)
	found.articles = slices.DeleteFunc(found.articles, func(a article.Article) bool { return !key.matches(a) })
	found.total, found.next, found.scheduled = page.total, page.next, scheduled
	return found, err
}

// tagSet is a set of tags of which an article must have at least one, with the sum of the
// numbers of their articles.
type tagSet struct {
	ids  []uint64
	size int64
}

// resolve returns the list with its tags by id, without those that don't exist and without a
// condition on their state, and the smallest set of tags of which an article must have one. ok is
// false if no article can have the tags.
func (s *Store) resolve(tx *gorm.DB, key listKey) (_ listKey, smallest tagSet, ok bool, err error) {
	if !key.tagged() {
		return key, tagSet{}, true, nil
	}
	known, named, err := s.sizes(tx, key)
	if err != nil {
		return key, tagSet{}, false, err
	}
	all := key.allTags.ids()
	if key.tagName != "" {
		all = append(all, named...)
		if len(named) == 0 {
			return key, tagSet{}, false, nil
		}
	}
	for _, id := range all {
		if _, exists := known[id]; !exists {
			return key, tagSet{}, false, nil
		}
	}
	anyTag := slices.DeleteFunc(key.anyTag.ids(), func(id uint64) bool { _, exists := known[id]; return !exists })
	switch {
	case key.anyTag != "" && len(anyTag) == 0:
		return key, tagSet{}, false, nil
	case len(anyTag) == 1:
		all, anyTag = append(all, anyTag...), nil
	case slices.ContainsFunc(anyTag, func(id uint64) bool { return slices.Contains(all, id) }):
		anyTag = nil // an article with all tags has one of them
	}
	key.anyTag, key.allTags, key.tagName, key.tagEnabled = newIDList(anyTag), newIDList(all), "", false
	return key, smallestSet(known, anyTag, all), true, nil
}

func smallestSet(sizes map[uint64]int64, anyTag, all []uint64) (smallest tagSet) {
	smallest.ids = anyTag
	for _, id := range anyTag {
		smallest.size += sizes[id]
	}
	for _, id := range all {
		if smallest.ids == nil || sizes[id] < smallest.size {
			smallest = tagSet{[]uint64{id}, sizes[id]}
		}
	}
	return smallest
}

// sizes returns, for each tag of a list that exists and may be used, the number of its articles
// by the counters; and the ids of the tags with the name key.tagName.
func (s *Store) sizes(tx *gorm.DB, key listKey) (sizes map[uint64]int64, named []uint64, err error) {
	size := "SELECT id, (SELECT COALESCE(SUM(value), 0) FROM " + s.db.Table("article_count") + " AS c WHERE c.tag_id = t.id"
	var values []any
	if !key.anyState {
		marks, states := database.In(key.states())
		size += " AND c.state IN (" + marks + ")"
		values = append(values, states...)
	}
	size += "), t.name FROM " + s.db.Table("tag_projection") + " AS t WHERE "
	if key.tagEnabled {
		size += "t.state = ? AND "
		values = append(values, article.Enabled)
	}
	var stmt statement
	add := func(condition string, more ...any) {
		if stmt.text != "" {
			stmt.text += " UNION "
		}
		stmt.text += size + condition
		stmt.values = append(append(stmt.values, values...), more...)
	}
	if ids := append(key.anyTag.ids(), key.allTags.ids()...); len(ids) > 0 {
		marks, more := database.In(ids)
		add("t.id IN ("+marks+")", more...)
	}
	if key.tagName != "" {
		add("t.name = ?", key.tagName)
	}
	sizes = map[uint64]int64{}
	return sizes, named, s.db.QueryIn(tx, stmt.text, stmt.values, func(rows *sql.Rows) error {
		var id uint64
		var n int64
		var name string
		err := rows.Scan(&id, &n, &name)
		sizes[id] = n
		if name == key.tagName && name != "" {
			named = append(named, id)
		}
		return err
	})
}

// scanner reads the pages of a list from one transaction.
type scanner struct {
	*Store
	tx   *gorm.DB
	key  listKey // without names and disabled tags
	left int     // number of entries that may still be read
}

// idPage is what is read of a list before the rows of its page.
type idPage struct {
	ids   []uint64
	total article.Total
	next  *article.Position
}

// page reads the list in one of two ways. If a condition leaves few articles, all of these are
// read and sorted, unless they are those of tags in an order that an index has.
// Otherwise an index in the order of the list is scanned.
func (r *scanner) page(tags tagSet) (idPage, error) {
	byTag := r.key.order.By == article.ByID || r.key.order.By == article.ByPublished
	if len(tags.ids) > 0 && tags.size <= int64(r.scans.sorted) {
		if byTag {
			return r.scanned(tags.ids)
		}
		return r.sorted(r.withTags(tags.ids))
	}
	for _, by := range []article.OrderBy{article.ByCreated, article.ByUpdated, article.ByPublished} {
		in := r.key
		in.order.By = by
		if by == r.key.order.By || in.interval() == always() {
			continue
		}
		few, err := r.few(in)
		if err != nil {
			return idPage{}, err
		}
		if few {
			return r.sorted(r.ordered(in, nil, nil, 0, r.scans.sorted))
		}
	}
	if byTag {
		return r.scanned(tags.ids)
	}
	return r.scanned(nil)
}

// few reports whether few enough articles to sort them have a time in the interval of the order.
func (r *scanner) few(key listKey) (few bool, err error) {
	all := r.ordered(key, nil, nil, 0, r.scans.sorted+1)
	err = r.db.QueryIn(r.tx, "SELECT COUNT(*) FROM ("+all.text+") AS counted", all.values, func(rows *sql.Rows) error {
		var n int
		err := rows.Scan(&n)
		few = n <= r.scans.sorted
		return err
	})
	return few, err
}

// withTags returns the query of the articles that have one of the tags, in no order.
func (r *scanner) withTags(tags []uint64) statement {
	marks, values := database.In(tags)
	stmt := statement{"SELECT DISTINCT article_id AS id FROM " + r.db.Table("article_tag") + " WHERE tag_id IN (" + marks + ")", values}
	if !r.key.anyState {
		states, values := database.In(r.key.states())
		stmt.and("article_state IN ("+states+")", values...)
	}
	stmt.text += " LIMIT ?"
	stmt.values = append(stmt.values, r.scans.entries)
	return stmt
}

// orderedJoin returns the join that reads its tables in the order in which they are given.
func (s *Store) orderedJoin() string {
	if s.db.Dialect() == database.SQLite {
		return " CROSS JOIN "
	}
	return " STRAIGHT_JOIN "
}

// join joins a query of ids, with the alias c, with the articles, in this order.
func (r *scanner) join(ids statement) statement {
	return statement{" FROM (" + ids.text + ") AS c" + r.orderedJoin() + r.db.Table("article") + " AS a ON a.id = c.id", ids.values}
}

// sorted returns the page of a list by reading all articles of a query, which include those of
// the list, and sorting them.
func (r *scanner) sorted(set statement) (idPage, error) {
	stmt := statement{text: "SELECT a.id, a.title, a.created_at, a.updated_at, a.published_at, (1 = 1"}
	r.filtered(&stmt, r.key, "a")
	from := r.join(set)
	stmt = statement{stmt.text + ")" + from.text, append(stmt.values, from.values...)}
	var found []article.Article
	err := r.db.QueryIn(r.tx, stmt.text, stmt.values, func(rows *sql.Rows) error {
		var a article.Article
		var matches bool
		err := rows.Scan(&a.ID, &a.Title, &a.CreatedAt, &a.UpdatedAt, &a.PublishedAt, &matches)
		if matches {
			found = append(found, a)
		}
		return err
	})
	if err != nil {
		return idPage{}, err
	}
	order := r.key.order
	order.Sort(found)
	page := idPage{total: totalOf(len(found))}
	found = found[min(r.key.offset, len(found)):]
	if r.key.after.set {
		after := r.key.after.position()
		first := slices.IndexFunc(found, func(a article.Article) bool { return order.Compare(order.PositionOf(a), after) > 0 })
		if first < 0 {
			first = len(found)
		}
		found = found[first:]
	}
	if len(found) > r.key.limit {
		found = found[:r.key.limit]
		page.next = new(order.PositionOf(found[len(found)-1]))
	}
	for _, a := range found {
		page.ids = append(page.ids, a.ID)
	}
	return page, nil
}

// totalOf returns the total of a list of n articles that were counted.
func totalOf(n int) article.Total {
	return article.Total{Rows: int64(min(n, maxCounted)), AtLeast: n > maxCounted}
}

// scanned returns the page of a list by scanning an index in its order: the entries of the
// tags, or without tags those of all articles.
func (r *scanner) scanned(tags []uint64) (page idPage, err error) {
	var after *entry
	enough := max(r.key.offset+r.key.limit, maxCounted) + 1
	if r.key.after.set {
		after = new(r.key.after.entry(r.key.order.By))
		enough = r.key.limit + 1
	}
	found, err := r.scan(tags, after, enough)
	if err != nil {
		return idPage{}, err
	}
	counted := found
	if after != nil { // the total is that of the whole list
		if counted, err = r.scan(tags, nil, maxCounted+1); err != nil {
			return idPage{}, err
		}
	}
	page.total = totalOf(max(len(counted.entries), min(len(found.entries), r.key.limit)))
	page.total.AtLeast = page.total.AtLeast || counted.stopped
	shown := found.entries[min(r.key.offset, len(found.entries)):]
	goesOn := found.last // where reading ended
	if len(shown) > r.key.limit {
		shown = shown[:r.key.limit]
		goesOn = &shown[len(shown)-1]
	}
	for _, e := range shown {
		page.ids = append(page.ids, e.id)
	}
	if goesOn != nil && r.key.offset <= len(found.entries) {
		next, err := goesOn.position(r.key.order.By)
		if err != nil {
			return idPage{}, err
		}
		page.next = &next
	}
	return page, nil
}

// scanResult is what a scan has found.
type scanResult struct {
	entries []entry
	// stopped reports that as many entries were read as may be, before enough were found. last is
	// the last of them.
	stopped bool
	last    *entry
}

// scan reads entries behind another one until it has found enough articles of the list, or has
// read as many as it may.
func (r *scanner) scan(tags []uint64, after *entry, enough int) (found scanResult, err error) {
	queries, _ := r.parts(r.key, tags)
	parts := len(queries) // each of which reads as many entries
	for chunk := r.scans.firstChunk; len(found.entries) < enough; chunk = min(2*chunk, r.scans.lastChunk) {
		size := min(chunk, r.left/parts)
		if size == 0 {
			found.stopped, found.last = true, after
			return found, nil
		}
		n, last, err := r.readChunk(&found, tags, after, size)
		if err != nil {
			return scanResult{}, err
		}
		r.left -= size * parts
		if n < size {
			return found, nil
		}
		after = &last
	}
	return found, nil
}

// readChunk reads the next entries. It returns their number and the last of them.
func (r *scanner) readChunk(found *scanResult, tags []uint64, after *entry, size int) (n int, last entry, err error) {
	stmt := r.chunk(tags, after, size)
	return n, last, r.db.QueryIn(r.tx, stmt.text, stmt.values, func(rows *sql.Rows) error {
		var matches bool
		into := []any{&last.id, &matches}
		if r.key.order.By != article.ByID {
			into = append(into, &last.key)
		}
		err := rows.Scan(into...)
		if text, ok := last.key.([]byte); ok {
			last.key = string(text)
		}
		if matches {
			found.entries = append(found.entries, last)
		}
		n++
		return err
	})
}

// chunk returns the statement that reads the next entries, and whether they are of the list.
func (r *scanner) chunk(tags []uint64, after *entry, size int) statement {
	entries := r.ordered(r.key, tags, after, 0, size)
	rest := r.rest(tags)
	from := statement{" FROM (" + entries.text + ") AS c", entries.values}
	alias, orderBy := "c", " ORDER BY c.id"
	if rest.counts() {
		from, alias = r.join(entries), "a"
	}
	stmt := statement{text: "SELECT c.id, (1 = 1"}
	r.filtered(&stmt, rest, alias)
	stmt.text += ")"
	direction := directionOf(r.key.order)
	if r.key.order.By != article.ByID {
		stmt.text += ", c.k"
		orderBy = " ORDER BY c.k" + direction + ", c.id"
	}
	return statement{stmt.text + from.text + orderBy + direction, append(stmt.values, from.values...)}
}

// rest returns the list without the conditions that all of its entries meet.
func (r *scanner) rest(tags []uint64) listKey {
	rest := r.key
	rest.anyState = true
	switch rest.order.By {
	case article.ByCreated:
		rest.created = always()
	case article.ByUpdated:
		rest.updated = always()
	case article.ByPublished:
		rest.published = always()
	}
	if len(tags) > 1 {
		rest.anyTag = ""
	}
	if len(tags) == 1 {
		rest.allTags = newIDList(slices.DeleteFunc(rest.allTags.ids(), func(id uint64) bool { return id == tags[0] }))
	}
	return rest
}
