// Package article is the domain of the article service: articles and their tags.
// It imports neither HTTP nor SQL.
package article

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

// States of an article and of a tag.
const (
	Disabled State = 0
	Enabled  State = 1
	// Scheduled is the state of an enabled article before its PublishedAt. To clients it is
	// Enabled.
	Scheduled State = 2
)

// MaxScheduled is the number of articles that may be scheduled at a time. Writes at the same
// time may exceed it by their number.
const MaxScheduled = 10_000

// MaxTags is the maximum number of tags of an article.
const MaxTags = 20

// MaxFormerSlugs is the number of former slugs of an article that lead to it: the latest.
const MaxFormerSlugs = 20

// MaxSharedContent is the maximum size in bytes of a content that is read together with
// its article.
const MaxSharedContent = 32 << 10

// State says whether an article is published.
type State uint8

// Of returns the state of an article that clients gave the state s, and that is published
// later or not.
func (s State) Of(later bool) State {
	if s != Disabled && later {
		return Scheduled
	}
	return min(s, Enabled)
}

// Viewer says what a client may see.
type Viewer uint8

const (
	// Anonymous sees enabled articles, from the time on at which they are published, with their
	// enabled tags.
	Anonymous Viewer = iota
	// Authenticated sees all articles and tags.
	Authenticated
)

// ErrUnauthenticated is returned to anonymous clients that ask for disabled
// articles.
var ErrUnauthenticated = errors.New("disabled articles are for authenticated clients only")

// Article is a post of the blog.
type Article struct {
	ID            uint64
	Title         string
	Slug          string // see Draft
	Desc          string
	CoverImageURL string
	CoverFileID   uint64 // the file that is the cover, 0 for none
	// Content is empty in what GetWithoutContent and List return; see Contents.
	Content string
	State   State
	Tags    []Tag
	// Revision counts the changes of the article, from 1. Changes of its tags don't
	// count.
	Revision uint64
	// PublishedAt is the time from which on everybody sees the article, unless it is disabled.
	PublishedAt time.Time
	CreatedAt   time.Time
	CreatedBy   string // app key
	UpdatedAt   time.Time
	UpdatedBy   string // app key
}

// Version identifies what clients see of the article: its revision and its tags.
func (a Article) Version() string {
	version := strconv.FormatUint(a.Revision, 10)
	if len(a.Tags) == 0 {
		return version
	}
	tags := make([]byte, 0, 512)
	for _, t := range a.Tags {
		tags = append(strconv.AppendUint(tags, t.ID, 10), ' ')
		tags = append(strconv.AppendUint(tags, uint64(t.State), 10), ' ')
		tags = append(strconv.AppendQuote(tags, t.Name), '\n')
	}
	sum := sha256.Sum256(tags)
	return version + "-" + base64.RawURLEncoding.EncodeToString(sum[:12])
}

// visible returns the article as the viewer sees it; ok is false if the viewer
// doesn't see it at all.
func (a Article) visible(viewer Viewer) (seen Article, ok bool) {
	if viewer == Authenticated {
		return a, true
	}
	disabled := func(t Tag) bool { return t.State != Enabled }
	if slices.ContainsFunc(a.Tags, disabled) {
		a.Tags = slices.DeleteFunc(slices.Clone(a.Tags), disabled)
	}
	return a, a.State == Enabled
}

// Tag is a tag of an article.
type Tag struct {
	ID    uint64
	Name  string
	State State
}

// Draft is what a client wants an article to be. If a field is nil, a new article has
// the default and an existing article keeps its value.
type Draft struct {
	Title *string
	// Slug is the name of the article in addresses. No other article has it. If it is "",
	// or nil for a new article, it is made from the title.
	Slug          *string
	Desc          *string
	CoverImageURL *string
	// CoverFileID is the id of the file that is the cover, 0 for none.
	CoverFileID *uint64
	Content     *string
	State       *State // Disabled or Enabled
	// PublishedAt is the time at which the article is published, in milliseconds. The zero time,
	// or nil for a new article, is that of its creation.
	PublishedAt *time.Time
	// TagIDs is the set of the article's tags.
	TagIDs *[]uint64
	// Actor is the app key of the client.
	Actor string
}

// Precondition returns an error if an article with this version must not be changed.
// A nil Precondition allows every change.
type Precondition func(version string) error

// Total is the number of articles of a list.
type Total struct {
	Rows int64
	// AtLeast reports that there may be more: a search counts up to a bound.
	AtLeast bool
}

// Content is the content of an article at a revision.
type Content struct {
	Revision uint64
	Text     string
}

// Store stores articles. Its errors are those of the context or the Precondition, an
// *UnknownTagsError, or an errcode.Error with ArticleNotFound, Unavailable, for Create
// and Update SlugTaken, UnknownFile or TooManyScheduled, and for Create KeyReused or RequestInProgress.
type Store interface {
	// Create inserts an article with its tags, all or nothing. If a request with the
	// same key has created an article before, Create returns that article, as it was
	// then, and replayed.
	Create(ctx context.Context, draft Draft, key idempotency.Key) (created Article, replayed bool, err error)
	// CreateAll is like Create for several drafts, all or none of them. The articles lack their
	// contents. The error of a single draft is a batch.Errors.
	CreateAll(ctx context.Context, drafts []Draft, key idempotency.Key) (created []Article, replayed bool, err error)
	// Claim claims the key of a request that creates articles one by one. Its errors are
	// those of the key.
	Claim(ctx context.Context, key idempotency.Key) error
	// Get returns the article, unless it is deleted. A content of more than
	// MaxSharedContent bytes is omitted.
	Get(ctx context.Context, id uint64) (*Shared, error)
	// GetWithoutContent is like Get, but reads no content.
	GetWithoutContent(ctx context.Context, id uint64) (*Shared, error)
	// GetBySlug is like Get, for an article with the slug, or formerly with it.
	GetBySlug(ctx context.Context, slug string) (*Shared, error)
	// GetBySlugWithoutContent is like GetBySlug, but reads no content.
	GetBySlugWithoutContent(ctx context.Context, slug string) (*Shared, error)
	// List returns a page of the articles without their content, and the total number.
	List(ctx context.Context, filter Filter, page Page) (*SharedList, error)
	// Tags returns a page of the tags that the viewer may see, and their total number.
	Tags(ctx context.Context, viewer Viewer, page TagPage) (*TagList, error)
	// TagNamed returns the tag with a name. If there is none, the error is
	// errcode.TagNotFound.
	TagNamed(ctx context.Context, name string) (Tag, error)
	// ContentSizes returns the sizes in bytes of the contents of articles.
	ContentSizes(ctx context.Context, ids []uint64) (map[uint64]int64, error)
	// ContentSizeForUpdate returns the size in bytes of the content of an article that is
	// about to be changed, 0 if it doesn't exist. Other reads can't starve it.
	ContentSizeForUpdate(ctx context.Context, id uint64) (int64, error)
	// Contents returns the contents of articles that are not deleted.
	Contents(ctx context.Context, ids []uint64) (map[uint64]Content, error)
	// Export calls use for each article behind an id that the viewer may see, with its content
	// and all of its tags, in the order of the ids. All are read from one snapshot. It returns the
	// first error of use, and errcode.Unavailable if it takes longer than limit.
	Export(ctx context.Context, viewer Viewer, after uint64, limit time.Duration, use func(Article) error) error
	// Update replaces the fields that the draft has, all or nothing. If none has another
	// value, the article stays as it is, also its revision and time. The precondition
	// is checked while nobody else can change the article.
	Update(ctx context.Context, id uint64, draft Draft, precondition Precondition) (Article, error)
	// Delete marks the article as deleted and removes its tags.
	Delete(ctx context.Context, id uint64, actor string, precondition Precondition) error
}

// UnknownTagsError reports tags of a draft that do not exist.
type UnknownTagsError struct{ IDs []uint64 }

// Error lists the ids.
func (e *UnknownTagsError) Error() string {
	return "unknown tags: " + e.list()
}

// Unwrap returns changefeed.ErrUnknown.
func (e *UnknownTagsError) Unwrap() error { return changefeed.ErrUnknown }

func (e *UnknownTagsError) list() string {
	texts := make([]string, 0, len(e.IDs))
	for _, id := range e.IDs {
		texts = append(texts, strconv.FormatUint(id, 10))
	}
	return strings.Join(texts, ", ")
}

// coded returns err for clients, if it is an UnknownTagsError.
func coded(err error) error {
	var unknown *UnknownTagsError
	if errors.As(err, &unknown) {
		return unknown.coded()
	}
	return err
}

func (e *UnknownTagsError) coded() error {
	return &errcode.Error{Code: errcode.UnknownTags, Details: []errcode.Detail{
		errcode.Invalid("tag_ids", errcode.Unknown, errcode.Text{
			ZH:       "tag_ids包含不存在的标签: " + e.list(),
			EN:       "tag_ids has unknown tags: " + e.list(),
			ZHHantTW: "tag_ids包含不存在的標籤: " + e.list(),
		}),
	}}
}

// SlugTaken returns the error of a slug that another article has.
func SlugTaken(slug string) error {
	return &errcode.Error{Code: errcode.SlugTaken, Details: []errcode.Detail{
		errcode.Invalid("slug", errcode.Taken, errcode.Text{
			ZH:       "slug已被其他文章使用: " + slug,
			EN:       "another article has the slug " + slug,
			ZHHantTW: "slug已被其他文章使用: " + slug,
		}),
	}}
}

// UnknownFile returns the error of a cover that is no file.
func UnknownFile(id uint64) error {
	return &errcode.Error{Code: errcode.UnknownFile, Details: []errcode.Detail{
		errcode.Invalid("cover_file_id", errcode.Unknown, errcode.Text{
			ZH:       fmt.Sprintf("cover_file_id不是已存在的文件: %d", id),
			EN:       fmt.Sprintf("cover_file_id is not a file that exists: %d", id),
			ZHHantTW: fmt.Sprintf("cover_file_id不是已存在的檔案: %d", id),
		}),
	}}
}

// NoImage returns the error of a draft whose cover is a file of another media type.
func NoImage(id uint64, mediaType string) error {
	return &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{
		errcode.Invalid("cover_file_id", errcode.NotAllowed, errcode.Text{
			ZH:       fmt.Sprintf("cover_file_id必须是图片, 文件%d是%s", id, mediaType),
			EN:       fmt.Sprintf("cover_file_id must be an image; the file %d is %s", id, mediaType),
			ZHHantTW: fmt.Sprintf("cover_file_id必須是圖片, 檔案%d是%s", id, mediaType),
		}),
	}}
}

// normalize sorts the tags of a draft, removes duplicates, and checks the limits
// that are settings or concern several fields.
func (d *Draft) normalize(maxContentBytes int) error {
	if d.Content != nil && len(*d.Content) > maxContentBytes {
		return &errcode.Error{Code: errcode.TooLarge, Details: []errcode.Detail{errcode.Invalid("content", errcode.TooLong, errcode.Text{
			ZH:       fmt.Sprintf("content不能超过%d字节", maxContentBytes),
			EN:       fmt.Sprintf("content must be at most %d bytes", maxContentBytes),
			ZHHantTW: fmt.Sprintf("content不能超過%d位元組", maxContentBytes),
		})}}
	}
	if d.TagIDs == nil {
		return nil
	}
	ids := slices.Clone(*d.TagIDs)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	d.TagIDs = &ids
	if len(ids) > MaxTags {
		return &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{errcode.Invalid("tag_ids", errcode.TooLong, errcode.Text{
			ZH:       fmt.Sprintf("tag_ids最多只能包含%d项", MaxTags),
			EN:       fmt.Sprintf("tag_ids must contain at most %d items", MaxTags),
			ZHHantTW: fmt.Sprintf("tag_ids最多只能包含%d項", MaxTags),
		})}}
	}
	return nil
}
