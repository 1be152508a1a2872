package store

import (
	"fmt"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// An entry is an article in an index that has a list in its order.
type entry struct {
	id uint64
	// key is what the list is ordered by, as the driver returns it; nil if that is the id.
	key any
}

// entry returns the entry at a position.
func (p position) entry(by article.OrderBy) entry {
	switch by {
	case article.ByID:
		return entry{id: p.id}
	case article.ByTitle:
		return entry{p.id, p.title}
	default:
		return entry{p.id, time.UnixMilli(p.time).UTC()}
	}
}

// position returns the position of an entry.
func (e entry) position(by article.OrderBy) (article.Position, error) {
	switch key := e.key.(type) {
	case time.Time:
		return article.Position{ID: e.id, Time: key.UTC()}, nil
	case string:
		if by == article.ByTitle {
			return article.Position{ID: e.id, Title: key}, nil
		}
		at, err := time.Parse(sqliteTime, key)
		return article.Position{ID: e.id, Time: at.UTC()}, err
	default:
		return article.Position{ID: e.id}, nil
	}
}

// sqliteTime is the format in which SQLite returns a time from a column without a declared
// type, such as that of a UNION.
const sqliteTime = "2006-01-02 15:04:05.999999999 -0700 MST"

// orderColumn returns the column that a list is ordered by, and the index in that order. Both
// are "" for the order of ids.
func orderColumn(by article.OrderBy) (column, index string) {
	switch by {
	case article.ByCreated:
		return "created_at", "article_created"
	case article.ByUpdated:
		return "updated_at", "article_updated"
	case article.ByTitle:
		return "title", "article_by_title"
	case article.ByPublished:
		return "published_at", "article_published"
	default:
		return "", ""
	}
}

// only returns the id of a tag if the only condition of a list on tags is that its articles
// have this one; else 0.
func (key listKey) only() uint64 {
	ids := append(key.anyTag.ids(), key.allTags.ids()...)
	if len(ids) == 1 && key.tagName == "" {
		return ids[0]
	}
	return 0
}

// counts reports whether the total of a list is counted up to maxCounted, because no
// counter has it.
func (key listKey) counts() bool {
	return key.created != always() || key.updated != always() || key.published != always()
}

// counted returns the query of the total of a list that doesn't scan.
func (s *Store) counted(key listKey) statement {
	if key.counts() {
		all := s.ordered(key, key.tags(), nil, 0, maxCounted+1)
		return statement{"SELECT COUNT(*) AS total FROM (" + all.text + ") AS counted", all.values}
	}
	stmt := statement{"SELECT COALESCE(SUM(value), 0) AS total FROM " + s.db.Table("article_count") + " WHERE tag_id = ?", []any{key.only()}}
	switch {
	case key.anyState:
	case key.merged && !key.public:
		stmt.and("state IN (?, ?)", article.Enabled, article.Scheduled)
	default:
		stmt.and("state = ?", key.state)
	}
	s.enabled(&stmt, key)
	if key.merged && key.public {
		due := s.countedDue(key)
		stmt = statement{"SELECT (" + stmt.text + ") + (" + due.text + ") AS total", append(stmt.values, due.values...)}
	}
	return stmt
}

// countedDue returns the query of the number of articles of a public list that are due.
func (s *Store) countedDue(key listKey) statement {
	stmt := statement{"SELECT COUNT(*) FROM " + s.db.Indexed("article", "article_published") + " WHERE is_deleted = 0 AND state = ?", []any{article.Scheduled}}
	if tag := key.only(); tag != 0 {
		stmt = statement{"SELECT COUNT(*) FROM " + s.db.Indexed("article_tag", "article_tag_published") + " WHERE tag_id = ? AND article_state = ?", []any{tag, article.Scheduled}}
	}
	stmt.and("published_at <= " + key.now)
	s.enabled(&stmt, key)
	return stmt
}

// tags returns the only tag that the articles of a list must have, if there is one.
func (key listKey) tags() []uint64 {
	if tag := key.only(); tag != 0 {
		return []uint64{tag}
	}
	return nil
}

// enabled adds the condition that the only tag of a list is enabled, if it has to be.
func (s *Store) enabled(stmt *statement, key listKey) {
	if tag := key.only(); tag != 0 && key.tagEnabled {
		stmt.and("EXISTS (SELECT 1 FROM "+s.db.Table("tag_projection")+" WHERE id = ? AND state = ?)", tag, article.Enabled)
	}
}

// idsOf returns the query of the ids on a page of a list that doesn't scan, and of the next
// ones: their number is more.
func (s *Store) idsOf(key listKey, more int) statement {
	var after *entry
	if key.after.set {
		after = new(key.after.entry(key.order.By))
	}
	return s.ordered(key, key.tags(), after, key.offset, key.limit+more)
}

// ordered returns the query of entries of a list, in its order: the first after an entry and an
// offset. It applies the conditions on the state, and on the time by which the list is
// ordered. With tags, it returns only articles that have at least one of them, and the list
// must be ordered by id, or by the time of the publication.
func (s *Store) ordered(key listKey, tags []uint64, after *entry, offset, limit int) statement {
	parts, idColumn := s.parts(key, tags)
	column, _ := orderColumn(key.order.By)
	direction := directionOf(key.order)
	orderBy := func(column, id string) string {
		if column == "" {
			return " ORDER BY " + id + direction
		}
		return " ORDER BY " + column + direction + ", " + id + direction
	}
	for i := range parts {
		if after != nil {
			s.behind(&parts[i], key.order, *after, column, idColumn)
		}
		parts[i].text += orderBy(column, idColumn)
	}
	if len(parts) == 1 {
		return statement{parts[0].text + " LIMIT ? OFFSET ?", append(parts[0].values, limit, offset)}
	}
	// Each part has as many entries as all parts together need.
	var texts []string
	var values []any
	for i, part := range parts {
		texts = append(texts, fmt.Sprintf("SELECT * FROM (%s LIMIT ?) AS part%d", part.text, i))
		values = append(append(values, part.values...), limit+offset)
	}
	name, union := "", " UNION ALL "
	if column != "" {
		name = "k"
	}
	if len(tags) > 1 {
		union = " UNION " // an article may have several of the tags
	}
	return statement{strings.Join(texts, union) + orderBy(name, "id") + " LIMIT ? OFFSET ?", append(values, limit, offset)}
}

// parts returns the queries whose union has the entries of a list, and the name of their
// column of ids. Each query reads a range of an index in the order of the list.
func (s *Store) parts(key listKey, tags []uint64) (parts []statement, id string) {
	column, index := orderColumn(key.order.By)
	k := ""
	if column != "" {
		k = ", " + column + " AS k"
	}
	switch {
	case len(tags) > 0:
		for _, tag := range tags {
			parts = append(parts, s.partsOfTag(key, tag, column, k)...)
		}
		return parts, "article_id"
	case column == "" && key.anyState:
		return []statement{{text: "SELECT id FROM " + s.db.Indexed("article", "article_is_deleted") + " WHERE is_deleted = 0"}}, "id"
	case column == "":
		index = "article_is_deleted_state"
	}
	for _, state := range key.states() {
		part := statement{"SELECT id" + k + " FROM " + s.db.Indexed("article", key.indexOf(state, index, "article_published")) + " WHERE is_deleted = 0 AND state = ?", []any{state}}
		parts = append(parts, key.within(part, state, column))
	}
	return parts, "id"
}

// partsOfTag is like parts, for the articles with a tag.
func (s *Store) partsOfTag(key listKey, tag uint64, column, k string) (parts []statement) {
	const published = "article_tag_published"
	index, states := "article_tag_state", key.states()
	switch {
	case column != "":
		index = published
	case key.anyState:
		index, states = "article_tag_tag", states[:1]
	}
	for _, state := range states {
		part := statement{"SELECT article_id AS id" + k + " FROM " + s.db.Indexed("article_tag", key.indexOf(state, index, published)) + " WHERE tag_id = ?", []any{tag}}
		if index != "article_tag_tag" {
			part.and("article_state = ?", state)
		}
		s.enabled(&part, key)
		parts = append(parts, key.within(part, state, column))
	}
	return parts
}

// indexOf returns the index in which the rows with a state are read: those that are due are the
// beginning of the index published, in which there are few others.
func (key listKey) indexOf(state article.State, index, published string) string {
	if state == article.Scheduled && key.public {
		return published
	}
	return index
}

// within returns the query of rows with a state whose times are those of the list.
func (key listKey) within(part statement, state article.State, column string) statement {
	if state == article.Scheduled && key.public {
		part.and("published_at <= " + key.now)
	}
	key.interval().conditions(&part, column)
	return part
}

// interval returns the interval of the time by which the list is ordered.
func (key listKey) interval() interval {
	switch key.order.By {
	case article.ByCreated:
		return key.created
	case article.ByUpdated:
		return key.updated
	case article.ByPublished:
		return key.published
	default:
		return always()
	}
}

// directionOf returns the direction of an order in SQL.
func directionOf(order article.Order) string {
	if order.Ascending {
		return ""
	}
	return " DESC"
}

// behind adds the condition that entries come after another one in the order.
func (s *Store) behind(stmt *statement, order article.Order, after entry, column, id string) {
	operator := " < "
	if order.Ascending {
		operator = " > "
	}
	switch {
	case column == "":
		stmt.and(id+operator+"?", after.id)
	case s.db.Dialect() == database.SQLite: // reads a range of the index for a pair
		stmt.and("("+column+", "+id+")"+operator+"(?, ?)", after.key, after.id)
	default: // MySQL reads two ranges
		stmt.and("("+column+operator+"? OR "+column+" = ? AND "+id+operator+"?)", after.key, after.key, after.id)
	}
}
