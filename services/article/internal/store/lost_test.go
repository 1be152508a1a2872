package store_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/article/internal/blobs/blobstest"
	"github.com/achilles-blog/achilles/services/article/internal/file"
	"github.com/achilles-blog/achilles/services/article/internal/store"
)

// Files whose bytes are missing, or are fewer, are named, also behind the first batch.
func TestLost(t *testing.T) {
	blobstest.Each(t, func(t *testing.T, address string) {
		dbtest.Each(t, func(t *testing.T, cfg database.Config) {
			db := open(t, cfg).db
			blobs := blobstest.Open(t, address)
			files := store.NewFiles(db, time.Hour)
			lost := func() error { return files.Lost(t.Context(), blobs, func(string) {}) }
			require.NoError(t, lost())

			f := newFileSystem(db, blobs, t.TempDir())
			for i := range 3 {
				_, err := f.store(t.Context(), fmt.Sprint(i), fmt.Sprint("text ", i))
				require.NoError(t, err)
			}
			require.NoError(t, lost())
			digest := file.Digest(sha256.Sum256([]byte("text 1")))
			require.NoError(t, blobs.Delete(t.Context(), digest))
			require.ErrorContains(t, lost(), "the storage lacks bytes of 1 files of 3;")
			require.ErrorContains(t, lost(), `file 2, "a.txt": 0 of 6 bytes of `+digest.String())
			require.NoError(t, blobs.Put(t.Context(), digest, strings.NewReader("cut"), 3))
			require.ErrorContains(t, lost(), `file 2, "a.txt": 3 of 6 bytes of `)

			_, err := db.SQL().ExecContext(t.Context(), "INSERT INTO blog_file (created_at, name, size, type, sha256) "+
				"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600) SELECT created_at, name, size, type, sha256 FROM n, blog_file WHERE id = 2")
			require.NoError(t, err)
			require.ErrorContains(t, lost(), "the storage lacks bytes of 601 files of 603;")
			require.Equal(t, 10, strings.Count(lost().Error(), "bytes of "+digest.String()))
			require.NoError(t, blobs.Put(t.Context(), digest, strings.NewReader("text 1"), 6))
			require.NoError(t, lost())
		})
	})
}
