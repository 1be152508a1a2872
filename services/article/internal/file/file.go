// Package file is the domain of uploaded files: what may be stored, by whom, and in which
// order database and storage are changed, so that a file never lacks its bytes. It imports
// neither HTTP nor SQL.
package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/idempotency"
)

// Digest is the SHA-256 of the bytes of a file, by which they are stored.
type Digest [sha256.Size]byte

// String returns the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(d) {
		return errors.New("a digest has 64 hexadecimal digits")
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// File is an uploaded file. It never changes.
type File struct {
	ID   uint64
	Name string // see CleanName
	Size int64  // in bytes, at least 1
	// Type is the media type of the content, without parameters.
	Type   string
	Digest Digest
	// Width and Height are those of an image in pixels, 0 if they are unknown.
	Width, Height int
	CreatedAt     time.Time
	CreatedBy     string // app key
}

// Inline reports whether browsers may show the file: it is an image that can't contain
// scripts.
func (f File) Inline() bool {
	return strings.HasPrefix(f.Type, "image/") && !strings.Contains(f.Type, "xml")
}

// Media is what the content of a file says about itself.
type Media struct {
	Type string // a media type without parameters
	// Width and Height are those of an image in pixels, 0 if they are unknown.
	Width, Height int
}

// ErrMalformed is the error of an image whose header can't be read.
var ErrMalformed = errors.New("the image is malformed")

// Content is the content of a file that is being stored.
type Content interface {
	io.ReaderAt
	io.WriterAt
}

// Inspector knows the formats of files.
type Inspector interface {
	// Inspect returns what the content is. It decodes no pixels. The error of an image whose
	// header can't be read is ErrMalformed.
	Inspect(content io.ReaderAt, size int64) (Media, error)
	// RemovePosition overwrites the position at which a photo was taken, if it has one. The error
	// of an image in which it can't be looked for is ErrMalformed.
	RemovePosition(content Content, size int64, mediaType string) error
}

// ErrNoBlob is the error of bytes that are not stored.
var ErrNoBlob = errors.New("no bytes are stored under this digest")

// Blobs stores the bytes of files. Its errors are ErrNoBlob, those of the context, or an
// errcode.Error with Unavailable.
type Blobs interface {
	// Size returns the number of bytes that are stored under the digest.
	Size(ctx context.Context, digest Digest) (int64, error)
	// Put stores bytes, all or nothing. They survive a crash of the machine once Put has returned.
	Put(ctx context.Context, digest Digest, content io.ReadSeeker, size int64) error
	// Open returns the bytes from an offset on.
	Open(ctx context.Context, digest Digest, offset int64) (io.ReadCloser, error)
	// Delete removes the bytes. If there are none, it returns nil.
	Delete(ctx context.Context, digest Digest) error
	// Sweep removes what interrupted calls of Put have left before a time, and returns the
	// number of objects.
	Sweep(ctx context.Context, before time.Time) (removed int64, err error)
}

// Quota is what the files of one client may take. Files with equal bytes count each.
type Quota struct{ Files, Bytes int64 }

// Filter selects the files of a list.
type Filter struct {
	CreatedBy string // app key; empty for all
}

// Page selects a part of a list, the newest first: Limit files behind the file After, or, if
// that is 0, behind Offset files.
type Page struct {
	After         uint64
	Offset, Limit int
}

// List is a page of files.
type List struct {
	Files []File
	Total int64
	// More reports that the list goes on.
	More bool
}

// ErrCollected is the error of a file whose bytes were removed while it was being stored.
var ErrCollected = errors.New("the bytes of a file were collected meanwhile")

// Store stores which files there are. Its errors are those of the context, or an
// errcode.Error with FileNotFound, FileInUse, FileQuotaExceeded, Unavailable, or for Create
// KeyReused or RequestInProgress.
type Store interface {
	// Begin keeps the bytes of files from being collected while they are stored, whether
	// they are there already or not. If the client has no room for the files, it does
	// nothing and returns false.
	Begin(ctx context.Context, client string, files []File, quota Quota) (room bool, err error)
	// Create adds files, all or nothing, whose bytes are stored; Begin was called before. If
	// a request with the same key has created files before, it returns these, and replayed.
	// If the bytes are not kept any more, the error is ErrCollected.
	Create(ctx context.Context, client string, files []File, quota Quota, key idempotency.Key) (created []File, replayed bool, err error)
	// CreateOnce is like Create for one file, without a key. If the client has a file with the same
	// bytes and name already, it returns that.
	CreateOnce(ctx context.Context, client string, f File, quota Quota) (File, error)
	// Get returns a file.
	Get(ctx context.Context, id uint64) (File, error)
	// List returns a page of the files.
	List(ctx context.Context, filter Filter, page Page) (*List, error)
	// Delete removes a file that no article uses, unless it is deleted.
	Delete(ctx context.Context, id uint64) error
}
