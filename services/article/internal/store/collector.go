package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"go.uber.org/zap"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/periodic"
	"github.com/achilles-blog/achilles/services/article/internal/file"
)

// collectBatch is the number of unused bytes that are looked at together.
const collectBatch = 100

// Collector removes bytes from the storage of files that no file has had for a while: those
// of deleted files, and of uploads that did not complete. Any number of replicas may collect
// at the same time.
type Collector struct {
	DB       *database.DB
	Blobs    file.Blobs
	After    time.Duration // time since the bytes are unused; longer than any upload takes
	Interval time.Duration
	Log      *zap.Logger
}

// Run collects at once and then every Interval until ctx ends; see periodic.Run. A failure
// is logged.
func (c Collector) Run(ctx context.Context) error {
	swept := time.Time{}
	return periodic.Run(ctx, c.Interval, func(ctx context.Context) (int64, error) {
		removed, err := c.Collect(ctx)
		if err == nil && time.Since(swept) >= c.After { // it lists all folders
			swept = time.Now()
			var more int64
			more, err = c.Blobs.Sweep(ctx, time.Now().Add(-c.After))
			removed += more
		}
		return removed, err
	}, func(removed int64, err error) {
		switch {
		case err != nil:
			c.Log.Warn("unused files could not be collected", zap.Error(err))
		case removed > 0:
			c.Log.Info("collected unused files", zap.Int64("objects", removed))
		}
	})
}

// Collect removes the bytes that have been unused for After, and returns their number.
func (c Collector) Collect(ctx context.Context) (removed int64, err error) {
	before := time.Now().UTC().Add(-c.After)
	for more := true; more && err == nil; {
		var unused []file.Digest
		unused, err = c.unused(ctx, before)
		more = len(unused) == collectBatch
		for _, digest := range unused {
			if err != nil {
				break
			}
			var gone bool
			if gone, err = c.remove(ctx, digest, before); gone {
				removed++
			}
		}
	}
	return removed, err
}

func (c Collector) unused(ctx context.Context, before time.Time) (unused []file.Digest, err error) {
	err = c.DB.Query(ctx, "SELECT sha256 FROM "+c.DB.Table("blob")+" WHERE unused_since < ? ORDER BY unused_since LIMIT ?",
		[]any{before, collectBatch}, func(rows *sql.Rows) error {
			var digest []byte
			if err := rows.Scan(&digest); err != nil { // the context has ended
				return err
			}
			unused = append(unused, file.Digest(digest))
			return nil
		})
	return unused, err
}

// remove removes bytes, unless they are in use again. Their row is locked from before the
// bytes are deleted until it is deleted itself: who stores the same bytes waits, and then
// finds neither. If the process dies in between, the row stays and the bytes are gone: who
// stores them looks for them after it has changed the row.
func (c Collector) remove(ctx context.Context, digest file.Digest, before time.Time) (gone bool, err error) {
	err = c.DB.InTx(ctx, func(tx *gorm.DB) error {
		gone = false
		ok, err := c.exists(tx, "SELECT 1 FROM "+c.DB.Table("blob")+" WHERE sha256 = ? AND unused_since < ?"+forUpdate(c.DB), digest[:], before)
		if err != nil || !ok {
			return err
		}
		used, err := c.exists(tx, "SELECT 1 FROM "+c.DB.Table("file")+" WHERE sha256 = ? LIMIT 1", digest[:])
		switch {
		case err != nil:
			return err
		case used:
			_, err = c.DB.Exec(tx, "UPDATE "+c.DB.Table("blob")+" SET unused_since = NULL WHERE sha256 = ?", digest[:])
			return err
		}
		if err := c.Blobs.Delete(tx.Statement.Context, digest); err != nil {
			return err
		}
		gone = true
		_, err = c.DB.Exec(tx, "DELETE FROM "+c.DB.Table("blob")+" WHERE sha256 = ?", digest[:])
		return err
	})
	if errors.Is(err, database.ErrForeignKey) { // impossible, but it must not stop the others
		return false, nil
	}
	return gone && err == nil, err
}

func (c Collector) exists(tx *gorm.DB, query string, values ...any) (found bool, err error) {
	err = c.DB.QueryIn(tx, query, values, func(*sql.Rows) error { found = true; return nil })
	return found, err
}
