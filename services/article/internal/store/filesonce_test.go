package store_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/blobs/blobstest"
	"github.com/achilles-blog/achilles/services/article/internal/file"
)

// once stores a file unless the client has it.
func (f fileSystem) once(ctx context.Context, client, name, text string) (file.File, error) {
	spooled, err := f.Spool(ctx, name, strings.NewReader(text))
	if err != nil {
		return file.File{}, err
	}
	defer func() { _ = spooled.Close() }()
	return f.CreateOnce(ctx, client, spooled)
}

// A file that is stored once by a client exists once, also if replicas store it at the same time.
func TestCreateOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		const replicas, files = 4, 10
		quota := func(l *file.Limits) { l.Quota = file.Quota{Files: files, Bytes: 1 << 20} }
		spool, stored := t.TempDir(), blobstest.Open(t, blobstest.Directory(t))
		f := newFileSystem(open(t, cfg).db, stored, spool, quota)
		var all sync.WaitGroup
		for range replicas {
			db := f.db
			if cfg.DBType != database.SQLite { // which belongs to one process
				db = dbtest.Open(t, cfg)
			}
			replica := newFileSystem(db, stored, spool, quota)
			all.Go(func() {
				for n := range files {
					if _, err := replica.once(t.Context(), "import", "a.txt", fmt.Sprint("text ", n)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		require.Len(t, f.requireWhole(t), files)

		// It is found also if there is no room for another one, and has a name and a client.
		first, err := f.once(t.Context(), "import", "a.txt", "text 0")
		require.NoError(t, err)
		_, err = f.once(t.Context(), "import", "b.txt", "text 0")
		requireCode(t, err, errcode.FileQuotaExceeded)
		other, err := f.once(t.Context(), "other", "a.txt", "text 0")
		require.NoError(t, err)
		require.NotEqual(t, first.ID, other.ID)

		// One that was deleted is stored again.
		require.NoError(t, f.Delete(t.Context(), first.ID))
		again, err := f.once(t.Context(), "import", "a.txt", "text 0")
		require.NoError(t, err)
		require.NotEqual(t, first.ID, again.ID)
		_, err = f.collect(t.Context(), -1)
		require.NoError(t, err)
		require.Len(t, f.requireWhole(t), files+1)
		f.requireNothing(t, "text 0")
	})
}
