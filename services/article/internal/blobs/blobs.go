// Package blobs stores the bytes of files in a directory, or in S3 or a compatible storage.
package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/file"
)

// contentType is the media type of all objects: nobody but the service reads them.
const contentType = "application/octet-stream"

// validation is the option of an address that says whether checksums of responses are compared.
const validation = "response_checksum_validation"

// Blobs implements file.Blobs. It must be closed.
type Blobs struct {
	bucket *blob.Bucket
	dir    string // empty for S3
	// client and name are those of S3, nil and empty for a directory.
	client *s3.Client
	name   string
}

var _ file.Blobs = (*Blobs)(nil)

// Check returns an error that says what is wrong with an address, such as
// file:///data/files or s3://bucket?region=eu-central-1. It connects to nothing.
func Check(address string) error {
	parsed, err := url.Parse(address)
	switch {
	case err != nil:
		return errors.New("it is not a URL")
	case parsed.User != nil:
		return errors.New("it must not contain credentials")
	case parsed.Scheme == fileblob.Scheme && parsed.Host == "" && filepath.IsAbs(parsed.Path) && parsed.RawQuery == "":
		return nil
	case parsed.Scheme == s3blob.Scheme && parsed.Host != "" && strings.Trim(parsed.Path, "/") == "":
		return nil
	default:
		return errors.New("it is neither file:///DIRECTORY nor s3://BUCKET?OPTIONS")
	}
}

// IsLocal reports whether an address is a directory.
func IsLocal(address string) bool { return strings.HasPrefix(address, fileblob.Scheme+":") }

// Open opens the storage at an address that Check accepts. A directory is created, if it
// doesn't exist, and must be writable; S3 need not be reachable.
func Open(ctx context.Context, address string) (*Blobs, error) {
	if err := Check(address); err != nil {
		return nil, err
	}
	parsed, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if parsed.Scheme == fileblob.Scheme {
		return openDirectory(parsed.Path)
	}
	options := parsed.Query()
	if !options.Has(validation) { // the client would log each object that has no checksum, or of which a part is read
		options.Set(validation, "when_required")
		parsed.RawQuery = options.Encode()
	}
	bucket, err := new(s3blob.URLOpener).OpenBucketURL(ctx, parsed)
	if err != nil {
		return nil, err
	}
	b := &Blobs{bucket: bucket, name: parsed.Host}
	if !bucket.As(&b.client) {
		return nil, errors.Join(errors.New("the S3 client is of another version"), bucket.Close())
	}
	return b, nil
}

func openDirectory(dir string) (*Blobs, error) {
	bucket, err := fileblob.OpenBucket(dir, &fileblob.Options{CreateDir: true, DirFileMode: 0o750, NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		return nil, err
	}
	probe, err := os.CreateTemp(dir, "probe-*.tmp")
	if err == nil {
		err = errors.Join(probe.Close(), os.Remove(probe.Name()))
	}
	if err != nil {
		return nil, errors.Join(err, bucket.Close())
	}
	return &Blobs{bucket: bucket, dir: dir}, nil
}

// Close implements io.Closer.
func (b *Blobs) Close() error { return b.bucket.Close() }

// key returns the key of an object. The first two digits are a folder, so that no folder
// gets too large.
func key(digest file.Digest) string {
	text := digest.String()
	return text[:2] + "/" + text
}

// Size implements file.Blobs.
func (b *Blobs) Size(ctx context.Context, digest file.Digest) (int64, error) {
	found, err := b.bucket.Attributes(ctx, key(digest))
	if err != nil {
		return 0, classify(ctx, err)
	}
	return found.Size, b.sync(digest) // another process may be about to do this
}

// Put implements file.Blobs.
func (b *Blobs) Put(ctx context.Context, digest file.Digest, content io.ReadSeeker, size int64) error {
	if b.client != nil {
		// The bucket would hold up to 16 MiB of the content in memory.
		_, err := b.client.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.name, Key: new(key(digest)), Body: content, ContentLength: &size, ContentType: new(contentType)})
		return classify(ctx, err)
	}
	if err := b.write(ctx, digest, content); err != nil {
		return classify(ctx, err)
	}
	return b.sync(digest)
}

// write writes an object to a directory, under another name until it is complete. To close a
// writer completes it, unless its context has ended.
func (b *Blobs) write(parent context.Context, digest file.Digest, content io.Reader) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	w, err := b.bucket.NewWriter(ctx, key(digest), &blob.WriterOptions{ContentType: contentType})
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, content); err != nil {
		cancel()
		_ = w.Close()
		return err
	}
	return w.Close()
}

// sync makes an object in a directory survive a crash of the machine.
func (b *Blobs) sync(digest file.Digest) error {
	if b.dir == "" {
		return nil
	}
	path := filepath.Join(b.dir, key(digest))
	for _, name := range []string{path, filepath.Dir(path), b.dir} {
		if err := syncOne(name); err != nil {
			return errcode.NewUnavailable(err)
		}
	}
	return nil
}

func syncOne(name string) error {
	f, err := os.Open(name) // #nosec G304 -- below the configured directory
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Open implements file.Blobs.
func (b *Blobs) Open(ctx context.Context, digest file.Digest, offset int64) (io.ReadCloser, error) {
	opened, err := b.bucket.NewRangeReader(ctx, key(digest), offset, -1, nil)
	if err != nil {
		return nil, classify(ctx, err)
	}
	return opened, nil
}

// Delete implements file.Blobs.
func (b *Blobs) Delete(ctx context.Context, digest file.Digest) error {
	err := classify(ctx, b.bucket.Delete(ctx, key(digest)))
	if errors.Is(err, file.ErrNoBlob) {
		return nil
	}
	return err
}

// Sweep implements file.Blobs. S3 leaves nothing of a Put that was interrupted.
func (b *Blobs) Sweep(ctx context.Context, before time.Time) (removed int64, err error) {
	if b.dir == "" {
		return 0, nil
	}
	temporary, err := filepath.Glob(filepath.Join(b.dir, "*", "*.tmp"))
	if err != nil {
		return 0, err
	}
	more, err := filepath.Glob(filepath.Join(b.dir, "*.tmp"))
	if err != nil {
		return 0, err
	}
	for _, name := range append(temporary, more...) {
		info, err := os.Stat(name)
		if err != nil || !info.ModTime().Before(before) {
			continue // it is stored, or still being written
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return removed, err
		}
		removed++
		if ctx.Err() != nil {
			return removed, ctx.Err()
		}
	}
	return removed, nil
}

// Ping returns an error unless the storage can be used.
func (b *Blobs) Ping(ctx context.Context) error {
	if b.dir != "" {
		_, err := os.Stat(b.dir)
		return err
	}
	ok, err := b.bucket.IsAccessible(ctx)
	if err == nil && !ok {
		err = fmt.Errorf("the bucket %s does not exist", b.name)
	}
	return err
}

func classify(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	case gcerrors.Code(err) == gcerrors.NotFound:
		return fmt.Errorf("%w: %w", file.ErrNoBlob, err)
	default:
		return errcode.NewUnavailable(err)
	}
}
