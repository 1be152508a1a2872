// Package replay does a write that a client may repeat exactly once: it stores
// the object that the write created, under the request's Idempotency-Key, in the
// transaction of the write itself. So no crash leaves a write without its key or
// a key without its write.
package replay

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

const (
	// lookTimeout is the timeout of the query of claimed, which runs after the
	// transaction has timed out. Database.Timeout and lookTimeout together are below
	// 2 s.
	lookTimeout = 200 * time.Millisecond
	// retryAfter is what a client is told while the first request runs.
	retryAfter = time.Second
)

// Create runs create in a transaction and returns the object that it created. With a
// key it also stores the object for the given retention, in the same
// transaction, unless an object is stored under the key already:
//
//   - a repeat of the same request returns the stored object and replayed;
//     another request under the key returns an errcode.KeyReused error.
//   - a repeat waits while the first request runs, and runs create if that fails.
//     If the first request takes longer than Database.Timeout, the repeat returns
//     an errcode.RequestInProgress error. On SQLite, where every write waits for
//     every other, that is errcode.Unavailable.
//
// finish runs after the object is stored, just before the commit. It is for rows that other
// writes wait for, such as counters.
//
// A failure leaves no key behind. Like the function of database.DB.InTx, both functions
// may run several times.
func Create[T any](ctx context.Context, db *database.DB, key idempotency.Key, retention time.Duration,
	create func(tx *gorm.DB) (T, error), finish func(tx *gorm.DB, created T) error) (created T, replayed bool, err error) {
	claiming := false
	err = db.InTx(ctx, func(tx *gorm.DB) (err error) {
		created, replayed = *new(T), false // InTx may have run this before
		if key.IsZero() {
			if created, err = create(tx); err != nil {
				return err
			}
			return finish(tx, created)
		}
		// Claim the key first: a transaction that waits for it must not have taken its
		// snapshot before the first request committed.
		row := newRow(key, tx.NowFunc().Add(retention))
		claiming = true
		stored, err := row.claim(db, tx)
		if err != nil {
			return err
		}
		claiming = false
		if replayed = stored != nil; replayed {
			return stored.decode(&created)
		}
		if created, err = create(tx); err != nil {
			return err
		}
		if err := row.store(db, tx, created); err != nil {
			return err
		}
		return finish(tx, created)
	})
	if err == nil {
		return created, replayed, nil
	}
	var coded *errcode.Error
	if claiming && errors.As(err, &coded) && coded.Code == errcode.Unavailable && claimed(ctx, db, key) {
		err = &errcode.Error{Code: errcode.RequestInProgress, RetryAfter: retryAfter, Cause: err}
	}
	return *new(T), false, err
}

// Claim claims a key for the given retention, unless the same request has claimed it. Its
// errors are those of Create. It is for requests that do several writes, each under a key of
// its own: another request with the key does none of them. Claim does nothing for the zero
// key.
func Claim(ctx context.Context, db *database.DB, key idempotency.Key, retention time.Duration) error {
	if key.IsZero() {
		return nil
	}
	_, _, err := Create(ctx, db, key, retention,
		func(*gorm.DB) (bool, error) { return true, nil }, func(*gorm.DB, bool) error { return nil })
	return err
}

// claimed reports whether a row for the key exists, committed or not. If so, the
// transaction waited for the key and not for a database that hangs.
func claimed(ctx context.Context, db *database.DB, key idempotency.Key) bool {
	var rows int64
	id := key.ID()
	err := db.WithTimeout(lookTimeout).Read(ctx, func(db *gorm.DB) error {
		return db.Transaction(func(tx *gorm.DB) error {
			return tx.Model(&keyRow{}).Where("id = ?", id[:]).Count(&rows).Error
		}, &sql.TxOptions{Isolation: sql.LevelReadUncommitted, ReadOnly: true})
	})
	return err == nil && rows > 0
}
