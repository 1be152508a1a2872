// Package store stores tags and the feed of their changes in SQL. It returns
// neither rows nor errors of a driver.
package store

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// Store implements tag.Store on MySQL, MariaDB and SQLite.
type Store struct {
	db        *database.DB
	retention time.Duration
}

var _ tag.Store = (*Store)(nil)

// New returns a Store on a database with the current schema. A POST under an
// Idempotency-Key can be repeated for the given retention.
func New(db *database.DB, retention time.Duration) *Store {
	return &Store{db: db, retention: retention}
}

// Create implements tag.Store.
func (s *Store) Create(ctx context.Context, draft tag.Draft, key idempotency.Key) (created tag.Tag, replayed bool, err error) {
	return replay.Create(ctx, s.db, key, s.retention, func(tx *gorm.DB) (tag.Tag, error) {
		row := tagRow{CreatedBy: draft.Actor}
		row.apply(draft)
		if err := tx.Create(&row).Error; err != nil {
			return tag.Tag{}, mapNameExists(err)
		}
		return row.tag(), s.appendChange(tx, tag.Put, row)
	})
}

// Get implements tag.Store.
func (s *Store) Get(ctx context.Context, id uint64) (tag.Tag, error) {
	var row tagRow
	err := s.db.Read(ctx, func(db *gorm.DB) error {
		return mapNotFound(db.Take(&row, id).Error)
	})
	return row.tag(), err
}

// List implements tag.Store.
func (s *Store) List(ctx context.Context, filter tag.Filter, page tag.Page) ([]tag.Tag, int64, error) {
	var rows []tagRow
	var total int64
	err := s.db.Snapshot(ctx, func(tx *gorm.DB) error {
		query := tx.Model(&tagRow{}).Scopes(filtered(filter))
		if err := query.Session(&gorm.Session{}).Count(&total).Error; err != nil {
			return err
		}
		rows = nil
		return query.Order("id").Offset(page.Offset).Limit(page.Limit).Find(&rows).Error
	})
	tags := make([]tag.Tag, 0, len(rows))
	for _, row := range rows {
		tags = append(tags, row.tag())
	}
	return tags, total, err
}

func filtered(filter tag.Filter) func(*gorm.DB) *gorm.DB {
	return func(query *gorm.DB) *gorm.DB {
		if filter.Name != nil {
			query = query.Where("active_name = ?", *filter.Name)
		}
		if filter.State != nil {
			query = query.Where("state = ?", *filter.State)
		}
		return query
	}
}

// Update implements tag.Store.
func (s *Store) Update(ctx context.Context, id uint64, draft tag.Draft, precondition tag.Precondition) (tag.Tag, error) {
	var row tagRow
	err := s.db.InTx(ctx, func(tx *gorm.DB) error {
		var err error
		if row, err = locked(tx, id, precondition); err != nil {
			return err
		}
		if err := tx.Select(row.apply(draft)).Updates(&row).Error; err != nil {
			return mapNameExists(err)
		}
		return s.appendChange(tx, tag.Put, row)
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
		return s.appendChange(tx, tag.Delete, row)
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
		return errcode.Wrap(errcode.TagNameExists, err)
	}
	return err
}
