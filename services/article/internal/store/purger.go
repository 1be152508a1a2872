package store

import (
	"context"
	"time"

	"go.uber.org/zap"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/periodic"
)

// purgeBatch keeps each query and each transaction short.
const purgeBatch = 100

// Purger removes the rows of articles that were deleted long ago. Deleting an article
// only marks its row.
type Purger struct {
	DB       *database.DB
	After    time.Duration // time since the deletion
	Interval time.Duration
	Log      *zap.Logger
}

// Run purges at once and then every Interval until ctx ends; see periodic.Run. A failed
// purge is logged.
func (p Purger) Run(ctx context.Context) error {
	return periodic.Run(ctx, p.Interval, p.Purge, func(removed int64, err error) {
		switch {
		case err != nil:
			p.Log.Warn("deleted articles could not be purged", zap.Error(err))
		case removed > 0:
			p.Log.Info("purged deleted articles", zap.Int64("articles", removed))
		}
	})
}

// Purge removes the articles that were deleted before After, and returns their number.
func (p Purger) Purge(ctx context.Context) (removed int64, err error) {
	before := time.Now().Add(-p.After)
	for last, more := uint64(0), true; more && err == nil; {
		var expired []uint64
		if expired, last, more, err = p.expired(ctx, before, last); err == nil {
			var gone int64
			gone, err = p.remove(ctx, expired)
			removed += gone
		}
	}
	return removed, err
}

// expired looks at the next deleted articles after the id last, in the order of their
// ids: there is no index on the time of the deletion.
func (p Purger) expired(ctx context.Context, before time.Time, last uint64) (ids []uint64, newLast uint64, more bool, err error) {
	var rows []articleRow
	err = p.DB.Read(ctx, func(db *gorm.DB) error {
		return db.Unscoped().Select("id", "updated_at").Where("is_deleted = 1 AND id > ?", last).
			Order("id").Limit(purgeBatch).Find(&rows).Error
	})
	for _, row := range rows {
		last = row.ID
		if row.UpdatedAt.Before(before) {
			ids = append(ids, row.ID)
		}
	}
	return ids, last, len(rows) == purgeBatch, err
}

// remove removes the rows one by one: to remove many at once, a server may lock the
// gaps between them, into which articles are being written.
func (p Purger) remove(ctx context.Context, ids []uint64) (removed int64, err error) {
	if len(ids) == 0 {
		return 0, nil
	}
	err = p.DB.InTx(ctx, func(tx *gorm.DB) error {
		removed = 0
		for _, id := range ids {
			result := tx.Unscoped().Where("is_deleted = 1").Delete(&articleRow{ID: id})
			if result.Error != nil {
				return result.Error
			}
			removed += result.RowsAffected
		}
		return nil
	})
	return removed, err
}
