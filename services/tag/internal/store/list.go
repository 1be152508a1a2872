package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// listQuery selects the total and the rows of a page in one statement, so that they agree.
// An index gives the ids of the page; only its rows are read. The total is in each row;
// without a tag there is one row of NULL.
const listQuery = `SELECT numbers.total, t.id, t.created_at, t.created_by, t.updated_at, t.updated_by, t.name, t.state, t.revision
FROM (%s) AS numbers
LEFT JOIN (%s) AS page ON 1 = 1
LEFT JOIN %s AS t ON t.id = page.id`

// maxListsWaiting is the number of lists that wait for the database. A list is more work
// than a single read, so the queue is shorter.
const maxListsWaiting = 128

// maxSearchesQueued is the number of different searches that wait for the database.
const maxSearchesQueued = 6

// listKey is what a list depends on. Lists with equal keys share a query.
type listKey struct {
	name, prefix    string
	state           tag.State
	named, hasState bool // whether name and state are conditions
	page            tag.Page
}

func keyOf(filter tag.Filter, page tag.Page) listKey {
	key := listKey{named: filter.Name != nil, hasState: filter.State != nil, page: page}
	if key.named {
		key.name = *filter.Name
	}
	if filter.Prefix != nil {
		key.prefix = *filter.Prefix
	}
	if key.hasState {
		key.state = *filter.State
	}
	return key
}

func newLists(s *Store) *coalesce.Group[listKey, *tag.List] {
	return coalesce.NewSingle(coalesce.Config{MaxWaiting: maxListsWaiting, Timeout: s.db.Timeout()}, s.list)
}

// newSearches returns a group with a short queue for lists with a prefix, which cost more
// than others: those that would wait for many are rejected at once.
func newSearches(s *Store) *coalesce.Group[listKey, *tag.List] {
	return coalesce.NewSingle(coalesce.Config{MaxWaiting: maxListsWaiting, MaxQueued: maxSearchesQueued, Timeout: s.db.Timeout()}, s.list)
}

// List implements tag.Store.
func (s *Store) List(ctx context.Context, filter tag.Filter, page tag.Page) (*tag.List, error) {
	key, group := keyOf(filter, page), s.lists
	if key.prefix != "" {
		group = s.searches
	}
	found, _, err := group.Get(ctx, key)
	if key.prefix != "" && errors.Is(err, coalesce.ErrFull) {
		s.db.CountRejected()
	}
	return found, err
}

func (s *Store) list(ctx context.Context, key listKey) (*tag.List, error) {
	page, err := s.page(key)
	if err != nil {
		return nil, err
	}
	found, numbers, counters := &tag.List{}, s.numbers(key), false
	query := fmt.Sprintf(listQuery, numbers.text, page.text, s.db.Table("tag"))
	db := s.db
	if key.prefix != "" {
		db = db.Expensive()
	}
	err = db.Query(ctx, query, slices.Concat(numbers.values, page.values), func(rows *sql.Rows) error {
		counters = true
		return scan(rows, found)
	})
	switch {
	case err != nil:
		return found, err
	case !counters:
		return found, s.feed.ErrNoRow()
	case found.Total > tag.MaxCounted && key.prefix != "":
		found.Total, found.AtLeast = tag.MaxCounted, true
		if key.sorted() {
			return nil, tag.TooManyToSort()
		}
	}
	slices.SortFunc(found.Tags, key.page.Order.Compare) // a join has no order
	if found.More = len(found.Tags) > key.page.Limit; found.More {
		found.Tags = found.Tags[:key.page.Limit]
	}
	return found, nil
}

// scan adds a row of listQuery to a list.
func scan(rows *sql.Rows, to *tag.List) error {
	var id, revision sql.Null[uint64]
	var state sql.Null[tag.State]
	var created, updated sql.NullTime
	var createdBy, updatedBy, name sql.NullString
	err := rows.Scan(&to.Total, &id, &created, &createdBy, &updated, &updatedBy, &name, &state, &revision)
	if err != nil || !id.Valid {
		return err
	}
	to.Tags = append(to.Tags, tagRow{
		ID: id.V, CreatedAt: created.Time, CreatedBy: createdBy.String, UpdatedAt: updated.Time, UpdatedBy: updatedBy.String,
		Name: name.String, State: state.V, Revision: revision.V,
	}.tag())
	return nil
}
