// Package importer imports folders of Markdown files, as Hugo, Jekyll and Hexo have them, as
// articles. It may be repeated: what hasn't changed is left alone.
package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/frontmatter"
)

// Articles is the part of article.Imports that an import uses.
type Articles interface {
	Import(ctx context.Context, file article.Import) (article.Imported, error)
	Check(draft article.Draft) error
	Sources(ctx context.Context, prefix string) ([]article.Source, error)
	SourcesOf(ctx context.Context, digest string) ([]article.Source, error)
}

// ErrNoTag is wrapped by the error of Tags.Check and Create if a tag can't have its name, or if tags
// can't be created at all. The import goes on without the tag.
var ErrNoTag = errors.New("the tag is left out")

// Tags are the tags of the blog.
type Tags interface {
	// Find returns the id of the tag with a name, 0 if there is none.
	Find(ctx context.Context, name string) (uint64, error)
	// Check returns the error that Create would return, as far as that is known before.
	Check(name string) error
	// Create creates a tag whose name Check accepts, which readers don't see if it is hidden, and returns its id.
	Create(ctx context.Context, name string, hidden bool) (uint64, error)
}

// ErrNoFile is wrapped by the error of Files.Digest if a file can't be stored because of what it is,
// such as its type or size. The import goes on without the file.
var ErrNoFile = errors.New("the file is left out")

// Stored is a file that is stored.
type Stored struct {
	ID      uint64
	Address string // in contents
}

// Files stores the files that articles name.
type Files interface {
	// Digest returns a text that identifies the content of a file as it would be stored.
	Digest(ctx context.Context, name string, content io.Reader) (string, error)
	// Store stores a file. The same name and content is stored once, however often it is imported.
	Store(ctx context.Context, name string, content io.Reader) (Stored, error)
}

// Importer imports folders.
type Importer struct {
	Articles Articles
	Tags     Tags
	// Files is nil if files are not imported.
	Files Files
	// IsAddress reports whether a path is that of the content of a file of a blog.
	IsAddress func(path string) bool
	// Normalize returns a draft as it is if a client sends it, or an errcode.InvalidParams error.
	Normalize func(article.Draft) (article.Draft, error)
	// MaxContent is the maximum size of a content in bytes.
	MaxContent int
	// Zone is that of times that have none.
	Zone *time.Location
	// Name distinguishes the files of this folder from those of others.
	Name string
	// Actor is who creates and changes the articles.
	Actor string
	// Force overwrites articles that were changed in the blog, and creates those again that were
	// deleted.
	Force bool
	// DryRun reports what an import would do, and does nothing.
	DryRun bool
	// Report is called with the result for each file, and Progress from time to time.
	Report   func(Result)
	Progress func(done, of int)
}

// Outcomes beside those of article.Import.
const (
	// Invalid means that the file is no valid article.
	Invalid article.Outcome = "invalid"
	// Skipped means that the file or folder is none that has articles.
	Skipped article.Outcome = "skipped"
	// Vanished means that the file was imported before, and doesn't exist any more.
	Vanished article.Outcome = "vanished"
)

// Result is what became of a file.
type Result struct {
	File      string          `json:"file"`
	Outcome   article.Outcome `json:"outcome"`
	ArticleID uint64          `json:"article_id,omitempty"`
	Slug      string          `json:"slug,omitempty"`
	// Reason says why nothing was imported, and what to do.
	Reason string `json:"reason,omitempty"`
	// LeftOut says what of the file was left out, and Notes what else there is to know.
	LeftOut []string `json:"left_out,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

// Incomplete reports whether the blog lacks something that the file has.
func (r Result) Incomplete() bool {
	switch r.Outcome {
	case Invalid, article.Edited, article.Deleted:
		return true
	}
	return len(r.LeftOut) > 0
}

// run is one import.
type run struct {
	*Importer
	folder fs.FS
	known  map[string]article.Source // that were imported before
	files  map[string]bool           // sources of this import
	tags   map[string]tag
}

// Run imports a folder, or only the file in it with a path, unless that is "". It returns an error
// if it can't go on; the results that it has reported remain true.
func (i *Importer) Run(ctx context.Context, folder fs.FS, only string) error {
	r := &run{Importer: i, folder: folder, known: map[string]article.Source{}, files: map[string]bool{}, tags: map[string]tag{}}
	sources, err := i.Articles.Sources(ctx, i.source(""))
	if err != nil {
		return err
	}
	for _, one := range sources {
		r.known[one.Name] = one
	}
	posts, err := r.posts(only)
	if err != nil {
		return err
	}
	if err := r.importAll(ctx, posts); err != nil {
		return err
	}
	if only == "" {
		r.reportVanished(sources)
	}
	return nil
}

// source returns the name under which a file is known.
func (i *Importer) source(file string) string { return norm.NFC.String(i.Name + "/" + file) }

// post is a file that may be imported.
type post struct {
	file      string
	published time.Time
}

// posts returns the files to import, the oldest first: articles are numbered in this order. It
// reports those that can't be.
func (r *run) posts(only string) (posts []post, err error) {
	files := []string{only}
	if only == "" {
		if files, err = r.find(); err != nil {
			return nil, err
		}
	}
	same := map[string][]string{}
	for _, file := range files {
		same[r.source(file)] = append(same[r.source(file)], file)
	}
	for _, file := range files {
		r.files[r.source(file)] = true
		parsed, err := r.parse(file)
		if names := same[r.source(file)]; len(names) > 1 {
			err = fmt.Errorf("the names %+q are the same in Unicode's normalization form C: rename all but one", names)
		}
		if err != nil {
			r.Report(Result{File: file, Outcome: Invalid, Reason: err.Error()})
			continue
		}
		if parsed.Bare && isReadme(file) {
			r.Report(Result{File: file, Outcome: Skipped, Reason: "it has no front matter, and its name is not that of an article"})
			continue
		}
		posts = append(posts, post{file, publication(parsed)})
	}
	slices.SortFunc(posts, func(a, b post) int { return cmp.Or(a.published.Compare(b.published), strings.Compare(a.file, b.file)) })
	return posts, nil
}

func (r *run) importAll(ctx context.Context, posts []post) error {
	for n, one := range posts {
		if r.Progress != nil {
			r.Progress(n, len(posts))
		}
		result, err := r.importFile(ctx, one.file)
		if err != nil {
			return fmt.Errorf("%s: %w", one.file, err)
		}
		r.Report(result)
	}
	return nil
}

func (r *run) reportVanished(sources []article.Source) {
	for _, one := range sources {
		if !r.files[one.Name] {
			r.Report(Result{
				File: strings.TrimPrefix(one.Name, r.source("")), Outcome: Vanished, ArticleID: one.ArticleID,
				Reason: "it was imported before, and is not in the folder any more; its article stays",
			})
		}
	}
}

// parse reads a file with the date in its name.
func (r *run) parse(file string) (frontmatter.Post, error) {
	if len([]rune(r.source(file))) > article.MaxSource {
		return frontmatter.Post{}, fmt.Errorf("its path has more than %d characters: shorten it, or --name", article.MaxSource)
	}
	text, err := r.read(file, r.MaxContent+frontmatter.MaxSize+1024)
	if err != nil {
		return frontmatter.Post{}, err
	}
	parsed, err := frontmatter.Parse(text, r.Zone)
	if named, _, ok := dated(baseOf(file)); ok && err == nil && parsed.Date.IsZero() {
		at, problem := frontmatter.ParseTime(named, r.Zone)
		if problem != "" {
			return parsed, fmt.Errorf("the date in its name: %q %s", named, problem)
		}
		parsed.Date = at
	}
	return parsed, err
}

// read returns the content of a file of at most limit bytes.
func (r *run) read(file string, limit int) ([]byte, error) {
	opened, err := r.folder.Open(file)
	if err != nil {
		return nil, fmt.Errorf("it can't be read: %w", withoutPath(err))
	}
	defer func() { _ = opened.Close() }()
	if info, err := opened.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.New("it is no regular file")
	}
	text, err := io.ReadAll(io.LimitReader(opened, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("it can't be read: %w", withoutPath(err))
	}
	if len(text) > limit {
		return nil, fmt.Errorf("it has more than %d bytes: split it, or raise App.MaxContentBytes", limit)
	}
	return text, nil
}

func withoutPath(err error) error {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// importFile imports a file. An error ends the whole import.
func (r *run) importFile(ctx context.Context, file string) (Result, error) {
	result := Result{File: file}
	parsed, err := r.parse(file)
	if err != nil { // it has changed since posts read it
		result.Outcome, result.Reason = Invalid, err.Error()
		return result, nil
	}
	found := r.draft(file, parsed, &result)
	missing, err := r.findTags(ctx, &found, parsed, &result)
	if err != nil {
		return result, err
	}
	if n := len(*found.Draft.TagIDs) + len(missing); n > article.MaxTags {
		result.Outcome, result.Reason = Invalid, fmt.Sprintf("tags has %d tags, together with hidden_tags and categories, and may have at most %d: remove some", n, article.MaxTags)
		return result, nil
	}
	found.Draft, err = r.normalized(found.Draft)
	if err != nil {
		return result.failed(err)
	}
	assets, err := r.assets(ctx, file, *found.Draft.Content, parsed.Cover, &result)
	if err != nil {
		return result, err
	}
	before, err := r.before(ctx, &found, digest(found, parsed.Cover, assets, missing))
	if err != nil {
		return result, err
	}
	outcome := before.Outcome(found.Digest, r.Force)
	writes := outcome == article.Created || outcome == article.Updated
	if r.DryRun && writes {
		for _, one := range missing {
			result.Notes = append(result.Notes, fmt.Sprintf("the tag %q would be created", one.name))
		}
	}
	if r.DryRun || found.Former == "" && !writes {
		result.Outcome, result.ArticleID = outcome, before.ArticleID
		return result.explained(), nil
	}
	if len(missing) > 0 {
		if err := r.createTags(ctx, &found, missing, &result); err != nil {
			return result, err
		}
		if _, err := r.before(ctx, &found, digest(found, parsed.Cover, assets, nil)); err != nil {
			return result, err
		}
	}
	if err := r.storeAssets(ctx, &found.Draft, parsed.Cover, assets); err != nil {
		return result, err
	}
	return r.write(ctx, found, result)
}

// before sets the digest of a file, and the name that it had before if it was renamed. It returns what
// was imported from it before.
func (r *run) before(ctx context.Context, file *article.Import, digest string) (article.Source, error) {
	file.Digest = digest
	former, err := r.former(ctx, *file)
	if former != nil {
		file.Former = former.Name
		return *former, err
	}
	return r.known[file.Source], err
}

// normalized returns the draft as if a client had sent it.
func (r *run) normalized(draft article.Draft) (article.Draft, error) {
	normalized, err := r.Normalize(draft)
	if err == nil {
		err = r.Articles.Check(normalized)
	}
	return normalized, err
}

// former returns the file that a new one was before it was renamed, nil if there is none.
func (r *run) former(ctx context.Context, file article.Import) (*article.Source, error) {
	if _, known := r.known[file.Source]; known {
		return nil, nil
	}
	same, err := r.Articles.SourcesOf(ctx, file.Digest)
	for _, one := range same {
		if !r.files[one.Name] {
			r.files[one.Name] = true // no other file takes it, and it hasn't vanished
			return &one, err
		}
	}
	return nil, err
}

// write writes the article. If its slug is taken, it gets another one.
func (r *run) write(ctx context.Context, file article.Import, result Result) (Result, error) {
	done, err := r.Articles.Import(ctx, file)
	if hasCode(err, errcode.SlugTaken) {
		result.Notes = append(result.Notes, fmt.Sprintf("another article has the slug %q", *file.Draft.Slug))
		file.Draft.Slug = nil
		done, err = r.Articles.Import(ctx, file)
	}
	if err != nil {
		return result.failed(err)
	}
	result.Outcome, result.ArticleID, result.Slug = done.Outcome, done.ArticleID, done.Slug
	return result.explained(), nil
}

// explained returns the result with the reason of its outcome.
func (r Result) explained() Result {
	switch r.Outcome {
	case article.Edited:
		r.Reason = fmt.Sprintf("its article %d was changed in the blog, too: make the change there, or overwrite the article with --force", r.ArticleID)
	case article.Deleted:
		r.Reason = fmt.Sprintf("its article %d was deleted in the blog: delete the file, or import it again with --force", r.ArticleID)
	}
	return r
}

// ofFile are the codes of errors because of what a file has.
var ofFile = []errcode.Code{errcode.InvalidParams, errcode.TooLarge, errcode.UnknownTags, errcode.UnknownFile, errcode.TooManyScheduled}

// failed returns the result for an error because of what the file has, and otherwise the error,
// which ends the import.
func (r Result) failed(err error) (Result, error) {
	var coded *errcode.Error
	if !errors.As(err, &coded) || !slices.Contains(ofFile, coded.Code) {
		return r, err
	}
	var texts []string
	for _, d := range coded.Details {
		texts = append(texts, d.In("en"))
	}
	r.Outcome, r.Reason = Invalid, cmp.Or(strings.Join(texts, "; "), coded.Code.Message("en"))
	return r, nil
}

func hasCode(err error, code errcode.Code) bool {
	var coded *errcode.Error
	return errors.As(err, &coded) && coded.Code == code
}
