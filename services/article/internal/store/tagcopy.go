package store

import (
	"context"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

// chunk is how many rows go into one statement: the number of parameters of a
// statement is limited.
const chunk = 500

var _ tagfeed.Copy = (*Store)(nil)

// Position returns how far the copy of the tags has come.
func (s *Store) Position(ctx context.Context) (tagfeed.Position, error) {
	var row positionRow
	err := s.db.Read(ctx, func(db *gorm.DB) error { return db.Take(&row, 1).Error })
	return tagfeed.Position{Epoch: row.Epoch, Sequence: row.Sequence}, err
}

// Apply applies those changes that are behind the copy's position.
func (s *Store) Apply(ctx context.Context, changes tagfeed.Changes) error {
	return s.move(ctx, func(tx *gorm.DB, position *positionRow) error {
		if position.Epoch != changes.Epoch {
			return tagfeed.ErrStartOver
		}
		for _, change := range changes.Changes {
			if change.Sequence <= position.Sequence {
				continue // another replica was faster
			}
			if change.Sequence != position.Sequence+1 {
				return tagfeed.ErrStartOver
			}
			if err := apply(tx, change); err != nil {
				return err
			}
			position.Sequence = change.Sequence
		}
		return nil
	})
}

func apply(tx *gorm.DB, change tagfeed.Change) error {
	if change.Kind == tagfeed.Delete {
		// The foreign key takes the associations along.
		return tx.Delete(&tagCopyRow{}, change.TagID).Error
	}
	return put(tx, []tagCopyRow{{ID: change.TagID, Name: change.Name, State: change.State}})
}

// Replace makes the copy what the snapshot says, unless it has come further.
// Tags that stay keep their rows, and so their associations.
func (s *Store) Replace(ctx context.Context, snapshot tagfeed.Snapshot) error {
	return s.move(ctx, func(tx *gorm.DB, position *positionRow) error {
		if position.Epoch == snapshot.Epoch && position.Sequence >= snapshot.Sequence {
			return nil
		}
		rows := make([]tagCopyRow, 0, len(snapshot.Tags))
		kept := make([]uint64, 0, len(snapshot.Tags))
		for _, t := range snapshot.Tags {
			rows = append(rows, tagCopyRow{ID: t.ID, Name: t.Name, State: t.State})
			kept = append(kept, t.ID)
		}
		var have []uint64
		if err := tx.Model(&tagCopyRow{}).Pluck("id", &have).Error; err != nil {
			return err
		}
		for gone := range slices.Chunk(without(have, kept), chunk) {
			if err := tx.Delete(&tagCopyRow{}, gone).Error; err != nil {
				return err
			}
		}
		for some := range slices.Chunk(rows, chunk) {
			if err := put(tx, some); err != nil {
				return err
			}
		}
		position.Epoch, position.Sequence = snapshot.Epoch, snapshot.Sequence
		return nil
	})
}

func put(tx *gorm.DB, rows []tagCopyRow) error {
	return tx.Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "id"}},
		DoUpdates: clause.AssignmentColumns([]string{"name", "state"}),
	}).Create(&rows).Error
}

// move runs fn with the position locked, so that replicas take turns, and
// stores the position that fn leaves behind.
func (s *Store) move(ctx context.Context, fn func(tx *gorm.DB, position *positionRow) error) error {
	return s.db.InTx(ctx, func(tx *gorm.DB) error {
		var position positionRow
		if err := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Take(&position, 1).Error; err != nil {
			return err
		}
		before := position
		if err := fn(tx, &position); err != nil || position == before {
			return err
		}
		return tx.Model(&positionRow{ID: 1}).Updates(map[string]any{"epoch": position.Epoch, "sequence": position.Sequence}).Error
	})
}
