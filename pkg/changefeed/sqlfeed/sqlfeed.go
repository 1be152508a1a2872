// Package sqlfeed stores a feed of changes in SQL: a table of changes by number, and a
// table whose row with id 1 has the number of the newest change and the epoch.
//
// Numbers are given in one of two ways. Append numbers a change in its write's transaction,
// which makes writes wait for each other. With an Outbox, they don't.
package sqlfeed

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Feed is a feed, or the part of one that has numbers of its own. The names of tables are
// without their prefix.
type Feed struct {
	DB *database.DB
	// Changes is the table of changes, and Number its column of numbers. Rows in which that
	// is null are no part of the feed. The table has the column created_at.
	Changes, Number string
	// Index is the index of Number, "" if that is the primary key.
	Index string
	// Sequence is the table with the row of the feed, and Last its column with the number of
	// the newest change. Its column epoch has the epoch.
	Sequence, Last string
	// EpochPrefix comes before the epoch, to tell parts of a feed from each other.
	EpochPrefix string
}

// Head is the state of a feed.
type Head struct {
	Epoch string
	Last  uint64
}

// Head returns the state of the feed.
func (f Feed) Head(ctx context.Context) (head Head, err error) {
	err = f.DB.Read(ctx, func(tx *gorm.DB) (err error) { head, err = f.HeadIn(tx); return err })
	return head, err
}

// HeadIn is like Head, in the function of Read, Snapshot or InTx.
func (f Feed) HeadIn(tx *gorm.DB) (head Head, err error) {
	found := false
	err = f.DB.QueryIn(tx, "SELECT epoch, "+f.Last+" FROM "+f.DB.Table(f.Sequence)+" WHERE id = 1", nil, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(&head.Epoch, &head.Last)
	})
	if err == nil && !found {
		err = f.ErrNoRow()
	}
	head.Epoch = f.EpochPrefix + head.Epoch
	return head, err
}

// ErrNoRow returns the error that the table that numbers the changes is empty.
func (f Feed) ErrNoRow() error {
	return fmt.Errorf("the table %s has no row with id 1: restore it from a backup, with a new epoch", f.Sequence)
}

// Append numbers changes and appends them, with values of columns, change after change. It also
// changes the sequence's row by the assignments in also, which follow a comma. The lock of that
// row must be the last that a write takes. It is held until the commit, so the next write gets
// its numbers only after that. Hence numbers are committed in order, and a rollback leaves no
// gap.
func (f Feed) Append(tx *gorm.DB, also string, alsoValues []any, columns []string, values ...any) error {
	sequence, n := f.DB.Table(f.Sequence), len(values)/len(columns)
	done, err := f.DB.Exec(tx, "UPDATE "+sequence+" SET "+f.Last+" = "+f.Last+" + "+strconv.Itoa(n)+also+" WHERE id = 1", alsoValues...)
	if err != nil {
		return err
	}
	switch rows, err := done.RowsAffected(); {
	case err != nil:
		return err
	case rows != 1:
		return f.ErrNoRow()
	}
	// One statement, because other writes wait for each round trip.
	var rows []string
	var all []any
	for change := range slices.Chunk(values, len(columns)) {
		before := strconv.Itoa(n - 1 - len(rows))
		rows = append(rows, "SELECT "+f.Last+" - "+before+", ?"+marks(len(columns))+" FROM "+sequence+" WHERE id = 1")
		all = append(append(all, tx.NowFunc()), change...)
	}
	_, err = f.DB.Exec(tx, "INSERT INTO "+f.DB.Table(f.Changes)+" ("+f.Number+", created_at, "+strings.Join(columns, ", ")+") "+
		strings.Join(rows, " UNION ALL "), all...)
	return err
}

// Read returns at most limit changes after an offset, in order and without gaps, or
// ChangesTrimmed if some of them have been removed, the offset is above the newest, or its
// epoch is another one; an empty epoch is that of the feed. tx is that of Snapshot. columns
// are read by scan, after the number.
//
// Read stops at the first gap, as if the changes after it were not there yet: a snapshot of
// MariaDB may lack a transaction and have one that was committed after it, if both end while
// the snapshot begins.
func Read[E changefeed.Entry](f Feed, tx *gorm.DB, from changefeed.Offset, limit int, columns string, scan func(*sql.Rows) (E, error)) (changefeed.Changes[E], error) {
	head, err := f.HeadIn(tx)
	if err != nil {
		return changefeed.Changes[E]{}, err
	}
	after := from.Sequence
	// This also rejects values above math.MaxInt64, which the driver can't pass.
	if after > head.Last || from.Epoch != "" && from.Epoch != head.Epoch {
		return changefeed.Changes[E]{}, errcode.New(errcode.ChangesTrimmed)
	}
	found := changefeed.Changes[E]{Epoch: head.Epoch, Last: head.Last, Changes: []E{}}
	torn := false
	query := "SELECT " + f.Number + ", " + columns + " FROM " + f.DB.Indexed(f.Changes, f.Index) + " WHERE " + f.Number + " > ? ORDER BY " + f.Number + " LIMIT ?"
	err = f.DB.QueryIn(tx, query, []any{after, limit}, func(rows *sql.Rows) error {
		entry, err := scan(rows)
		torn = torn || err == nil && entry.Number() != after+1+uint64(len(found.Changes))
		if !torn {
			found.Changes = append(found.Changes, entry)
		}
		return err
	})
	if err != nil || len(found.Changes) > 0 || after == head.Last {
		return found, err
	}
	return found, f.requireUntrimmed(tx, after)
}

// requireUntrimmed returns an error unless the change after the given one is in the
// feed, or will be.
func (f Feed) requireUntrimmed(tx *gorm.DB, after uint64) error {
	var oldest sql.Null[uint64]
	err := f.DB.QueryIn(tx, "SELECT MIN("+f.Number+") FROM "+f.DB.Table(f.Changes), nil, func(rows *sql.Rows) error { return rows.Scan(&oldest) })
	if err == nil && (!oldest.Valid || oldest.V > after+1) {
		err = errcode.New(errcode.ChangesTrimmed)
	}
	return err
}

// errTorn means that a snapshot of the database lacks a change before its last one; see
// Read.
var errTorn = errors.New("the snapshot lacks a change")

// Snapshot runs fn in a snapshot of the database that has all changes up to the head that
// fn gets, and none after it. It may run fn several times.
func (f Feed) Snapshot(ctx context.Context, timeout time.Duration, fn func(tx *gorm.DB, head Head) error) error {
	for {
		committed, err := f.Head(ctx) // with all changes before it
		if err != nil {
			return err
		}
		err = f.DB.WithTimeout(timeout).Snapshot(ctx, func(tx *gorm.DB) error {
			head, err := f.HeadIn(tx)
			if err != nil {
				return err
			}
			if err := f.requireAll(tx, committed.Last, head.Last); err != nil {
				return err
			}
			return fn(tx, head)
		})
		if !errors.Is(err, errTorn) {
			return err
		}
	}
}

// requireAll returns errTorn unless tx sees all changes after one up to another.
func (f Feed) requireAll(tx *gorm.DB, after, last uint64) error {
	var seen uint64
	err := f.DB.QueryIn(tx, "SELECT COUNT(*) FROM "+f.DB.Table(f.Changes)+" WHERE "+f.Number+" > ? AND "+f.Number+" <= ?", []any{after, last},
		func(rows *sql.Rows) error { return rows.Scan(&seen) })
	if err == nil && seen != last-after {
		err = errTorn
	}
	return err
}

// Trim removes at most limit changes that were made before the given time, oldest first,
// and returns their number. It finds the newest change before that time and deletes by
// number, not by created_at: the clocks of replicas differ, and deleting by time could leave
// a gap. Each of its queries reads one entry of an index.
func (f Feed) Trim(ctx context.Context, before time.Time, limit int) (removed int64, err error) {
	err = f.DB.InTx(ctx, func(tx *gorm.DB) error {
		var last sql.Null[uint64]
		newest := "SELECT " + f.Number + " FROM " + f.DB.Table(f.Changes) + " WHERE created_at < ? ORDER BY created_at DESC, " + f.Number + " DESC LIMIT 1"
		err := f.DB.QueryIn(tx, newest, []any{before.UTC()}, func(rows *sql.Rows) error { return rows.Scan(&last) })
		if err == nil && last.Valid {
			removed, err = f.remove(tx, last.V, limit)
		}
		return err
	})
	return removed, err
}

// remove removes changes with numbers up to the given one, oldest first, and returns how many
// it has removed: at most limit, and at least one if there is any.
func (f Feed) remove(tx *gorm.DB, last uint64, limit int) (int64, error) {
	changes := f.DB.Table(f.Changes)
	var first sql.Null[uint64]
	err := f.DB.QueryIn(tx, "SELECT MIN("+f.Number+") FROM "+changes, nil, func(rows *sql.Rows) error { return rows.Scan(&first) })
	if err != nil {
		return 0, err
	}
	done, err := f.DB.Exec(tx, "DELETE FROM "+changes+" WHERE "+f.Number+" <= ?", min(last, first.V+uint64(limit)-1)) // #nosec G115 -- limit is positive
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

// renewBatch is the maximum number of changes that Renew removes in a transaction.
const renewBatch = 1000

// Renew gives the feed a new epoch and removes its changes, so that every reader starts over.
// It is for a database that was restored from a backup, which gives the numbers of lost changes
// to others. A backup may also lack a change and have its successor, see Read, and a reader
// would wait for that change for ever. Renew may be called while others read and write. It
// returns the state of the feed before and after.
func (f Feed) Renew(ctx context.Context) (former, current Head, err error) {
	if former, err = f.Head(ctx); err != nil {
		return former, current, err
	}
	if current, err = f.newEpoch(ctx); err != nil {
		return former, current, err
	}
	for removed := int64(1); removed > 0 && err == nil; {
		err = f.DB.InTx(ctx, func(tx *gorm.DB) (err error) {
			removed, err = f.remove(tx, current.Last, renewBatch)
			return err
		})
	}
	return former, current, err
}

// newEpoch gives the feed a new epoch.
func (f Feed) newEpoch(ctx context.Context) (current Head, err error) {
	epoch := uuid.NewString()
	err = f.DB.InTx(ctx, func(tx *gorm.DB) (err error) {
		if _, err = f.DB.Exec(tx, "UPDATE "+f.DB.Table(f.Sequence)+" SET epoch = ? WHERE id = 1", epoch); err == nil {
			current, err = f.HeadIn(tx)
		}
		return err
	})
	return current, err
}
