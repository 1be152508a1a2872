package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

const (
	// maxListsWaiting is the number of lists that wait for the database. A list is more
	// work than a single read, so the queue is shorter.
	maxListsWaiting = 128
	// maxSearchesQueued is the number of different searches that wait for the database.
	maxSearchesQueued = 6
)

// list is what is read for a SharedList.
type list struct {
	articles []article.Article
	total    article.Total
}

func newLists(s *Store) *coalesce.Group[listKey, *article.SharedList] {
	return coalesce.NewSingle(coalesce.Config{MaxWaiting: maxListsWaiting, Timeout: s.db.Timeout()}, sharing(s.list))
}

// newSearches returns a group with a short queue, because a search takes long: those that
// would wait for many others are rejected at once.
func newSearches(s *Store) *coalesce.Group[listKey, *article.SharedList] {
	return coalesce.NewSingle(coalesce.Config{MaxWaiting: maxListsWaiting, MaxQueued: maxSearchesQueued, Timeout: s.db.Timeout()}, sharing(s.searchTitles))
}

// sharing returns a function that reads lists for all who wait for them.
func sharing(read func(context.Context, listKey) (list, error)) func(context.Context, listKey) (*article.SharedList, error) {
	return func(ctx context.Context, key listKey) (*article.SharedList, error) {
		found, err := read(ctx, key)
		return article.NewSharedList(found.articles, found.total), err
	}
}

// List implements article.Store.
func (s *Store) List(ctx context.Context, filter article.Filter, page article.Page) (*article.SharedList, error) {
	key, group := keyOf(filter, page), s.lists
	if key.title != "" {
		group = s.searches
	}
	found, _, err := group.Get(ctx, key)
	if key.title != "" && errors.Is(err, coalesce.ErrFull) {
		s.db.CountRejected()
	}
	return found, err
}

func (s *Store) list(ctx context.Context, key listKey) (found list, err error) {
	stmt := s.page(s.counted(key), s.newest(key))
	err = s.db.Query(ctx, stmt.text, stmt.values, found.scan())
	found.sort()
	return found, err
}

// statement is a statement, or a part of one, with its values.
type statement struct {
	text   string
	values []any
}

// and adds a condition.
func (stmt *statement) and(condition string, values ...any) {
	stmt.text += " AND " + condition
	stmt.values = append(stmt.values, values...)
}

// conditions adds the conditions on the article's state, in the given column, and on the
// tag's state.
func (s *Store) conditions(stmt *statement, key listKey, column string) {
	if !key.anyState {
		stmt.and(column+" = ?", key.state)
	}
	if key.tagged() && key.tagEnabled {
		stmt.and("EXISTS (SELECT 1 FROM "+s.db.Table("tag_projection")+" WHERE id = ? AND state = ?)", key.onlyTag(), article.Enabled)
	}
}

// onlyTag returns the id of the tag of a list that has one, else 0.
func (key listKey) onlyTag() uint64 {
	if ids := key.anyTag.ids(); len(ids) == 1 {
		return ids[0]
	}
	return 0
}

// counted returns the query of the total, from counters.
func (s *Store) counted(key listKey) statement {
	stmt := statement{"SELECT COALESCE(SUM(value), 0) AS total FROM " + s.db.Table("article_count") + " WHERE tag_id = ?", []any{key.onlyTag()}}
	s.conditions(&stmt, key, "state")
	return stmt
}

// newest returns the query of the ids on a page. It reads an index in the order of the
// ids, up to the end of the page.
func (s *Store) newest(key listKey) statement {
	var stmt statement
	order := "id"
	switch {
	case key.tagged():
		order = "article_id"
		stmt = statement{"SELECT article_id AS id FROM " + s.db.Table("article_tag") + " WHERE tag_id = ?", []any{key.onlyTag()}}
		s.conditions(&stmt, key, "article_state")
	case key.anyState:
		stmt.text = "SELECT id FROM " + s.indexed("article", "article_is_deleted") + " WHERE is_deleted = 0"
	default:
		stmt.text = "SELECT id FROM " + s.indexed("article", "article_is_deleted_state") + " WHERE is_deleted = 0"
		s.conditions(&stmt, key, "state")
	}
	stmt.text += " ORDER BY " + order + " DESC LIMIT ? OFFSET ?"
	stmt.values = append(stmt.values, key.limit, key.offset)
	return stmt
}

// indexed returns a table with an index that the planner must use. If few articles are
// deleted, it would scan the primary key instead, which has the contents.
func (s *Store) indexed(table, index string) string {
	if s.db.Dialect() == database.SQLite {
		return s.db.Table(table) + " INDEXED BY " + s.db.Table(index)
	}
	return s.db.Table(table) + " FORCE INDEX (" + s.db.Table(index) + ")"
}

// page returns the query of the articles whose ids a query selects, with their tags and the
// total of another query, in one statement, so that they agree with each other. Without that
// query, the total is 0. Without an article there is one row, with the total.
func (s *Store) page(total, ids statement) statement {
	number := "0"
	if total.text != "" {
		number = "(" + total.text + ")"
	}
	return statement{
		"SELECT " + number + " AS total, a.id, a.created_at, a.created_by, a.updated_at, a.updated_by, a.title, a.`desc`, a.cover_image_url," +
			" a.state, a.revision, " + s.tagsOf("a") + " AS tags FROM (SELECT 1) AS one LEFT JOIN (" + ids.text + ") AS page ON 1 = 1" +
			" LEFT JOIN " + s.db.Table("article") + " AS a ON a.id = page.id",
		append(slices.Clone(total.values), ids.values...),
	}
}

// readPage returns those of the articles that exist.
func (s *Store) readPage(db *gorm.DB, ids []uint64) (found list, err error) {
	marks, values := database.In(ids)
	stmt := s.page(statement{}, statement{"SELECT id FROM " + s.db.Table("article") + " WHERE is_deleted = 0 AND id IN (" + marks + ")", values})
	err = s.db.QueryIn(db, stmt.text, stmt.values, found.scan())
	found.sort()
	return found, err
}

// scan returns a function that adds a row of page.
func (l *list) scan() func(*sql.Rows) error {
	var id, revision sql.Null[uint64]
	var state sql.Null[article.State]
	var created, updated sql.NullTime
	var createdBy, updatedBy, title, desc, url, tags sql.NullString
	return func(rows *sql.Rows) error {
		err := rows.Scan(&l.total.Rows, &id, &created, &createdBy, &updated, &updatedBy, &title, &desc, &url, &state, &revision, &tags)
		if err != nil || !id.Valid {
			return err
		}
		parsed, err := parseTags(tags.String)
		l.articles = append(l.articles, articleRow{
			ID: id.V, CreatedAt: created.Time, CreatedBy: createdBy.String, UpdatedAt: updated.Time, UpdatedBy: updatedBy.String,
			Title: title.String, Desc: desc.String, CoverImageURL: url.String, State: state.V, Revision: revision.V,
		}.article(parsed))
		return err
	}
}

// sort orders the articles of a page, the newest first: a join has no order.
func (l *list) sort() {
	slices.SortFunc(l.articles, func(a, b article.Article) int { return cmp.Compare(b.ID, a.ID) })
}
