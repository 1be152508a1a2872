package store

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

// chunk is how many rows go into one statement: the number of parameters of a
// statement is limited.
const chunk = 500

// moveTimeout bounds one move of the copy. It may be long, since nobody waits
// for it who has not set a bound, and must be, since a move that does not fit
// would fail again and again.
const moveTimeout = 30 * time.Second

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
		return remove(tx, []uint64{change.TagID})
	}
	return put(tx, []tagCopyRow{{ID: change.TagID, Name: change.Name, State: change.State}})
}

// Replace makes the copy what the snapshot says, unless it has moved on from
// the given position. Tags that stay keep their rows, and so their
// associations.
func (s *Store) Replace(ctx context.Context, from tagfeed.Position, snapshot tagfeed.Snapshot) error {
	return s.move(ctx, func(tx *gorm.DB, position *positionRow) error {
		if position.Epoch != from.Epoch || position.Sequence != from.Sequence {
			return nil // another replica was faster
		}
		gone, changed, err := difference(tx, snapshot.Tags)
		if err != nil {
			return err
		}
		if err := remove(tx, gone); err != nil {
			return err
		}
		for some := range slices.Chunk(changed, chunk) {
			if err := put(tx, some); err != nil {
				return err
			}
		}
		position.Epoch, position.Sequence = snapshot.Epoch, snapshot.Sequence
		return nil
	})
}

// difference returns what the copy has too much, and what it lacks. To write
// only that spares the writers of articles the locks on all other tags.
func difference(tx *gorm.DB, tags []tagfeed.Tag) (gone []uint64, changed []tagCopyRow, err error) {
	wanted := make(map[uint64]tagCopyRow, len(tags))
	for _, t := range tags {
		wanted[t.ID] = tagCopyRow{ID: t.ID, Name: t.Name, State: t.State}
	}
	var have []tagCopyRow
	err = tx.FindInBatches(&have, chunk, func(*gorm.DB, int) error {
		for _, row := range have {
			want, ok := wanted[row.ID]
			if !ok {
				gone = append(gone, row.ID)
			}
			if row == want {
				delete(wanted, row.ID)
			}
		}
		return nil
	}).Error
	// In the order of the ids, as every other writer goes: no deadlocks.
	byID := func(a, b tagCopyRow) int { return cmp.Compare(a.ID, b.ID) }
	return gone, slices.SortedFunc(maps.Values(wanted), byID), err
}

// remove deletes tags and, before them, their associations bit by bit. The
// foreign key would take these along, but in a single statement, which a tag
// with very many articles makes longer than a statement may be.
func remove(tx *gorm.DB, tags []uint64) error {
	for some := range slices.Chunk(tags, chunk) {
		var associations []uint64
		if err := tx.Model(&articleTagRow{}).Where("tag_id IN ?", some).Pluck("id", &associations).Error; err != nil {
			return err
		}
		for bit := range slices.Chunk(associations, chunk) {
			if err := tx.Delete(&articleTagRow{}, bit).Error; err != nil {
				return err
			}
		}
		if err := tx.Delete(&tagCopyRow{}, some).Error; err != nil {
			return err
		}
	}
	return nil
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
	return s.db.WithTimeout(moveTimeout).InTx(ctx, func(tx *gorm.DB) error {
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
