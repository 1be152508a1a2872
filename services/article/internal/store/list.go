package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

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
	articles  []article.Article
	total     article.Total
	next      *article.Position
	scheduled schedule // not set if the list doesn't change with it
}

func newLists(s *Store) *coalesce.Group[listKey, *article.SharedList] {
	return coalesce.NewSingle(coalesce.Config{MaxWaiting: maxListsWaiting, Timeout: s.db.Timeout()}, sharing(func(ctx context.Context, key listKey) (list, error) {
		return s.list(ctx, s.db, key)
	}))
}

// newSearches returns a group with a short queue, because a search takes long: those that
// would wait for many others are rejected at once.
func newSearches(s *Store) *coalesce.Group[listKey, *article.SharedList] {
	config := coalesce.Config{MaxWaiting: maxListsWaiting, MaxQueued: maxSearchesQueued, Timeout: s.db.Timeout()}
	return coalesce.NewSingle(config, sharing(func(ctx context.Context, key listKey) (list, error) {
		switch {
		case key.searches():
			return s.search(ctx, key)
		case key.scans:
			return s.scannedList(ctx, key)
		default:
			return s.list(ctx, s.db.Expensive(), key)
		}
	}))
}

// sharing returns a function that reads lists for all who wait for them.
func sharing(read func(context.Context, listKey) (list, error)) func(context.Context, listKey) (*article.SharedList, error) {
	return func(ctx context.Context, key listKey) (*article.SharedList, error) {
		found, err := read(ctx, key)
		shared := article.NewSharedList(found.articles, found.total).UnchangedUntil(found.scheduled.until())
		if found.next != nil {
			shared = shared.WithNext(*found.next)
		}
		return shared, err
	}
}

// List implements article.Store.
func (s *Store) List(ctx context.Context, filter article.Filter, page article.Page) (*article.SharedList, error) {
	key, group := keyOf(filter, page), s.lists
	key.scans = filter.Scans(page.Order)
	expensive := key.searches() || filter.Expensive(page)
	if expensive {
		group = s.searches
	}
	found, _, err := group.Get(ctx, key)
	if expensive && errors.Is(err, coalesce.ErrFull) {
		s.db.CountRejected()
	}
	return found, err
}

// list returns a page of a list that doesn't scan.
func (s *Store) list(ctx context.Context, db *database.DB, key listKey) (found list, err error) {
	switch {
	case key.tagName != "":
		err = db.Snapshot(ctx, func(tx *gorm.DB) error {
			found, err = s.namedTagList(tx, key)
			return err
		})
	case key.counts(): // there are too many different statements to prepare them
		err = db.Read(ctx, func(tx *gorm.DB) error {
			found, err = s.readOrdered(key, s.queryIn(tx))
			return err
		})
	default:
		found, err = s.readOrdered(key, func(stmt statement, scan func(*sql.Rows) error) error {
			return db.Query(ctx, stmt.text, stmt.values, scan)
		})
	}
	return found, err
}

// namedTagList returns a page of a list of the articles that have a tag with a name.
func (s *Store) namedTagList(tx *gorm.DB, key listKey) (found list, err error) {
	key, scheduled, err := s.at(tx, key)
	if err != nil {
		return list{}, err
	}
	resolved, _, ok, err := s.resolve(tx, key)
	if err == nil && ok {
		found, err = s.readOrdered(resolved, s.queryIn(tx))
	}
	found.scheduled = scheduled
	return found, err
}

// queryIn returns a function that runs statements in a transaction.
func (s *Store) queryIn(tx *gorm.DB) func(statement, func(*sql.Rows) error) error {
	return func(stmt statement, scan func(*sql.Rows) error) error {
		return s.db.QueryIn(tx, stmt.text, stmt.values, scan)
	}
}

// readOrdered returns a page of a list that an index has in its order, by one statement. If rows
// of articles that are scheduled belong to it, it is read by another one, which merges them.
func (s *Store) readOrdered(key listKey, query func(statement, func(*sql.Rows) error) error) (list, error) {
	began := time.Now()
	if key.now == "" {
		key.now = s.now()
	}
	found, err := s.readMerged(key, query)
	if err == nil && !key.merged && key.mustMerge(found.scheduled) {
		key.now, key.merged = s.now(), true
		found, err = s.readMerged(key, query)
	}
	found.scheduled.began = began
	found.scheduled = found.scheduled.of(key)
	return found, err
}

// readMerged is like readOrdered, with the states that key.merged says.
func (s *Store) readMerged(key listKey, query func(statement, func(*sql.Rows) error) error) (list, error) {
	more := 0 // a total tells whether there are more articles
	if key.after.set || key.counts() {
		more = 1
	}
	scheduled := noSchedule
	if key.enabled() {
		scheduled = s.scheduleColumns(key.now)
	}
	stmt := s.page(key.now, scheduled, s.counted(key), s.idsOf(key, more))
	var found list
	if err := query(stmt, found.scan()); err != nil {
		return list{}, err
	}
	key.order.Sort(found.articles)
	found.cut(key, more)
	return found, nil
}

// cut removes the articles behind a page, and sets what is next and the total.
func (l *list) cut(key listKey, more int) {
	goesOn := len(l.articles) > key.limit
	if more == 0 {
		goesOn = len(l.articles) > 0 && l.total.Rows > int64(key.offset+len(l.articles))
	}
	l.articles = l.articles[:min(len(l.articles), key.limit)]
	if goesOn && len(l.articles) > 0 {
		l.next = new(key.order.PositionOf(l.articles[len(l.articles)-1]))
	}
	if key.counts() && l.total.Rows > maxCounted {
		l.total = article.Total{Rows: maxCounted, AtLeast: true}
	}
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

// page returns the query of the articles whose ids a query selects, with their tags and the
// total of another query, in one statement, so that they agree with each other. Without that
// query, the total is 0. Without an article there is one row, with the total. now is the time, and
// scheduled has columns of a schedule.
func (s *Store) page(now, scheduled string, total, ids statement) statement {
	number := "0"
	if total.text != "" {
		number = "(" + total.text + ")"
	}
	return statement{
		"SELECT " + number + " AS total, " + scheduled + ", a.id, a.published_at, a.created_at, a.created_by, a.updated_at, a.updated_by, a.title, a.slug, a.`desc`, a.cover_image_url, a.cover_file_id," +
			" " + currentState("a", now) + " AS state, a.revision, " + s.tagsOf("a") + " AS tags FROM (SELECT 1) AS one LEFT JOIN (" + ids.text + ") AS page ON 1 = 1" +
			" LEFT JOIN " + s.db.Table("article") + " AS a ON a.id = page.id",
		append(slices.Clone(total.values), ids.values...),
	}
}

// readPage returns those of the articles that exist, in an order, as they are at the time now.
func (s *Store) readPage(db *gorm.DB, ids []uint64, now string, order article.Order) (found list, err error) {
	marks, values := database.In(ids)
	stmt := s.page(now, noSchedule, statement{}, statement{"SELECT id FROM " + s.db.Table("article") + " WHERE is_deleted = 0 AND id IN (" + marks + ")", values})
	err = s.db.QueryIn(db, stmt.text, stmt.values, found.scan())
	order.Sort(found.articles)
	return found, err
}

// scan returns a function that adds a row of page.
func (l *list) scan() func(*sql.Rows) error {
	var id, revision, cover sql.Null[uint64]
	var state sql.Null[article.State]
	var published, created, updated sql.NullTime
	var createdBy, updatedBy, title, slug, desc, url, tags sql.NullString
	return func(rows *sql.Rows) error {
		err := rows.Scan(&l.total.Rows, &l.scheduled.now, &l.scheduled.next, &id, &published, &created, &createdBy, &updated, &updatedBy, &title, &slug, &desc, &url, &cover, &state, &revision, &tags)
		if err != nil || !id.Valid {
			return err
		}
		parsed, err := parseTags(tags.String)
		var coverID *uint64
		if cover.Valid {
			coverID = new(cover.V)
		}
		l.articles = append(l.articles, articleRow{
			ID: id.V, PublishedAt: published.Time, CreatedAt: created.Time, CreatedBy: createdBy.String, UpdatedAt: updated.Time, UpdatedBy: updatedBy.String,
			Title: title.String, Slug: slug.String, Desc: desc.String, CoverImageURL: url.String, CoverFileID: coverID, State: state.V, Revision: revision.V,
		}.article(parsed))
		return err
	}
}
