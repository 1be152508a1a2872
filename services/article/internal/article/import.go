package article

import (
	"context"
	"time"
)

// MaxSource is the maximum length of Import.Source in characters.
const MaxSource = 500

// Import is a file that is imported as an article.
type Import struct {
	// Source names the file. An import with the same source concerns the same article.
	Source string
	// Former, if not "", is the source under which a file with the same digest was imported
	// before: the file was renamed.
	Former string
	// Digest identifies what is imported: as long as it is the same, nothing has changed. It has
	// at most 64 characters.
	Digest string
	Draft  Draft
	// CreatedAt and UpdatedAt are the times of the article; the zero time, and one that is still to
	// come, is that of the import.
	CreatedAt, UpdatedAt time.Time
	// Force overwrites changes that were made to the article since it was imported, and creates
	// it again if it was deleted.
	Force bool
}

// Outcome is what an import does with a file.
type Outcome string

// Outcomes of an import.
const (
	Created   Outcome = "created"
	Updated   Outcome = "updated"
	Unchanged Outcome = "unchanged"
	// Edited means that the article was changed in the blog, and the file, too.
	Edited Outcome = "edited"
	// Deleted means that the article was deleted in the blog.
	Deleted Outcome = "deleted"
)

// Source is a file that was imported.
type Source struct {
	Name, Digest string
	ArticleID    uint64
	// Revision is that of the article after its import, and Current the one that it has, 0 if it
	// is deleted.
	Revision, Current uint64
}

// Outcome returns what an import of the file with a digest does.
func (s Source) Outcome(digest string, force bool) Outcome {
	switch {
	case s.ArticleID == 0, s.Current == 0 && force:
		return Created
	case s.Current == 0:
		return Deleted
	case s.Digest == digest && (s.Current == s.Revision || !force):
		return Unchanged
	case s.Current != s.Revision && !force:
		return Edited
	}
	return Updated
}

// Imported is the result of an import.
type Imported struct {
	Outcome   Outcome
	ArticleID uint64
	Slug      string // of an article that was created or updated
}

// ImportStore stores what was imported. Its errors are those of Store.
type ImportStore interface {
	// Import creates or updates the article of a file, unless that has been done, and notes it, in
	// one transaction.
	Import(ctx context.Context, file Import) (Imported, error)
	// Sources returns the files whose names begin with prefix, in the order of their names.
	Sources(ctx context.Context, prefix string) ([]Source, error)
	// SourcesOf returns the files with a digest, at most 100.
	SourcesOf(ctx context.Context, digest string) ([]Source, error)
}

// Imports imports files by the rules of a Service.
type Imports struct {
	service *Service
	store   ImportStore
}

// NewImports returns Imports into the database of the service.
func NewImports(service *Service, store ImportStore) *Imports { return &Imports{service, store} }

// Import imports a file by the rules of Service.Create and Update; see ImportStore.Import. A slug
// that another article has is an errcode.SlugTaken error.
func (i *Imports) Import(ctx context.Context, file Import) (done Imported, err error) {
	if file.Draft.State == nil {
		file.Draft.State = new(Enabled)
	}
	err = i.service.write(ctx, file.Draft, func(draft Draft) (err error) {
		file.Draft = draft
		done, err = i.store.Import(ctx, file)
		return err
	})
	return done, err
}

// Check returns the error that Import would return because of what a draft consists of.
func (i *Imports) Check(draft Draft) error { return draft.normalize(i.service.maxContentBytes) }

// Sources returns the files whose names begin with prefix, in the order of their names.
func (i *Imports) Sources(ctx context.Context, prefix string) ([]Source, error) {
	return i.store.Sources(ctx, prefix)
}

// SourcesOf returns the files with a digest, at most 100.
func (i *Imports) SourcesOf(ctx context.Context, digest string) ([]Source, error) {
	return i.store.SourcesOf(ctx, digest)
}
