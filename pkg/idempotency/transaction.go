package idempotency

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

const (
	// lookTimeout bounds the look at a key for which a unit of work has waited
	// in vain; together they leave a client its answer within 2 s.
	lookTimeout = 200 * time.Millisecond
	// retryAfter is what a client is told while the first request runs.
	retryAfter = time.Second
)

// InTx is database.DB.InTx for a write that may carry a key; without one in ctx
// (see NewContext) it is exactly that. With one, the write is done, and its
// answer kept for the given time, unless the key is there already:
//
//   - the same request ends with *Replayed, another with errcode.KeyReused;
//   - while the first runs, a repeat waits for its end, and does the write when
//     the first one failed. Where the unit of work has no time to wait longer
//     it ends with errcode.RequestInProgress. With SQLite, where a write waits
//     for whatever other write there is, that is errcode.Unavailable, as ever.
//
// A write that fails leaves no key behind, so a repeat is a first one.
func InTx[T any](ctx context.Context, db *database.DB, retention time.Duration, fn func(tx *gorm.DB) (T, error)) (T, error) {
	var written T
	write := func(tx *gorm.DB) (err error) {
		written, err = fn(tx)
		return err
	}
	carried, ok := ctx.Value(contextKey{}).(keyed)
	if !ok {
		err := db.InTx(ctx, write)
		return written, err
	}
	err := once(ctx, db, carried.request, retention, func(tx *gorm.DB) (Answer, error) {
		if err := write(tx); err != nil {
			return Answer{}, err
		}
		return carried.render(written)
	})
	return written, err
}

// once claims the key before anything else happens, so that a transaction that
// had to wait has not yet seen any data, and none older than the first
// request's.
func once(ctx context.Context, db *database.DB, request Request, retention time.Duration, write func(*gorm.DB) (Answer, error)) error {
	claiming := false
	err := db.InTx(ctx, func(tx *gorm.DB) error {
		row := newRow(request, tx.NowFunc().Add(retention))
		claiming = true
		if err := row.claim(tx); err != nil {
			return err
		}
		claiming = false
		answer, err := write(tx)
		if err != nil {
			return err
		}
		return row.keep(tx, answer)
	})
	var coded *errcode.Error
	if claiming && errors.As(err, &coded) && coded.Code == errcode.Unavailable && held(ctx, db, request) {
		return &errcode.Error{Code: errcode.RequestInProgress, RetryAfter: retryAfter, Cause: err}
	}
	return err
}

// held tells a wait for the key from one for a database that hangs: it looks
// for the key's row, also for one that is not committed.
func held(ctx context.Context, db *database.DB, request Request) bool {
	var rows int64
	err := db.WithTimeout(lookTimeout).Read(ctx, func(db *gorm.DB) error {
		return db.Transaction(func(tx *gorm.DB) error {
			return tx.Model(&keyRow{}).Where("id = ?", request.id()).Count(&rows).Error
		}, &sql.TxOptions{Isolation: sql.LevelReadUncommitted, ReadOnly: true})
	})
	return err == nil && rows > 0
}
