package blobs_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/blobs"
	"github.com/achilles-blog/achilles/services/article/internal/blobs/blobstest"
	"github.com/achilles-blog/achilles/services/article/internal/file"
)

func random(t *testing.T, size int) ([]byte, file.Digest) {
	t.Helper()
	content := make([]byte, size)
	_, err := rand.Read(content)
	require.NoError(t, err)
	return content, sha256.Sum256(content)
}

func read(t *testing.T, b *blobs.Blobs, digest file.Digest, offset int64) []byte {
	t.Helper()
	opened, err := b.Open(t.Context(), digest, offset)
	require.NoError(t, err)
	content, err := io.ReadAll(opened)
	require.NoError(t, err)
	require.NoError(t, opened.Close())
	return content
}

func TestBlobs(t *testing.T) {
	blobstest.Each(t, func(t *testing.T, address string) {
		b := blobstest.Open(t, address)
		require.NoError(t, b.Ping(t.Context()))
		for _, size := range []int{1, 1000, 10<<20 + 1} {
			content, digest := random(t, size)
			_, err := b.Size(t.Context(), digest)
			require.ErrorIs(t, err, file.ErrNoBlob)
			_, err = b.Open(t.Context(), digest, 0)
			require.ErrorIs(t, err, file.ErrNoBlob)
			require.NoError(t, b.Delete(t.Context(), digest), "nothing to delete")
			for range 2 { // again replaces it
				require.NoError(t, b.Put(t.Context(), digest, bytes.NewReader(content), int64(size)))
			}
			got, err := b.Size(t.Context(), digest)
			require.NoError(t, err)
			require.EqualValues(t, size, got)
			require.True(t, bytes.Equal(content, read(t, b, digest, 0)))
			require.True(t, bytes.Equal(content[size/2:], read(t, b, digest, int64(size/2))))
			require.NoError(t, b.Delete(t.Context(), digest))
			_, err = b.Size(t.Context(), digest)
			require.ErrorIs(t, err, file.ErrNoBlob)
		}
	})
}

// failing is a content that can't be read to its end.
type failing struct {
	io.ReadSeeker
	left int
}

func (f *failing) Read(to []byte) (int, error) {
	if f.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := f.ReadSeeker.Read(to[:min(len(to), f.left)])
	f.left -= n
	return n, err
}

// What is interrupted leaves no object.
func TestPutIsAtomic(t *testing.T) {
	blobstest.Each(t, func(t *testing.T, address string) {
		b := blobstest.Open(t, address)
		content, digest := random(t, 1<<20)
		require.Error(t, b.Put(t.Context(), digest, &failing{bytes.NewReader(content), 1 << 19}, 1<<20))
		_, err := b.Size(t.Context(), digest)
		require.ErrorIs(t, err, file.ErrNoBlob)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, b.Put(ctx, digest, bytes.NewReader(content), 1<<20), context.Canceled)
		_, err = b.Size(t.Context(), digest)
		require.ErrorIs(t, err, file.ErrNoBlob)
	})
}

// A directory may have parts of what was written when the process was killed.
func TestSweep(t *testing.T) {
	address := blobstest.Directory(t)
	b := blobstest.Open(t, address)
	content, digest := random(t, 10)
	require.NoError(t, b.Put(t.Context(), digest, bytes.NewReader(content), 10))
	parsed, err := url.Parse(address)
	require.NoError(t, err)
	text := digest.String()
	old, young := filepath.Join(parsed.Path, text[:2], text+".1.tmp"), filepath.Join(parsed.Path, text[:2], text+".2.tmp")
	for _, name := range []string{old, young} {
		require.NoError(t, os.WriteFile(name, content, 0o600))
	}
	hourAgo := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(old, hourAgo, hourAgo))
	require.NoError(t, os.Chtimes(filepath.Join(parsed.Path, text[:2], text), hourAgo, hourAgo))
	removed, err := b.Sweep(t.Context(), time.Now().Add(-time.Minute))
	require.NoError(t, err)
	require.EqualValues(t, 1, removed)
	require.NoFileExists(t, old)
	require.FileExists(t, young)
	require.Equal(t, content, read(t, b, digest, 0))
}

func TestUnavailable(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	b := blobstest.Open(t, "s3://files?region=us-east-1&endpoint=http%3A%2F%2F127.0.0.1%3A1&use_path_style=true")
	_, err := b.Size(t.Context(), file.Digest{})
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, errcode.Unavailable, coded.Code)
	require.Error(t, b.Ping(t.Context()))
}

func TestCheck(t *testing.T) {
	for _, address := range []string{"file:///data/files", "s3://bucket", "s3://bucket?region=eu-central-1&endpoint=https://s3.example"} {
		require.NoError(t, blobs.Check(address), address)
	}
	for _, address := range []string{"/data", "file://data", "file:data", "file:///data?create_dir=1", "s3://", "s3://bucket/folder", "s3://key:secret@bucket", "gs://bucket", "mem://", "http://x", ":"} {
		require.Error(t, blobs.Check(address), address)
	}
	_, err := blobs.Open(t.Context(), "s3://bucket?nonsense=1")
	require.ErrorContains(t, err, "nonsense")
	taken := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(taken, nil, 0o600))
	_, err = blobs.Open(t.Context(), "file://"+taken)
	require.ErrorContains(t, err, "is not a directory")
}
