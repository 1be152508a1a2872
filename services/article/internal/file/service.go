package file

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

// maxAttempts is how often Create begins anew if the bytes were collected meanwhile.
const maxAttempts = 3

// Limits bound files.
type Limits struct {
	// SpoolDir is the directory of files that are being received; empty for the default of
	// the system.
	SpoolDir  string
	FileBytes int64    // of one file
	Pixels    int64    // of an image
	Types     []string // media types that are accepted
	// RemovePosition removes the position at which a photo was taken.
	RemovePosition bool
	Quota          Quota
	// Timeout bounds Create. It must be much shorter than the time after which unused bytes
	// are collected.
	Timeout time.Duration
}

// Service implements the storing of files on a Store and Blobs.
type Service struct {
	store     Store
	blobs     Blobs
	inspector Inspector
	limits    Limits
}

// NewService returns a Service.
func NewService(store Store, blobs Blobs, inspector Inspector, limits Limits) *Service {
	return &Service{store: store, blobs: blobs, inspector: inspector, limits: limits}
}

// Create stores files for a client, all or nothing; see Store.Create for key and replayed.
// The database knows of the bytes before they are stored, and has the files only afterwards:
// a crash leaves bytes without a file, which are collected, and never a file without bytes.
func (s *Service) Create(ctx context.Context, client string, spooled []*Spooled, key idempotency.Key) (created []File, replayed bool, err error) {
	err = s.create(ctx, client, spooled, func(ctx context.Context, files []File) (err error) {
		created, replayed, err = s.store.Create(ctx, client, files, s.limits.Quota, key)
		return err
	})
	return created, replayed, err
}

// CreateOnce is like Create for one file. If the client has a file with the same bytes and name
// already, it returns that.
func (s *Service) CreateOnce(ctx context.Context, client string, spooled *Spooled) (created File, err error) {
	err = s.create(ctx, client, []*Spooled{spooled}, func(ctx context.Context, files []File) (err error) {
		created, err = s.store.CreateOnce(ctx, client, files[0], s.limits.Quota)
		return err
	})
	return created, err
}

// create stores the bytes of files, and calls add, which adds the files to the store.
func (s *Service) create(ctx context.Context, client string, spooled []*Spooled, add func(context.Context, []File) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.limits.Timeout)
	defer cancel()
	files := make([]File, 0, len(spooled))
	for _, one := range spooled {
		files = append(files, one.File)
	}
	for range maxAttempts {
		room, err := s.store.Begin(ctx, client, files, s.limits.Quota)
		if err != nil {
			return err
		}
		if room { // otherwise the files are there already, or add returns an error
			if err := s.put(ctx, spooled); err != nil {
				return err
			}
		}
		if err := add(ctx, files); !errors.Is(err, ErrCollected) {
			return err
		}
	}
	return errcode.NewUnavailable(ErrCollected)
}

// put stores the bytes that are not stored yet.
func (s *Service) put(ctx context.Context, spooled []*Spooled) error {
	done := map[Digest]bool{}
	for _, one := range spooled {
		if done[one.Digest] {
			continue
		}
		done[one.Digest] = true
		size, err := s.blobs.Size(ctx, one.Digest)
		if errors.Is(err, ErrNoBlob) || err == nil && size != one.Size {
			err = s.blobs.Put(ctx, one.Digest, io.NewSectionReader(one.content, 0, one.Size), one.Size)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Get returns a file.
func (s *Service) Get(ctx context.Context, id uint64) (File, error) { return s.store.Get(ctx, id) }

// Open returns the bytes of a file, which must be closed. Nothing is read before the first
// call of Read.
func (s *Service) Open(ctx context.Context, f File) io.ReadSeekCloser {
	return &reader{ctx: ctx, blobs: s.blobs, file: f}
}

// List returns a page of the files, the newest first.
func (s *Service) List(ctx context.Context, filter Filter, page Page) (*List, error) {
	return s.store.List(ctx, filter, page)
}

// Delete deletes a file that no article uses. Its bytes are collected later.
func (s *Service) Delete(ctx context.Context, id uint64) error { return s.store.Delete(ctx, id) }
