package store

import (
	"context"
	"database/sql"
	"math"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// largestID is the largest id that SQLite's integers can hold.
const largestID = math.MaxInt64

// Get implements tag.Store. Calls that wait at the same time share a query.
func (s *Store) Get(ctx context.Context, id uint64) (*tag.Shared, error) {
	if id > largestID { // would fail the query of others
		return nil, errcode.New(errcode.TagNotFound)
	}
	found, ok, err := s.tags.Get(ctx, id)
	if err == nil && !ok {
		err = errcode.New(errcode.TagNotFound)
	}
	return found, err
}

// read returns the tags that are not deleted.
func (s *Store) read(ctx context.Context, ids []uint64) (map[uint64]*tag.Shared, error) {
	marks, values := database.In(ids)
	query := "SELECT id, name, state, revision, created_at, created_by, updated_at, updated_by" +
		" FROM " + s.db.Table("tag") + " WHERE id IN (" + marks + ") AND is_deleted = 0"
	tags := make(map[uint64]*tag.Shared, len(ids))
	return tags, s.db.Query(ctx, query, values, func(rows *sql.Rows) error {
		var r tagRow
		err := rows.Scan(&r.ID, &r.Name, &r.State, &r.Revision, &r.CreatedAt, &r.CreatedBy, &r.UpdatedAt, &r.UpdatedBy)
		tags[r.ID] = &tag.Shared{Tag: r.tag()}
		return err
	})
}
