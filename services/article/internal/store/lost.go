package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/achilles-blog/achilles/services/article/internal/file"
)

const (
	// lostBatch is the number of files that are read together.
	lostBatch = 500
	// maxLostShown is the number of files that the error of lost bytes names.
	maxLostShown = 10
)

// Lost returns an error that names files whose bytes the storage lacks, as after a restore without
// them. It calls report with its progress.
func (f *Files) Lost(ctx context.Context, blobs file.Blobs, report func(string)) error {
	var shown []error
	looked, lost := 0, 0
	for after, more := uint64(0), true; more; {
		batch, err := f.following(ctx, after)
		if err != nil {
			return err
		}
		sizes := map[file.Digest]int64{}
		for _, one := range batch {
			size, known := sizes[one.Digest]
			if !known {
				if size, err = blobs.Size(ctx, one.Digest); err != nil && !errors.Is(err, file.ErrNoBlob) {
					return fmt.Errorf("looking for the bytes of file %d: %w", one.ID, err)
				}
				sizes[one.Digest] = size
			}
			if size == one.Size {
				continue
			}
			if lost++; lost <= maxLostShown {
				shown = append(shown, fmt.Errorf("file %d, %q: %d of %d bytes of %s", one.ID, one.Name, size, one.Size, one.Digest))
			}
		}
		looked += len(batch)
		report(fmt.Sprintf("looked for the bytes of %d files", looked))
		if more = len(batch) == lostBatch; more {
			after = batch[lostBatch-1].ID
		}
	}
	if lost == 0 {
		return nil
	}
	return fmt.Errorf("the storage lacks bytes of %d files of %d; copy them from the backup of the storage, or delete the files:\n%w", lost, looked, errors.Join(shown...))
}

// following returns the first files with a greater id.
func (f *Files) following(ctx context.Context, id uint64) (found []file.File, err error) {
	err = f.db.Query(ctx, "SELECT id, name, size, sha256 FROM "+f.db.Table("file")+" WHERE id > ? ORDER BY id LIMIT ?", []any{id, lostBatch}, func(rows *sql.Rows) error {
		var one file.File
		var digest []byte
		if err := rows.Scan(&one.ID, &one.Name, &one.Size, &digest); err != nil {
			return err
		}
		one.Digest = file.Digest(digest)
		found = append(found, one)
		return nil
	})
	return found, err
}
