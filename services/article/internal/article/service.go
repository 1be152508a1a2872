package article

import (
	"context"
	"time"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

// Service implements the article service on a Store.
type Service struct {
	store           Store
	catchUp         func(context.Context) error
	maxContentBytes int
}

// NewService returns a Service. catchUp updates the read model of the tags with
// all changes that are committed when it is called.
func NewService(store Store, catchUp func(context.Context) error, maxContentBytes int) *Service {
	return &Service{store: store, catchUp: catchUp, maxContentBytes: maxContentBytes}
}

// Create creates an article, enabled unless the draft has another state. See
// Store.Create for key and replayed.
func (s *Service) Create(ctx context.Context, draft Draft, key idempotency.Key) (created Article, replayed bool, err error) {
	draft.setDefaults()
	err = s.write(ctx, draft, func(draft Draft) (err error) {
		created, replayed, err = s.store.Create(ctx, draft, key)
		return err
	})
	return created, replayed, err
}

// Get returns an article that the viewer may see. A content of more than
// MaxSharedContent bytes is omitted. An article that the viewer may not see costs the
// same query as one that doesn't exist, so the time of the response doesn't tell them
// apart.
func (s *Service) Get(ctx context.Context, viewer Viewer, id uint64) (*View, error) {
	return seen(viewer)(s.store.Get(ctx, id))
}

// GetWithoutContent is like Get, but reads no content.
func (s *Service) GetWithoutContent(ctx context.Context, viewer Viewer, id uint64) (*View, error) {
	return seen(viewer)(s.store.GetWithoutContent(ctx, id))
}

// GetBySlug is like Get, for an article with the slug, or formerly with it.
func (s *Service) GetBySlug(ctx context.Context, viewer Viewer, slug string) (*View, error) {
	return seen(viewer)(s.store.GetBySlug(ctx, slug))
}

// GetBySlugWithoutContent is like GetBySlug, but reads no content.
func (s *Service) GetBySlugWithoutContent(ctx context.Context, viewer Viewer, slug string) (*View, error) {
	return seen(viewer)(s.store.GetBySlugWithoutContent(ctx, slug))
}

func seen(viewer Viewer) func(*Shared, error) (*View, error) {
	return func(found *Shared, err error) (*View, error) {
		if err != nil {
			return nil, err
		}
		view, ok := found.View(viewer)
		if !ok {
			return nil, errcode.New(errcode.ArticleNotFound)
		}
		return view, nil
	}
}

// ContentSizes returns the sizes in bytes of the contents of articles.
func (s *Service) ContentSizes(ctx context.Context, articles []Article) (map[uint64]int64, error) {
	return s.store.ContentSizes(ctx, ids(articles))
}

// ContentSizeForUpdate returns the size in bytes of the content of an article that is
// about to be changed, 0 if it doesn't exist.
func (s *Service) ContentSizeForUpdate(ctx context.Context, id uint64) (int64, error) {
	return s.store.ContentSizeForUpdate(ctx, id)
}

// Contents returns the contents of the articles that have not changed since they were
// read.
func (s *Service) Contents(ctx context.Context, articles []Article) (map[uint64]string, error) {
	found, err := s.store.Contents(ctx, ids(articles))
	contents := make(map[uint64]string, len(found))
	for _, a := range articles {
		if content, ok := found[a.ID]; ok && content.Revision == a.Revision {
			contents[a.ID] = content.Text
		}
	}
	return contents, err
}

func ids(articles []Article) []uint64 {
	ids := make([]uint64, 0, len(articles))
	for _, a := range articles {
		ids = append(ids, a.ID)
	}
	return ids
}

// List returns a page of the articles that the viewer may see, without their content,
// and their total number.
func (s *Service) List(ctx context.Context, viewer Viewer, filter Filter, page Page) (*List, error) {
	if viewer == Anonymous && filter.State != nil && *filter.State != Enabled {
		return nil, ErrUnauthenticated
	}
	found, err := s.store.List(ctx, filter.For(viewer), page)
	if err != nil {
		return nil, err
	}
	return found.View(viewer), nil
}

// Newest returns the articles that were published last, of those that everybody may see, at most limit: all, or those
// with a tag of the given name. If there is no such tag, or it is disabled, the error is
// errcode.TagNotFound.
func (s *Service) Newest(ctx context.Context, tag *string, limit int) (*List, error) {
	var filter Filter
	if tag != nil {
		found, err := s.store.TagNamed(ctx, *tag)
		if err == nil && found.State != Enabled {
			err = errcode.New(errcode.TagNotFound)
		}
		if err != nil {
			return nil, err
		}
		filter.AnyTag = []uint64{found.ID}
	}
	return s.List(ctx, Anonymous, filter, Page{Order: Order{By: ByPublished}, Limit: limit})
}

// Export calls use for each article behind an id as the viewer sees it, in the order of the
// ids; see Store.Export.
func (s *Service) Export(ctx context.Context, viewer Viewer, after uint64, limit time.Duration, use func(Article) error) error {
	return s.store.Export(ctx, viewer, after, limit, func(a Article) error {
		seen, ok := a.visible(viewer)
		if !ok {
			return nil
		}
		return use(seen)
	})
}

// Update replaces the fields that the draft has.
func (s *Service) Update(ctx context.Context, id uint64, draft Draft, precondition Precondition) (updated Article, err error) {
	err = s.write(ctx, draft, func(draft Draft) (err error) {
		updated, err = s.store.Update(ctx, id, draft, precondition)
		return err
	})
	return updated, err
}

// Delete deletes an article.
func (s *Service) Delete(ctx context.Context, id uint64, actor string, precondition Precondition) error {
	return s.store.Delete(ctx, id, actor, precondition)
}

// write calls try. If a tag is unknown, it may have been created a moment ago; see
// changefeed.References.
func (s *Service) write(ctx context.Context, draft Draft, try func(Draft) error) error {
	if err := draft.normalize(s.maxContentBytes); err != nil {
		return err
	}
	return coded(s.references().Write(ctx, func() error { return try(draft) }))
}

// references returns what does the writes of one request that refer to tags.
func (s *Service) references() *changefeed.References {
	return &changefeed.References{CatchUp: s.catchUp}
}
