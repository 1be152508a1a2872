package store

import (
	"context"
	"database/sql"
	"errors"

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
		err := rows.Scan(&list.Total.Rows, &t.id, &t.name, &t.state, &t.count)
		if t.id.Valid {
			list.Tags = append(list.Tags, article.TagCount{Tag: article.Tag{ID: t.id.V, Name: t.name.String, State: t.state.V}, Count: t.count.Int64})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
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
	stmt := statement{"SELECT t.id, t.name, t.state, COALESCE(SUM(c.value), 0) AS n FROM (" + tags.text + ") AS t LEFT JOIN " +
		s.db.Table("article_count") + " AS c ON c.tag_id = t.id", tags.values}
	if key.viewer == article.Anonymous {
		stmt.and("c.state = ?", article.Enabled)
	}
	stmt.text += " GROUP BY t.id, t.name, t.state"
	return stmt
}

// withTotal returns the query of a page and a total. Without a tag there is one row, with the
// total.
func withTotal(total, page statement, orderBy string) statement {
	return statement{
		"SELECT (" + total.text + ") AS total, page.* FROM (SELECT 1) AS one LEFT JOIN (" + page.text + ") AS page ON 1 = 1" + orderBy,
		append(total.values, page.values...),
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
	return withTotal(s.visibleTags(key, maxCounted+1), s.tagCounts(key, page), orderBy)
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
	return withTotal(s.visibleTags(key, maxRanked+1), page, orderBy)
}
