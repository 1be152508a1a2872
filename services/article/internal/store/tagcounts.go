package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// maxRanked is the number of tags that a list by numbers of articles compares: their counters
// have no order. Of more tags, it has those with the smallest ids.
const maxRanked = 5000

// tagsKey is what a list of tags depends on.
type tagsKey struct {
	viewer            article.Viewer
	byName, ascending bool
	after             tagPosition
	offset, limit     int

	now string // a SQL expression of the time, set when the list is read
}

// tagPosition is the position of a tag in a list. The zero position is before every list.
type tagPosition struct {
	id    uint64
	count int64
	name  string
}

func newTagLists(s *Store) *coalesce.Group[tagsKey, *article.TagList] {
	config := coalesce.Config{MaxWaiting: maxListsWaiting, MaxQueued: maxSearchesQueued, Timeout: s.db.Timeout()}
	return coalesce.NewSingle(config, s.tagList)
}

// Tags implements article.Store.
func (s *Store) Tags(ctx context.Context, viewer article.Viewer, page article.TagPage) (*article.TagList, error) {
	key := tagsKey{viewer: viewer, byName: page.ByName, ascending: page.Ascending, offset: page.Offset, limit: page.Limit}
	if page.After != nil {
		key.after = tagPosition{page.After.ID, page.After.Count, page.After.Name}
	}
	found, _, err := s.tagLists.Get(ctx, key)
	if errors.Is(err, coalesce.ErrFull) {
		s.db.CountRejected()
	}
	return found, err
}

// tagList reads a page of tags, by one statement.
func (s *Store) tagList(ctx context.Context, key tagsKey) (*article.TagList, error) {
	scheduled := schedule{began: time.Now()}
	key.now = s.now()
	stmt, most, db := s.rankedTags(key), maxRanked, s.db.Expensive()
	if key.byName {
		stmt, most, db = s.tagsByName(key), maxCounted, s.db
	}
	list := &article.TagList{Tags: []article.TagCount{}}
	err := db.Query(ctx, stmt.text, stmt.values, func(rows *sql.Rows) error {
		var t struct {
			id    sql.Null[uint64]
			name  sql.NullString
			state sql.Null[article.State]
			count sql.NullInt64
		}
		err := rows.Scan(&list.Total.Rows, &scheduled.now, &scheduled.next, &t.id, &t.name, &t.state, &t.count)
		if t.id.Valid {
			list.Tags = append(list.Tags, article.TagCount{Tag: article.Tag{ID: t.id.V, Name: t.name.String, State: t.state.V}, Count: t.count.Int64})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	list.Until = scheduled.until()
	if list.Total.Rows > int64(most) {
		list.Total = article.Total{Rows: int64(most), AtLeast: true}
	}
	if len(list.Tags) > key.limit {
		list.Tags = list.Tags[:key.limit]
		list.Next = &list.Tags[key.limit-1]
	}
	return list, nil
}

// order returns the ORDER BY of a list of tags.
func (key tagsKey) order(column string) string {
	if key.ascending {
		return " ORDER BY " + column + ", id"
	}
	return " ORDER BY " + column + " DESC, id DESC"
}

// visible returns the condition on the tags that the viewer sees.
func (key tagsKey) visible() statement {
	if key.viewer == article.Anonymous {
		return statement{"state = ?", []any{article.Enabled}}
	}
	return statement{text: "1 = 1"}
}

// tagCounts returns the query of tags that another one selects, with the numbers of their articles
// that the viewer sees. It joins the counters: MariaDB fails to execute a prepared statement again
// that has a subquery for each row here.
func (s *Store) tagCounts(key tagsKey, tags statement) statement {
	stmt := statement{"SELECT t.id, t.name, t.state, COALESCE(SUM(c.value), 0)", nil}
	if key.viewer == article.Anonymous {
		stmt.text += " + COALESCE(MAX(due.articles), 0)"
	}
	stmt.text += " AS n FROM (" + tags.text + ") AS t LEFT JOIN " + s.db.Table("article_count") + " AS c ON c.tag_id = t.id"
	stmt.values = tags.values
	if key.viewer == article.Anonymous {
		due := s.dueByTag(key)
		stmt.and("c.state = ?", article.Enabled)
		stmt.text += " LEFT JOIN (" + due.text + ") AS due ON due.tag_id = t.id"
		stmt.values = append(stmt.values, due.values...)
	}
	stmt.text += " GROUP BY t.id, t.name, t.state"
	return stmt
}

// dueByTag returns the query of the numbers of articles with each tag that are due. Except for
// moments it has no rows.
func (s *Store) dueByTag(key tagsKey) statement {
	return statement{
		"SELECT own.tag_id, COUNT(*) AS articles FROM " + s.db.Indexed("article AS a", "article_published") + s.orderedJoin() + s.db.Table("article_tag") +
			" AS own ON own.article_id = a.id WHERE a.is_deleted = 0 AND a.state = ? AND a.published_at <= " + key.now + " GROUP BY own.tag_id",
		[]any{article.Scheduled},
	}
}

// withTotal returns the query of a page, a total and a schedule; see withColumns.
func (s *Store) withTotal(key tagsKey, total, page statement, orderBy string) statement {
	scheduled := noSchedule
	if key.viewer == article.Anonymous {
		scheduled = s.scheduleColumns(key.now)
	}
	return withColumns(statement{"(" + total.text + ") AS total, " + scheduled, total.values}, page, orderBy)
}

// withColumns returns the query of a page with columns in front. If the page has no row, there is
// one with these columns.
func withColumns(columns, page statement, orderBy string) statement {
	return statement{
		"SELECT " + columns.text + ", page.* FROM (SELECT 1) AS one LEFT JOIN (" + page.text + ") AS page ON 1 = 1" + orderBy,
		append(columns.values, page.values...),
	}
}

// visibleTags returns the query of the number of tags that the viewer sees, up to a bound.
func (s *Store) visibleTags(key tagsKey, most int) statement {
	visible := key.visible()
	return statement{
		"SELECT COUNT(*) FROM (SELECT 1 FROM " + s.db.Table("tag_projection") + " WHERE " + visible.text + " LIMIT ?) AS counted",
		append(visible.values, most),
	}
}

// tagsByName returns the query of tags in the order of their names, which an index has.
func (s *Store) tagsByName(key tagsKey) statement {
	index := "tag_projection_name"
	if key.viewer == article.Anonymous {
		index = "tag_projection_state_name"
	}
	page := key.visible()
	orderBy := key.order("name")
	if key.after.id != 0 {
		s.behind(&page, article.Order{Ascending: key.ascending}, entry{key.after.id, key.after.name}, "name", "id")
	}
	page.text = "SELECT id, name, state FROM " + s.db.Indexed("tag_projection", index) + " WHERE " + page.text + orderBy + " LIMIT ? OFFSET ?"
	page.values = append(page.values, key.limit+1, key.offset)
	return s.withTotal(key, s.visibleTags(key, maxCounted+1), s.tagCounts(key, page), orderBy)
}

// rankedTags returns the query of tags in the order of their numbers of articles.
func (s *Store) rankedTags(key tagsKey) statement {
	visible, table := key.visible(), s.db.Table("tag_projection")
	if key.viewer == article.Anonymous {
		table = s.db.Indexed("tag_projection", "tag_projection_state")
	}
	page := s.tagCounts(key, statement{
		"SELECT id, name, state FROM " + table + " WHERE " + visible.text + " ORDER BY id LIMIT ?", append(visible.values, maxRanked),
	})
	page.text += " HAVING 1 = 1"
	if key.after.id != 0 {
		s.behind(&page, article.Order{Ascending: key.ascending}, entry{key.after.id, key.after.count}, "n", "id")
	}
	orderBy := key.order("n")
	page.text += orderBy + " LIMIT ? OFFSET ?"
	page.values = append(page.values, key.limit+1, key.offset)
	return s.withTotal(key, s.visibleTags(key, maxRanked+1), page, orderBy)
}
