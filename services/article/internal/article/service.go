package article

import (
	"context"
	"errors"

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
	if draft.State == nil {
		draft.State = new(Enabled)
	}
	err = s.write(ctx, draft, func(draft Draft) (err error) {
		created, replayed, err = s.store.Create(ctx, draft, key)
		return err
	})
	return created, replayed, err
}

// Get returns an article that the viewer may see.
func (s *Service) Get(ctx context.Context, viewer Viewer, id uint64) (Article, error) {
	found, err := s.store.Get(ctx, id)
	if err != nil {
		return Article{}, err
	}
	found, ok := found.visible(viewer)
	if !ok {
		return Article{}, errcode.New(errcode.ArticleNotFound)
	}
	return found, nil
}

// List returns a page of the articles that the viewer may see, and their total
// number.
func (s *Service) List(ctx context.Context, viewer Viewer, filter Filter, page Page) ([]Article, int64, error) {
	if viewer == Anonymous {
		if filter.State != nil && *filter.State != Enabled {
			return nil, 0, ErrUnauthenticated
		}
		filter.State, filter.TagEnabled = new(Enabled), true
	}
	articles, total, err := s.store.List(ctx, filter, page)
	for i := range articles {
		articles[i], _ = articles[i].visible(viewer)
	}
	return articles, total, err
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

// write calls try. If a tag is unknown, it may have been created a moment ago, so
// write updates the read model of the tags and tries once more.
func (s *Service) write(ctx context.Context, draft Draft, try func(Draft) error) error {
	if err := draft.normalize(s.maxContentBytes); err != nil {
		return err
	}
	err := try(draft)
	var unknown *UnknownTagsError
	if !errors.As(err, &unknown) {
		return err
	}
	if err := s.catchUp(ctx); err != nil {
		return err
	}
	if err = try(draft); errors.As(err, &unknown) {
		return unknown.coded()
	}
	return err
}
