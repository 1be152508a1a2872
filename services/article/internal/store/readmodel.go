package store

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/follow"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

// chunkSize is the maximum number of rows in one statement. Databases limit the
// number of parameters.
const chunkSize = 500

// updateTimeout is the timeout of an update of the read model. It is long because
// an update that times out would time out again. Callers that can't wait have a
// deadline of their own.
const updateTimeout = 30 * time.Second

var _ tagfeed.ReadModel = (*Store)(nil)

// Offset implements tagfeed.ReadModel. A write with an unknown tag waits for it.
func (s *Store) Offset(ctx context.Context) (changefeed.Offset, error) {
	var row offsetRow
	err := s.db.ForWrites().Read(ctx, func(db *gorm.DB) error { return db.Take(&row, 1).Error })
	return changefeed.Offset{Epoch: row.Epoch, Sequence: row.Sequence}, err
}

// Apply implements tagfeed.ReadModel.
func (s *Store) Apply(ctx context.Context, changes tagfeed.Changes) error {
	return s.updateReadModel(ctx, func(tx *gorm.DB, offset *offsetRow) error {
		if offset.Epoch != changes.Epoch {
			return follow.ErrStartOver
		}
		for _, change := range changes.Changes {
			if change.Sequence <= offset.Sequence {
				continue // another replica was faster
			}
			if change.Sequence != offset.Sequence+1 {
				return follow.ErrStartOver
			}
			if err := apply(tx, change); err != nil {
				return err
			}
			offset.Sequence = change.Sequence
		}
		return nil
	})
}

func apply(tx *gorm.DB, change tagfeed.Change) error {
	if change.Kind == changefeed.Delete {
		return remove(tx, []uint64{change.TagID})
	}
	return put(tx, []tagProjectionRow{{ID: change.TagID, Name: change.Name, State: change.State}})
}

// Replace implements tagfeed.ReadModel. Tags in the snapshot keep their rows and
// associations.
func (s *Store) Replace(ctx context.Context, from changefeed.Offset, snapshot tagfeed.Snapshot) error {
	return s.updateReadModel(ctx, func(tx *gorm.DB, offset *offsetRow) error {
		if offset.Epoch != from.Epoch || offset.Sequence != from.Sequence {
			return nil // another replica was faster
		}
		removed, changed, err := difference(tx, snapshot.Tags)
		if err != nil {
			return err
		}
		if err := remove(tx, removed); err != nil {
			return err
		}
		for chunk := range slices.Chunk(changed, chunkSize) {
			if err := put(tx, chunk); err != nil {
				return err
			}
		}
		offset.Epoch, offset.Sequence = snapshot.Epoch, snapshot.Sequence
		return nil
	})
}

// difference returns the tags to remove and the tags to write. Unchanged tags are
// not written: that would lock them and block writes of articles.
func difference(tx *gorm.DB, tags []tagfeed.Tag) (removed []uint64, changed []tagProjectionRow, err error) {
	wanted := make(map[uint64]tagProjectionRow, len(tags))
	for _, t := range tags {
		wanted[t.ID] = tagProjectionRow{ID: t.ID, Name: t.Name, State: t.State}
	}
	var have []tagProjectionRow
	err = tx.FindInBatches(&have, chunkSize, func(*gorm.DB, int) error {
		for _, row := range have {
			want, ok := wanted[row.ID]
			if !ok {
				removed = append(removed, row.ID)
			}
			if row == want {
				delete(wanted, row.ID)
			}
		}
		return nil
	}).Error
	// All writers lock tags in the order of their ids, which prevents deadlocks.
	byID := func(a, b tagProjectionRow) int { return cmp.Compare(a.ID, b.ID) }
	return removed, slices.SortedFunc(maps.Values(wanted), byID), err
}

// remove deletes tags with their counters. It deletes their associations first, in chunks: the foreign
// key would delete them too, but in one statement, which could time out for a tag
// with very many articles.
func remove(tx *gorm.DB, tags []uint64) error {
	for chunk := range slices.Chunk(tags, chunkSize) {
		var associations []uint64
		if err := tx.Model(&articleTagRow{}).Where("tag_id IN ?", chunk).Pluck("id", &associations).Error; err != nil {
			return err
		}
		for part := range slices.Chunk(associations, chunkSize) {
			if err := tx.Delete(&articleTagRow{}, part).Error; err != nil {
				return err
			}
		}
		if err := tx.Delete(&tagProjectionRow{}, chunk).Error; err != nil {
			return err
		}
		// No article can get the tags any more, so nobody changes their counters.
		if err := tx.Where("tag_id IN ?", chunk).Delete(&countRow{}).Error; err != nil {
			return err
		}
	}
	return nil
}

func put(tx *gorm.DB, rows []tagProjectionRow) error {
	return tx.Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "id"}},
		DoUpdates: clause.AssignmentColumns([]string{"name", "state"}),
	}).Create(&rows).Error
}

// updateReadModel runs fn in a transaction that locks the offset, so that replicas
// update one after another, and stores the offset that fn sets.
func (s *Store) updateReadModel(ctx context.Context, fn func(tx *gorm.DB, offset *offsetRow) error) error {
	return s.db.WithTimeout(updateTimeout).InTx(ctx, func(tx *gorm.DB) error {
		var offset offsetRow
		if err := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Take(&offset, 1).Error; err != nil {
			return err
		}
		before := offset
		if err := fn(tx, &offset); err != nil || offset == before {
			return err
		}
		return tx.Model(&offsetRow{ID: 1}).Updates(map[string]any{"epoch": offset.Epoch, "sequence": offset.Sequence}).Error
	})
}
