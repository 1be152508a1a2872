package store

import (
	"cmp"
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

// appendChange appends a change to the feed, and changes the counters. The lock of the sequence's row is the
// last that a write takes, and it is held until the commit, so the next write gets
// its number only after that. Hence numbers are committed in order, and a rollback
// leaves no gap.
func (s *Store) appendChange(tx *gorm.DB, kind tag.Kind, row tagRow, more counts) error {
	sequence := s.db.Table("tag_sequence")
	done, err := s.db.Exec(tx, "UPDATE "+sequence+" SET value = value + 1, enabled_tags = enabled_tags + ?, disabled_tags = disabled_tags + ? WHERE id = 1",
		more.EnabledTags, more.DisabledTags)
	if err != nil {
		return err
	}
	if rows, err := done.RowsAffected(); err != nil || rows != 1 {
		return cmp.Or(err, errNoSequence)
	}
	// One statement, because other writes wait for each round trip.
	_, err = s.db.Exec(tx, "INSERT INTO "+s.db.Table("tag_change")+" (sequence, created_at, tag_id, kind, name, state) SELECT value, ?, ?, ?, ?, ? FROM "+
		sequence+" WHERE id = 1", tx.NowFunc(), row.ID, kind, row.Name, row.State)
	return err
}

// errNoSequence means that the table that numbers the changes is empty.
var errNoSequence = errors.New("the table tag_sequence has no row with id 1: restore it from a backup, with a new epoch")

// Changes implements tag.Store. It returns changes up to the first gap, as if those
// after it were not there yet: a snapshot of MariaDB may lack a transaction and have one
// that was committed after it, if both end while the snapshot begins.
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
		found = tag.Changes{Epoch: counter.Epoch, Last: counter.Value, Changes: make([]tag.Change, 0, len(rows))}
		for i, row := range rows {
			if row.Sequence != after+1+uint64(i) { // #nosec G115 -- an index
				break
			}
			found.Changes = append(found.Changes, row.change())
		}
		if len(found.Changes) > 0 || after == counter.Value {
			return nil
		}
		return requireUntrimmed(tx, after)
	})
	return found, err
}

// requireUntrimmed returns an error unless the change after the given one is in the
// feed, or will be.
func requireUntrimmed(tx *gorm.DB, after uint64) error {
	var oldest *uint64
	if err := tx.Model(&changeRow{}).Select("MIN(sequence)").Scan(&oldest).Error; err != nil {
		return err
	}
	if oldest == nil || *oldest > after+1 {
		return errcode.New(errcode.ChangesTrimmed)
	}
	return nil
}

const (
	// snapshotTimeout bounds the reading of all tags. It is above the timeout of
	// other reads, because a snapshot that takes longer would fail each time.
	snapshotTimeout = 10 * time.Second
	snapshotBatch   = 1000
)

// errTorn means that a snapshot of the database lacks a change before its last one; see
// Changes.
var errTorn = errors.New("the snapshot lacks a change")

// Snapshot implements tag.Store.
func (s *Store) Snapshot(ctx context.Context) (tag.Snapshot, error) {
	for {
		snapshot, err := s.snapshot(ctx)
		if !errors.Is(err, errTorn) {
			return snapshot, err
		}
	}
}

func (s *Store) snapshot(ctx context.Context) (tag.Snapshot, error) {
	var committed sequenceRow // with all changes before it
	if err := s.db.Read(ctx, func(tx *gorm.DB) (err error) { committed, err = sequence(tx); return err }); err != nil {
		return tag.Snapshot{}, err
	}
	var snapshot tag.Snapshot
	err := s.db.WithTimeout(snapshotTimeout).Snapshot(ctx, func(tx *gorm.DB) error {
		counter, err := sequence(tx)
		if err != nil {
			return err
		}
		if err := requireAll(tx, committed.Value, counter.Value); err != nil {
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

// requireAll returns errTorn unless tx sees all changes after one up to another.
func requireAll(tx *gorm.DB, after, last uint64) error {
	var seen int64
	err := tx.Model(&changeRow{}).Where("sequence > ? AND sequence <= ?", after, last).Count(&seen).Error
	if err == nil && uint64(seen) != last-after { // #nosec G115 -- a count
		err = errTorn
	}
	return err
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
