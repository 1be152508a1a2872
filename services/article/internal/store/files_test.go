package store_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/blobs"
	"github.com/achilles-blog/achilles/services/article/internal/blobs/blobstest"
	"github.com/achilles-blog/achilles/services/article/internal/file"
	"github.com/achilles-blog/achilles/services/article/internal/media"
	"github.com/achilles-blog/achilles/services/article/internal/store"
)

// fileSystem is the service of files of one replica.
type fileSystem struct {
	*file.Service
	db    *database.DB
	blobs file.Blobs
}

func newFileSystem(db *database.DB, b file.Blobs, spool string, change ...func(*file.Limits)) fileSystem {
	limits := file.Limits{
		SpoolDir: spool, FileBytes: 1 << 20, Pixels: 1000, Types: []string{"text/plain"}, Quota: file.Quota{Files: 1 << 40, Bytes: 1 << 40}, Timeout: time.Minute,
	}
	for _, c := range change {
		c(&limits)
	}
	return fileSystem{file.NewService(store.NewFiles(db, time.Hour), b, media.Inspector{}, limits), db, b}
}

func (f fileSystem) store(ctx context.Context, key, text string) (file.File, error) {
	spooled, err := f.Spool(ctx, "a.txt", strings.NewReader(text))
	if err != nil {
		return file.File{}, err
	}
	defer func() { _ = spooled.Close() }()
	created, _, err := f.Create(ctx, "test", []*file.Spooled{spooled}, idempotency.Key{Client: "test", Value: key})
	if err != nil {
		return file.File{}, err
	}
	return created[0], nil
}

// collect collects what is unused for the given time.
func (f fileSystem) collect(ctx context.Context, after time.Duration) (int64, error) {
	return store.Collector{DB: f.db, Blobs: f.blobs, After: after, Interval: time.Hour, Log: zap.NewNop()}.Collect(ctx)
}

// requireWhole requires that each file has its bytes, and returns the files.
func (f fileSystem) requireWhole(t *testing.T) []file.File {
	t.Helper()
	found, err := f.List(t.Context(), file.Filter{}, file.Page{Limit: 10_000})
	require.NoError(t, err)
	require.Len(t, found.Files, int(found.Total), "the usage counts the files")
	for _, one := range found.Files {
		opened := f.Open(t.Context(), one)
		content, err := io.ReadAll(opened)
		require.NoError(t, err, "file %d", one.ID)
		require.NoError(t, opened.Close())
		require.Equal(t, one.Digest, file.Digest(sha256.Sum256(content)))
	}
	return found.Files
}

// requireNothing deletes all files, and requires that then all bytes are collected.
func (f fileSystem) requireNothing(t *testing.T, texts ...string) {
	t.Helper()
	for _, one := range f.requireWhole(t) {
		require.NoError(t, f.Delete(t.Context(), one.ID))
	}
	_, err := f.collect(t.Context(), -time.Second)
	require.NoError(t, err)
	for _, text := range texts {
		_, err := f.blobs.Size(t.Context(), sha256.Sum256([]byte(text)))
		require.ErrorIs(t, err, file.ErrNoBlob)
	}
	var rows int
	require.NoError(t, f.db.Gorm(t.Context()).Raw("SELECT COUNT(*) FROM blog_blob").Scan(&rows).Error)
	require.Zero(t, rows)
}

func TestCollector(t *testing.T) {
	blobstest.Each(t, func(t *testing.T, address string) {
		dbtest.Each(t, func(t *testing.T, cfg database.Config) {
			db := open(t, cfg).db
			f := newFileSystem(db, blobstest.Open(t, address), t.TempDir())
			first, err := f.store(t.Context(), "1", "text")
			require.NoError(t, err)
			second, err := f.store(t.Context(), "2", "text")
			require.NoError(t, err)
			require.Equal(t, first.Digest, second.Digest)
			for _, c := range []struct {
				before  func()
				after   time.Duration
				removed int64
			}{
				{func() {}, -time.Second, 0},
				{func() { require.NoError(t, f.Delete(t.Context(), first.ID)) }, -time.Second, 0}, // the other has the bytes
				{func() { require.NoError(t, f.Delete(t.Context(), second.ID)) }, time.Minute, 0}, // too early
				{func() {}, -time.Second, 1},
				{func() {}, -time.Second, 0},
			} {
				c.before()
				f.requireWhole(t)
				removed, err := f.collect(t.Context(), c.after)
				require.NoError(t, err)
				require.Equal(t, c.removed, removed)
			}
			f.requireNothing(t, "text")
		})
	})
}

// A collector may be stopped at any moment, and another one goes on.
func TestInterruptedCollector(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := open(t, cfg).db
		f := newFileSystem(db, blobstest.Open(t, blobstest.Directory(t)), t.TempDir())
		for i := range 50 {
			one, err := f.store(t.Context(), fmt.Sprint(i), fmt.Sprint("text ", i))
			require.NoError(t, err)
			require.NoError(t, f.Delete(t.Context(), one.ID))
		}
		for i := range 200 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*10*time.Microsecond)
			if _, err := f.collect(ctx, -time.Second); err != nil {
				require.True(t, busy(err), "%v", err)
			}
			cancel()
		}
		f.requireNothing(t, "text 0", "text 49")
	})
}

// While the same bytes are stored, deleted and collected by several replicas, no file ever
// lacks them, and in the end all are collected.
func TestFilesConcurrently(t *testing.T) {
	blobstest.Each(t, func(t *testing.T, address string) {
		dbtest.Each(t, func(t *testing.T, cfg database.Config) {
			pools := [2]*database.DB{open(t, cfg).db, dbtest.Open(t, cfg)}
			quick := func(limits *file.Limits) { limits.Timeout = hammerTimeout }
			b, spool := blobstest.Open(t, address), t.TempDir()
			replicas := [2]fileSystem{newFileSystem(pools[0], b, spool, quick), newFileSystem(pools[1], b, spool, quick)}
			texts := make([]string, 20)
			for i := range texts {
				texts[i] = fmt.Sprint("text ", i)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var working sync.WaitGroup
			for w := range 4 {
				working.Go(func() {
					for ctx.Err() == nil {
						if err := replicas[w%2].storeAndDelete(ctx, texts[rand.IntN(len(texts))]); err != nil && !busy(err) {
							t.Error(err)
						}
					}
				})
			}
			var collected atomic.Int64
			for _, f := range replicas {
				working.Go(func() {
					for ctx.Err() == nil {
						removed, err := f.collect(ctx, 4*hammerTimeout)
						if err != nil && !busy(err) {
							t.Error(err)
						}
						collected.Add(removed)
					}
				})
			}
			require.Eventually(t, func() bool { return collected.Load() > 20 }, 2*time.Minute, 10*time.Millisecond)
			cancel()
			working.Wait()
			replicas[0].requireNothing(t, texts...)
		})
	})
}

// hammerTimeout is how long storing may take in TestFilesConcurrently: much shorter than the
// time after which bytes are collected, as the settings require.
const hammerTimeout = 100 * time.Millisecond

// storeAndDelete stores a text, reads it and deletes it.
func (f fileSystem) storeAndDelete(ctx context.Context, text string) error {
	one, err := f.store(ctx, strconv.FormatUint(rand.Uint64(), 36), text)
	if err != nil {
		return err
	}
	opened := f.Open(ctx, one)
	defer func() { _ = opened.Close() }()
	content, err := io.ReadAll(opened)
	if err != nil {
		return fmt.Errorf("file %d: %w", one.ID, err)
	}
	if string(content) != text {
		return fmt.Errorf("file %d: %q", one.ID, content)
	}
	return f.Delete(ctx, one.ID)
}

// busy reports whether a client is asked to try again, or is not waiting any more.
func busy(err error) bool {
	var coded *errcode.Error
	return errors.As(err, &coded) && coded.Code == errcode.Unavailable || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// A file that an article gets as its cover is not deleted, and one that is deleted becomes no
// cover.
func TestCoverAndDeletionConcurrently(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		db := open(t, cfg).db
		f := newFileSystem(db, blobstest.Open(t, blobstest.Directory(t)), t.TempDir())
		s := store.New(db, time.Hour)
		for i := range 20 {
			one, err := f.store(t.Context(), fmt.Sprint(i), "text")
			require.NoError(t, err)
			var created article.Article
			var naming, deleting error
			var working sync.WaitGroup
			working.Go(func() {
				created, _, naming = s.Create(t.Context(), article.Draft{Title: new("a"), CoverFileID: &one.ID, State: new(article.Enabled)}, idempotency.Key{})
			})
			working.Go(func() { deleting = f.Delete(t.Context(), one.ID) })
			working.Wait()
			require.True(t, (naming == nil) != (deleting == nil), "%v, %v", naming, deleting)
			if naming == nil {
				var coded *errcode.Error
				require.ErrorAs(t, deleting, &coded)
				require.Equal(t, errcode.FileInUse, coded.Code)
				require.NoError(t, s.Delete(t.Context(), created.ID, "test", nil))
				require.NoError(t, f.Delete(t.Context(), one.ID))
			}
		}
	})
}

// A process that envFiles says where to stop is killed there.
const envFiles = "FILES_TEST_POINT"

// The points at which a process is killed.
const (
	beforePut    = "before put"
	afterPut     = "after put"
	beforeDelete = "before delete"
	afterDelete  = "after delete"
)

// stopping stops at a point until the process is killed.
type stopping struct {
	file.Blobs
	point string
}

func (s stopping) stop(at string) {
	if s.point == at {
		fmt.Println(at)
		select {}
	}
}

func (s stopping) Put(ctx context.Context, digest file.Digest, content io.ReadSeeker, size int64) error {
	s.stop(beforePut)
	err := s.Blobs.Put(ctx, digest, content, size)
	s.stop(afterPut)
	return err
}

func (s stopping) Delete(ctx context.Context, digest file.Digest) error {
	s.stop(beforeDelete)
	err := s.Blobs.Delete(ctx, digest)
	s.stop(afterDelete)
	return err
}

// useFilesUntilKilled stores or collects a file, in the process that is killed.
func useFilesUntilKilled(point string) {
	cfg := database.Default()
	cfg.DBType, cfg.DBName, cfg.Host = os.Getenv("FILES_TEST_TYPE"), os.Getenv("FILES_TEST_NAME"), os.Getenv("FILES_TEST_HOST")
	cfg.Username, cfg.Password = os.Getenv("FILES_TEST_USER"), settings.Secret(os.Getenv("FILES_TEST_PASSWORD"))
	cfg.Timeout = time.Minute
	db, err := database.Open(cfg, zap.NewNop())
	var opened *blobs.Blobs
	if err == nil {
		opened, err = blobs.Open(context.Background(), os.Getenv("FILES_TEST_ADDRESS"))
	}
	if err == nil {
		f := newFileSystem(db, stopping{opened, point}, "")
		if point == beforeDelete || point == afterDelete {
			_, err = f.collect(context.Background(), -time.Second)
		} else {
			_, err = f.store(context.Background(), "key", "text")
		}
	}
	fmt.Println("the process was not killed:", err)
}

// kill runs a process to a point and sends it SIGKILL.
func kill(t *testing.T, point, address string, cfg database.Config) {
	t.Helper()
	process := exec.CommandContext(t.Context(), os.Args[0])
	process.Env = append(os.Environ(), envFiles+"="+point, "FILES_TEST_ADDRESS="+address, "FILES_TEST_TYPE="+cfg.DBType, "FILES_TEST_NAME="+cfg.DBName,
		"FILES_TEST_HOST="+cfg.Host, "FILES_TEST_USER="+cfg.Username, "FILES_TEST_PASSWORD="+cfg.Password.Reveal())
	stdout, err := process.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, process.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, point, strings.TrimSpace(line))
	require.NoError(t, process.Process.Kill())
	require.Error(t, process.Wait())
}

// A process that is killed while it stores or collects leaves no file without its bytes, and
// what it leaves is collected.
func TestFilesOfKilledProcesses(t *testing.T) {
	blobstest.Each(t, func(t *testing.T, address string) {
		dbtest.Each(t, func(t *testing.T, cfg database.Config) {
			db := open(t, cfg).db
			f := newFileSystem(db, blobstest.Open(t, address), t.TempDir())
			for _, point := range []string{beforePut, afterPut} {
				kill(t, point, address, cfg)
				require.Empty(t, f.requireWhole(t))
				f.requireNothing(t, "text") // without a repeat
				kill(t, point, address, cfg)
				var one file.File
				require.Eventually(t, func() bool { var err error; one, err = f.store(t.Context(), "key "+point, "text"); return err == nil }, time.Minute, time.Millisecond)
				require.Equal(t, []uint64{one.ID}, fileIDs(f.requireWhole(t)))
				f.requireNothing(t, "text")
			}
			for i, point := range []string{beforeDelete, afterDelete, afterDelete} {
				one, err := f.store(t.Context(), fmt.Sprint(i), "text")
				require.NoError(t, err)
				require.NoError(t, f.Delete(t.Context(), one.ID))
				kill(t, point, address, cfg)
				if i == 2 { // the row is there, and the bytes are gone
					require.Eventually(t, func() bool { _, err := f.store(t.Context(), "again", "text"); return err == nil }, time.Minute, time.Millisecond)
					require.Len(t, f.requireWhole(t), 1)
				}
				require.Eventually(t, func() bool { _, err := f.collect(t.Context(), -time.Second); return err == nil }, time.Minute, time.Millisecond)
				f.requireNothing(t, "text")
			}
		})
	})
}

func fileIDs(files []file.File) []uint64 {
	found := make([]uint64, 0, len(files))
	for _, one := range files {
		found = append(found, one.ID)
	}
	return found
}

// A file is spooled without a name, so nothing is left of it.
func TestSpoolHasNoNames(t *testing.T) {
	dir := t.TempDir()
	f := fileSystem{Service: file.NewService(nil, nil, media.Inspector{}, file.Limits{SpoolDir: dir, FileBytes: 10, Pixels: 1, Types: []string{"text/plain"}})}
	spooled, err := f.Spool(t.Context(), "a.txt", bytes.NewReader([]byte("text")))
	require.NoError(t, err)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoError(t, spooled.Close())
}
