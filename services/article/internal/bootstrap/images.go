package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/exporter"
	"github.com/achilles-blog/achilles/services/article/internal/file"
	"github.com/achilles-blog/achilles/services/article/internal/importer"
	"github.com/achilles-blog/achilles/services/article/internal/store"
)

// images are the files of imports and exports.
type images struct {
	files  *file.Service // nil if there is no storage
	client string        // whose files those are that are imported
}

var (
	_ importer.Files = (*images)(nil)
	_ exporter.Files = (*images)(nil)
)

// withImages calls use with the files that are configured.
func withImages(ctx context.Context, config Config, db *database.DB, client string, use func(*images) error) (err error) {
	if config.Files.URL == "" {
		return use(&images{})
	}
	if err := config.Files.checkSpool(); err != nil {
		return err
	}
	files, opened, err := config.Files.open(ctx, store.NewFiles(db, config.Idempotency.Retention))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, opened.Close()) }()
	return use(&images{files, client})
}

// Digest implements importer.Files.
func (i *images) Digest(ctx context.Context, name string, content io.Reader) (string, error) {
	spooled, err := i.files.Spool(ctx, name, content)
	var coded *errcode.Error
	if errors.As(err, &coded) && coded.Code != errcode.Unavailable && len(coded.Details) > 0 {
		return "", fmt.Errorf("%s: %w", coded.Details[0].In("en"), importer.ErrNoFile)
	}
	if err != nil {
		return "", err
	}
	return spooled.Digest.String(), spooled.Close()
}

// Store implements importer.Files.
func (i *images) Store(ctx context.Context, name string, content io.Reader) (importer.Stored, error) {
	spooled, err := i.files.Spool(ctx, name, content)
	if err != nil {
		return importer.Stored{}, err
	}
	defer func() { _ = spooled.Close() }()
	created, err := i.files.CreateOnce(ctx, i.client, spooled)
	return importer.Stored{ID: created.ID, Address: i.Address(created.ID)}, err
}

// Address implements exporter.Files.
func (*images) Address(id uint64) string { return api.DownloadPath(id) }

// Addresses implements exporter.Files.
func (*images) Addresses(text string) []string { return api.DownloadPaths(text) }

// Open implements exporter.Files.
func (i *images) Open(ctx context.Context, address string) (string, io.ReadCloser, error) {
	if i.files == nil {
		return "", nil, fmt.Errorf("Files.URL is not set: %w", exporter.ErrNoFile)
	}
	id, ok := api.ParseDownloadPath(address)
	if !ok {
		return "", nil, fmt.Errorf("its id is malformed: %w", exporter.ErrNoFile)
	}
	found, err := i.files.Get(ctx, id)
	var coded *errcode.Error
	if errors.As(err, &coded) && coded.Code == errcode.FileNotFound {
		return "", nil, fmt.Errorf("it doesn't exist, or not any more: %w", exporter.ErrNoFile)
	}
	return exportedName(found), i.files.Open(ctx, found), err
}

var simpleSubtype = regexp.MustCompile(`^[a-z0-9]+$`)

// exportedName returns the name that an exported file gets by its content. It needs no escapes in
// Markdown and addresses.
func exportedName(f file.File) string {
	name := f.Digest.String()[:32]
	switch _, subtype, _ := strings.Cut(f.Type, "/"); {
	case subtype == "jpeg":
		return name + ".jpg"
	case subtype == "plain", subtype == "markdown", subtype == "html": // not names of posts
		return name + ".txt"
	case simpleSubtype.MatchString(subtype):
		return name + "." + subtype
	}
	return name
}
