package database

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3/lock"
)

const (
	lockPoll      = 50 * time.Millisecond
	unlockTimeout = 5 * time.Second
)

func (m Migrations) locker(db *DB) lock.SessionLocker {
	wait := cmp.Or(m.lockWait, defaultLockWait)
	if db.Dialect() == SQLite {
		return &fileLock{file: flock.New(db.cfg.DBName+".lock", flock.SetPermissions(0o600)), wait: wait}
	}
	// Names of locks are global to the server and limited to 64 characters.
	name := sha256.Sum256([]byte(db.cfg.DBName + "/" + m.table(db)))
	return serverLock{name: "achilles:" + hex.EncodeToString(name[:16]), wait: wait}
}

func errStillLocked(wait time.Duration) error {
	return fmt.Errorf("another migration of this database has not ended within %s; check what it does, and run migrate again", wait)
}

// serverLock is a lock of the connection on which the migrations run. If the client
// is lost, the server releases the lock after the last statement: at once if the
// connection was closed, else when the session has been idle for its wait_timeout.
type serverLock struct {
	name string
	wait time.Duration
}

// SessionLock implements lock.SessionLocker.
func (l serverLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	for deadline := time.Now().Add(l.wait); ; {
		var got sql.NullBool
		err := conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, 1)", l.name).Scan(&got)
		switch {
		case err != nil:
			return fmt.Errorf("wait for other migrations: %w", err)
		case got.Valid && got.Bool:
			return nil
		case time.Now().After(deadline):
			return errStillLocked(l.wait)
		}
	}
}

// SessionUnlock implements lock.SessionLocker. It ignores a lost connection, which
// holds no lock.
func (l serverLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, unlockTimeout)
	defer cancel()
	_, err := conn.ExecContext(ctx, "DO RELEASE_LOCK(?)", l.name)
	if classOf(err) == unavailable {
		return nil
	}
	return err
}

// fileLock is a lock on a file, which ends with the process.
type fileLock struct {
	file *flock.Flock
	wait time.Duration
}

// SessionLock implements lock.SessionLocker.
func (l *fileLock) SessionLock(ctx context.Context, _ *sql.Conn) error {
	waiting, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	_, err := l.file.TryLockContext(waiting, lockPoll)
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return errStillLocked(l.wait)
	}
	return err
}

// SessionUnlock implements lock.SessionLocker.
func (l *fileLock) SessionUnlock(context.Context, *sql.Conn) error { return l.file.Unlock() }

// Claim reserves a SQLite file for this process until Close, or until the process ends
// in whatever way. Only processes that serve claim it: others may use the file at the
// same time. Claim does nothing for MySQL.
func (db *DB) Claim() error {
	if db.Dialect() != SQLite {
		return nil
	}
	path := db.cfg.DBName + ".serve"
	claim := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	claimed, err := claim.TryLock()
	if err != nil {
		return fmt.Errorf("lock the database file %s: %w", db.cfg.DBName, err)
	}
	if !claimed {
		holder, _ := os.ReadFile(path) // #nosec G304 -- beside the database
		return fmt.Errorf("another process (%s) serves the database file %s, and SQLite is for one: stop it, or choose another file with Database.DBName",
			bytes.TrimSpace(holder), db.cfg.DBName)
	}
	db.claim = claim
	return os.WriteFile(path, fmt.Appendln(nil, os.Getpid()), 0o600)
}
