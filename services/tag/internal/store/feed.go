package store

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

func sequence(tx *gorm.DB) (sequenceRow, error) {
	var row sequenceRow
	err := tx.Take(&row, 1).Error
	return row, err
}

// appendChange appends a change to the feed. The lock of the sequence's row is the
// last that a write takes, and it is held until the commit, so the next write gets
// its number only after that. Hence numbers are committed in order, and a rollback
// leaves no gap.
func (s *Store) appendChange(tx *gorm.DB, kind tag.Kind, row tagRow) error {
	if err := tx.Model(&sequenceRow{ID: 1}).Update("value", gorm.Expr("value + 1")).Error; err != nil {
		return err
	}
	// One statement, because other writes wait for each round trip.
	result := tx.Exec("INSERT INTO "+s.db.Table("tag_change")+" (sequence, created_at, tag_id, kind, name, state) SELECT value, ?, ?, ?, ?, ? FROM "+
		s.db.Table("tag_sequence")+" WHERE id = 1", tx.NowFunc(), row.ID, kind, row.Name, row.State)
	if result.Error == nil && result.RowsAffected != 1 {
		return errNoSequence
	}
	return result.Error
}

// errNoSequence means that the table that numbers the changes is empty.
var errNoSequence = errors.New("the table tag_sequence has no row with id 1: restore it from a backup, with a new epoch")

// Changes implements tag.Store.
func (s *Store) Changes(ctx context.Context, after uint64, limit int) (tag.Changes, error) {
	var found tag.Changes
	err := s.db.Snapshot(ctx, func(tx *gorm.DB) error {
		counter, err := sequence(tx)
		if err != nil {
			return err
		}
		// This also rejects values above math.MaxInt64, which the driver can't pass.
		if after > counter.Value {
			return errcode.New(errcode.ChangesTrimmed)
		}
		var rows []changeRow
		if err := tx.Where("sequence > ?", after).Order("sequence").Limit(limit).Find(&rows).Error; err != nil {
			return err
		}
		if after < counter.Value && (len(rows) == 0 || rows[0].Sequence != after+1) {
			return errcode.New(errcode.ChangesTrimmed)
		}
		found = tag.Changes{Epoch: counter.Epoch, Last: counter.Value, Changes: make([]tag.Change, 0, len(rows))}
		for _, row := range rows {
			found.Changes = append(found.Changes, row.change())
		}
		return nil
	})
	return found, err
}

const (
	// snapshotTimeout bounds the reading of all tags. It is above the timeout of
	// other reads, because a snapshot that takes longer would fail each time.
	snapshotTimeout = 10 * time.Second
	snapshotBatch   = 1000
)

// Snapshot implements tag.Store.
func (s *Store) Snapshot(ctx context.Context) (tag.Snapshot, error) {
	var snapshot tag.Snapshot
	err := s.db.WithTimeout(snapshotTimeout).Snapshot(ctx, func(tx *gorm.DB) error {
		counter, err := sequence(tx)
		if err != nil {
			return err
		}
		snapshot = tag.Snapshot{Epoch: counter.Epoch, Sequence: counter.Value, Tags: []tag.Tag{}}
		var rows []tagRow
		// In batches, because each statement has a timeout, too.
		return tx.FindInBatches(&rows, snapshotBatch, func(*gorm.DB, int) error {
			for _, row := range rows {
				snapshot.Tags = append(snapshot.Tags, row.tag())
			}
			return nil
		}).Error
	})
	return snapshot, err
}

// Trim implements tag.Store. It finds the newest change before the given time and
// deletes by sequence, not by created_at: the clocks of replicas differ, and deleting
// by time could leave a gap. Each of its queries reads one entry of an index.
func (s *Store) Trim(ctx context.Context, before time.Time, limit int) (int64, error) {
	var removed int64
	err := s.db.InTx(ctx, func(tx *gorm.DB) error {
		var first, last *uint64
		changes := tx.Model(&changeRow{}).Session(&gorm.Session{})
		err := changes.Select("sequence").Where("created_at < ?", before.UTC()).Order("created_at DESC, sequence DESC").Limit(1).Scan(&last).Error
		if err != nil || last == nil {
			return err
		}
		if err := changes.Select("MIN(sequence)").Scan(&first).Error; err != nil || first == nil {
			return err
		}
		result := tx.Where("sequence <= ?", min(*last, *first+uint64(limit)-1)).Delete(&changeRow{}) // #nosec G115 -- limit is positive
		removed = result.RowsAffected
		return result.Error
	})
	return removed, err
}
