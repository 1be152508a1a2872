// Package readmodel stores a read model in SQL, which package follow keeps up to date: a table
// with a row for each object of another service, and a table whose row with id 1 has the epoch
// and the offset in its feed. Both change in one transaction, so that each change is applied
// exactly once.
package readmodel

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/follow"
	"github.com/achilles-blog/achilles/pkg/database"
)

// ChunkSize is the maximum number of rows in one statement. Databases limit the number of
// parameters.
const ChunkSize = 500

// updateTimeout is the timeout of an update. It is long because an update that times out would
// time out again. Callers that can't wait have a deadline of their own.
const updateTimeout = 30 * time.Second

// Row is a row of a read model. Gorm reads and writes it; the column of its key is id.
type Row interface {
	comparable
	Key() uint64
}

// Change is an entry of a feed that inserts, replaces or deletes a row.
type Change[R Row] interface {
	changefeed.Entry
	// Row returns the row, of which only the key matters if it is deleted.
	Row() (row R, deleted bool)
}

// Snapshot has all rows as of an offset.
type Snapshot[R Row] interface {
	follow.Snapshot
	Rows() []R
}

// Config says where a read model is. The names of tables are without their prefix.
type Config struct {
	// Rows is the table of the rows, and Offset that of the offset.
	Rows, Offset string
	// Delete, if not nil, deletes rows with what belongs to them.
	Delete Delete
}

// Delete deletes the rows with the given ids, of which there are at most ChunkSize.
type Delete func(tx *gorm.DB, ids []uint64) error

// Store implements follow.ReadModel on MySQL, MariaDB and SQLite.
type Store[E Change[R], S Snapshot[R], R Row] struct {
	db     *database.DB
	config Config
}

// New returns a Store on a database with the current schema.
func New[E Change[R], S Snapshot[R], R Row](db *database.DB, config Config) *Store[E, S, R] {
	return &Store[E, S, R]{db, config}
}

type offsetRow struct {
	ID       uint8 `gorm:"primaryKey"`
	Epoch    string
	Sequence uint64
}

// Offset implements follow.ReadModel. A write that refers to an unknown object waits for it.
func (s *Store[E, S, R]) Offset(ctx context.Context) (changefeed.Offset, error) {
	var row offsetRow
	err := s.db.ForWrites().Read(ctx, func(db *gorm.DB) error { return db.Table(s.db.Table(s.config.Offset)).Take(&row, 1).Error })
	return changefeed.Offset{Epoch: row.Epoch, Sequence: row.Sequence}, err
}

// Apply implements follow.ReadModel.
func (s *Store[E, S, R]) Apply(ctx context.Context, changes changefeed.Changes[E]) error {
	return s.update(ctx, func(tx *gorm.DB, offset *offsetRow) error {
		if offset.Epoch != changes.Epoch {
			return follow.ErrStartOver
		}
		for _, change := range changes.Changes {
			if change.Number() <= offset.Sequence {
				continue // another replica was faster
			}
			if change.Number() != offset.Sequence+1 {
				return follow.ErrStartOver
			}
			if err := s.apply(tx, change); err != nil {
				return err
			}
			offset.Sequence = change.Number()
		}
		return nil
	})
}

func (s *Store[E, S, R]) apply(tx *gorm.DB, change E) error {
	row, deleted := change.Row()
	if deleted {
		return s.remove(tx, []uint64{row.Key()})
	}
	return s.put(tx, []R{row})
}

// Replace implements follow.ReadModel. Rows that are in the snapshot, too, stay where they are.
func (s *Store[E, S, R]) Replace(ctx context.Context, from changefeed.Offset, snapshot S) error {
	return s.update(ctx, func(tx *gorm.DB, offset *offsetRow) error {
		if offset.Epoch != from.Epoch || offset.Sequence != from.Sequence {
			return nil // another replica was faster
		}
		removed, changed, err := s.difference(tx, snapshot.Rows())
		if err != nil {
			return err
		}
		if err := s.remove(tx, removed); err != nil {
			return err
		}
		for chunk := range slices.Chunk(changed, ChunkSize) {
			if err := s.put(tx, chunk); err != nil {
				return err
			}
		}
		at := snapshot.At()
		offset.Epoch, offset.Sequence = at.Epoch, at.Sequence
		return nil
	})
}

// difference returns the ids of the rows to remove and the rows to write. Unchanged ones are
// not written: that would lock them and block writes that refer to them.
func (s *Store[E, S, R]) difference(tx *gorm.DB, rows []R) (removed []uint64, changed []R, err error) {
	wanted := make(map[uint64]R, len(rows))
	for _, row := range rows {
		wanted[row.Key()] = row
	}
	var have []R
	err = s.rows(tx).FindInBatches(&have, ChunkSize, func(*gorm.DB, int) error {
		for _, row := range have {
			want, ok := wanted[row.Key()]
			if !ok {
				removed = append(removed, row.Key())
			}
			if row == want {
				delete(wanted, row.Key())
			}
		}
		return nil
	}).Error
	// All writers lock rows in the order of their ids, which prevents deadlocks.
	byKey := func(a, b R) int { return cmp.Compare(a.Key(), b.Key()) }
	return removed, slices.SortedFunc(maps.Values(wanted), byKey), err
}

// remove deletes rows in chunks.
func (s *Store[E, S, R]) remove(tx *gorm.DB, ids []uint64) error {
	remove := s.config.Delete
	if remove == nil {
		remove = func(tx *gorm.DB, ids []uint64) error { return s.rows(tx).Delete(new(R), ids).Error }
	}
	for chunk := range slices.Chunk(ids, ChunkSize) {
		if err := remove(tx, chunk); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store[E, S, R]) put(tx *gorm.DB, rows []R) error {
	return s.rows(tx).Clauses(clause.OnConflict{UpdateAll: true}).Create(&rows).Error
}

func (s *Store[E, S, R]) rows(tx *gorm.DB) *gorm.DB { return tx.Table(s.db.Table(s.config.Rows)) }

// update runs fn in a transaction that locks the offset, so that replicas update one after
// another, and stores the offset that fn sets.
func (s *Store[E, S, R]) update(ctx context.Context, fn func(tx *gorm.DB, offset *offsetRow) error) error {
	return s.db.WithTimeout(updateTimeout).InTx(ctx, func(tx *gorm.DB) error {
		offset, err := s.lock(tx)
		if err != nil {
			return err
		}
		before := offset
		if err := fn(tx, &offset); err != nil || offset == before {
			return err
		}
		return tx.Table(s.db.Table(s.config.Offset)).Where("id = 1").Updates(map[string]any{"epoch": offset.Epoch, "sequence": offset.Sequence}).Error
	})
}

// Lock keeps the read model from changing until the transaction ends.
func (s *Store[E, S, R]) Lock(tx *gorm.DB) error {
	_, err := s.lock(tx)
	return err
}

func (s *Store[E, S, R]) lock(tx *gorm.DB) (offset offsetRow, err error) {
	err = tx.Table(s.db.Table(s.config.Offset)).Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Take(&offset, 1).Error
	return offset, err
}

// Missing returns those of the ids that have no row, in the function of Read or InTx.
func (s *Store[E, S, R]) Missing(tx *gorm.DB, ids []uint64) ([]uint64, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	known := make(map[uint64]bool, len(ids))
	marks, values := database.In(ids)
	err := s.db.QueryIn(tx, "SELECT id FROM "+s.db.Table(s.config.Rows)+" WHERE id IN ("+marks+")", values, func(rows *sql.Rows) error {
		var id uint64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		known[id] = true
		return nil
	})
	return slices.DeleteFunc(slices.Clone(ids), func(id uint64) bool { return known[id] }), err
}
