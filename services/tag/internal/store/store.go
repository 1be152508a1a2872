// Package store stores tags and the feed of their changes in SQL. It returns
// neither rows nor errors of a driver.
package store

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/sqlfeed"
	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// Store implements tag.Store on MySQL, MariaDB and SQLite.
type Store struct {
	db              *database.DB
	feed            sqlfeed.Feed
	retention       time.Duration
	tags            *coalesce.Group[uint64, *tag.Shared]
	lists, searches *coalesce.Group[listKey, *tag.List]
}

var _ tag.Store = (*Store)(nil)

// New returns a Store on a database with the current schema. A POST under an
// Idempotency-Key can be repeated for the given retention.
func New(db *database.DB, retention time.Duration) *Store {
	s := &Store{db: db, feed: Feed(db), retention: retention}
	s.tags = coalesce.New(coalesce.Config{Timeout: db.Timeout()}, s.read)
	s.lists, s.searches = newLists(s), newSearches(s)
	return s
}

// insert inserts a tag, and sets its id and times.
func (s *Store) insert(tx *gorm.DB, row *tagRow) (err error) {
	row.CreatedAt = tx.NowFunc()
	row.UpdatedAt = row.CreatedAt
	row.ID, err = s.db.Insert(tx, "tag", []string{"created_at", "created_by", "updated_at", "updated_by", "name", "state", "revision"},
		row.CreatedAt, row.CreatedBy, row.UpdatedAt, row.UpdatedBy, row.Name, row.State, row.Revision)
	return err
}

// Update implements tag.Store.
func (s *Store) Update(ctx context.Context, id uint64, draft tag.Draft, precondition tag.Precondition) (tag.Tag, error) {
	var row tagRow
	err := s.db.InTx(ctx, func(tx *gorm.DB) error {
		var err error
		if row, err = locked(tx, id, precondition); err != nil {
			return err
		}
		before := row.State
		changed := row.apply(draft)
		if len(changed) == 0 {
			return nil
		}
		if err := tx.Select(append(changed, row.touch(draft.Actor)...)).Updates(&row).Error; err != nil {
			return mapNameExists(err)
		}
		return s.appendChanges(tx, changefeed.Put, counts{}.plus(before, -1).plus(row.State, 1), row.tag())
	})
	return row.tag(), err
}

// Delete implements tag.Store.
func (s *Store) Delete(ctx context.Context, id uint64, actor string, precondition tag.Precondition) error {
	return s.db.InTx(ctx, func(tx *gorm.DB) error {
		row, err := locked(tx, id, precondition)
		if err != nil {
			return err
		}
		now := tx.NowFunc()
		if err := tx.Model(&row).Updates(map[string]any{"is_deleted": 1, "updated_at": now, "updated_by": actor}).Error; err != nil {
			return err
		}
		return s.appendChanges(tx, changefeed.Delete, counts{}.plus(row.State, -1), row.tag())
	})
}

// locked returns the tag, if the precondition allows it, and locks it until the
// transaction ends.
func locked(tx *gorm.DB, id uint64, precondition tag.Precondition) (tagRow, error) {
	var row tagRow
	err := mapNotFound(tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Take(&row, id).Error)
	if err == nil && precondition != nil {
		err = precondition(row.tag().Version())
	}
	return row, err
}

func mapNotFound(err error) error {
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return errcode.Wrap(errcode.TagNotFound, err)
	}
	return err
}

func mapNameExists(err error) error {
	if err = database.Classify(err); errors.Is(err, database.ErrDuplicate) {
		return tag.NameExists(err)
	}
	return err
}
