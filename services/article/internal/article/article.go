// Package article is the domain of the article service: articles and the tags
// they carry. It knows neither HTTP nor SQL, nor where the tags come from.
package article

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// States of an article.
const (
	Disabled State = 0
	Enabled  State = 1
)

// MaxTags is the most tags that one article carries.
const MaxTags = 20

// State says whether an article is published.
type State uint8

// Article is one post of the blog.
type Article struct {
	ID            uint64
	Title         string
	Desc          string
	CoverImageURL string
	// Content is empty in lists that do not ask for it.
	Content   string
	State     State
	Tags      []Tag
	CreatedAt time.Time
	CreatedBy string // app key
	UpdatedAt time.Time
	UpdatedBy string // app key
}

// Tag is a tag that an article carries, as the tag service last told of it.
type Tag struct {
	ID    uint64
	Name  string
	State State
}

// Draft is what a client says about an article; what is nil it leaves as it
// is. TagIDs is a set.
type Draft struct {
	Title         *string
	Desc          *string
	CoverImageURL *string
	Content       *string
	State         *State
	TagIDs        *[]uint64
	// Actor is the app key of the client.
	Actor string
}

// Precondition refuses a change by an error, unless the article is as it should be. It
// is asked while nothing else can change the article; nil refuses nothing.
type Precondition func(current Article) error

// Filter narrows a list; a nil field admits all.
type Filter struct {
	TagID *uint64
	// Title is contained in the titles, regardless of case.
	Title *string
	State *State
	// Public admits what anybody may see: enabled articles, and with TagID
	// those of an enabled tag.
	Public bool
}

// Page is the part of a list that is wanted.
type Page struct {
	Offset, Limit int
	// WithContent asks for the articles' content, too.
	WithContent bool
}

// Store keeps articles. Every error it returns carries a code, ArticleNotFound
// or Unavailable, or is an *UnknownTagsError, or is that of the context, of a
// Precondition, or of what made the context to have a write done once.
type Store interface {
	// Create inserts an article with its tags, all or nothing.
	Create(ctx context.Context, draft Draft) (Article, error)
	// Get returns the article that is not deleted.
	Get(ctx context.Context, id uint64) (Article, error)
	// List returns a page of the articles, newest first, and the number of all.
	List(ctx context.Context, filter Filter, page Page) ([]Article, int64, error)
	// Update replaces what the draft has, all or nothing.
	Update(ctx context.Context, id uint64, draft Draft, precondition Precondition) (Article, error)
	// Delete marks the article as deleted and takes its tags off.
	Delete(ctx context.Context, id uint64, actor string, precondition Precondition) error
}

// UnknownTagsError says which tags of a draft are not known.
type UnknownTagsError struct{ IDs []uint64 }

// Error names the ids, for the log.
func (e *UnknownTagsError) Error() string {
	return "unknown tags: " + e.list()
}

func (e *UnknownTagsError) list() string {
	texts := make([]string, 0, len(e.IDs))
	for _, id := range e.IDs {
		texts = append(texts, strconv.FormatUint(id, 10))
	}
	return strings.Join(texts, ", ")
}

func (e *UnknownTagsError) coded() error {
	return errcode.New(errcode.UnknownTags, errcode.Text{
		ZH:       "tag_ids包含不存在的标签: " + e.list(),
		EN:       "tag_ids has unknown tags: " + e.list(),
		ZHHantTW: "tag_ids包含不存在的標籤: " + e.list(),
	})
}

// normalize makes the tags of a draft a sorted set and applies the rules that
// no single field can tell.
func (d *Draft) normalize(maxContentBytes int) error {
	if d.Content != nil && len(*d.Content) > maxContentBytes {
		return errcode.New(errcode.TooLarge, errcode.Text{
			ZH:       fmt.Sprintf("content不能超过%d字节", maxContentBytes),
			EN:       fmt.Sprintf("content must be at most %d bytes", maxContentBytes),
			ZHHantTW: fmt.Sprintf("content不能超過%d位元組", maxContentBytes),
		})
	}
	if d.TagIDs == nil {
		return nil
	}
	ids := slices.Clone(*d.TagIDs)
	slices.Sort(ids)
	ids = slices.Compact(ids)
	d.TagIDs = &ids
	if len(ids) > MaxTags {
		return errcode.New(errcode.InvalidParams, errcode.Text{
			ZH:       fmt.Sprintf("tag_ids最多只能包含%d项", MaxTags),
			EN:       fmt.Sprintf("tag_ids must contain at most %d items", MaxTags),
			ZHHantTW: fmt.Sprintf("tag_ids最多只能包含%d項", MaxTags),
		})
	}
	return nil
}
