package store

import (
	"cmp"
	"context"
	"database/sql"
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
LEFT JOIN (SELECT id FROM %[2]s WHERE %[3]s ORDER BY id LIMIT ? OFFSET ?) AS page ON 1 = 1
LEFT JOIN %[2]s AS t ON t.id = page.id`

// maxListsWaiting is the number of lists that wait for the database. A list is more work
// than a single read, so the queue is shorter.
const maxListsWaiting = 128

// listKey is what a list depends on. Lists with equal keys share a query.
type listKey struct {
	name            string
	state           tag.State
	named, hasState bool // whether name and state are conditions
	page            tag.Page
}

func keyOf(filter tag.Filter, page tag.Page) listKey {
	key := listKey{named: filter.Name != nil, hasState: filter.State != nil, page: page}
	if key.named {
		key.name = *filter.Name
	}
	if key.hasState {
		key.state = *filter.State
	}
	return key
}

func newLists(s *Store) *coalesce.Group[listKey, *tag.List] {
	return coalesce.NewSingle(coalesce.Config{MaxWaiting: maxListsWaiting, Timeout: s.db.Timeout()}, s.list)
}

// List implements tag.Store.
func (s *Store) List(ctx context.Context, filter tag.Filter, page tag.Page) (*tag.List, error) {
	found, _, err := s.lists.Get(ctx, keyOf(filter, page))
	return found, err
}

func (s *Store) list(ctx context.Context, key listKey) (*tag.List, error) {
	found := &tag.List{}
	where, values := "is_deleted = 0", []any{}
	if key.named {
		where, values = "active_name = ?", append(values, key.name)
	}
	if key.hasState {
		where, values = where+" AND state = ?", append(values, key.state)
	}
	numbers, counted := s.numbers(key, where, values)
	values = append(append(counted, values...), key.page.Limit, key.page.Offset)
	counters := false
	err := s.db.Query(ctx, fmt.Sprintf(listQuery, numbers, s.db.Table("tag"), where), values, func(rows *sql.Rows) error {
		counters = true
		return scan(rows, found)
	})
	if err == nil && !counters {
		err = s.feed.ErrNoRow()
	}
	slices.SortFunc(found.Tags, func(a, b tag.Tag) int { return cmp.Compare(a.ID, b.ID) })
	return found, err
}

// numbers returns a query of the number of tags, with its values. At most one tag has a
// name; other numbers are counters.
func (s *Store) numbers(key listKey, where string, values []any) (query string, counted []any) {
	column := "enabled_tags + disabled_tags"
	switch {
	case key.named:
		return "SELECT COUNT(*) AS total FROM " + s.db.Table("tag") + " WHERE " + where, append(counted, values...)
	case key.hasState && key.state == tag.Enabled:
		column = "enabled_tags"
	case key.hasState:
		column = "disabled_tags"
	}
	return "SELECT " + column + " AS total FROM " + s.db.Table("tag_sequence") + " WHERE id = 1", nil
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
