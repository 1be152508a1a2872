package article

import (
	"context"
	"errors"
)

// Service is what the article service does.
type Service struct {
	store           Store
	catchUp         func(context.Context) error
	maxContentBytes int
}

// NewService returns a service on the given store. catchUp brings the copy of
// the tags up to date with all that is committed when it is called.
func NewService(store Store, catchUp func(context.Context) error, maxContentBytes int) *Service {
	return &Service{store: store, catchUp: catchUp, maxContentBytes: maxContentBytes}
}

// Create makes an article, enabled unless the draft says otherwise.
func (s *Service) Create(ctx context.Context, draft Draft) (Article, error) {
	if draft.State == nil {
		enabled := Enabled
		draft.State = &enabled
	}
	return s.write(ctx, draft, func(draft Draft) (Article, error) { return s.store.Create(ctx, draft) })
}

// Get returns one article.
func (s *Service) Get(ctx context.Context, id uint64) (Article, error) {
	return s.store.Get(ctx, id)
}

// List returns a page of the articles and the number of all that pass.
func (s *Service) List(ctx context.Context, filter Filter, page Page) ([]Article, int64, error) {
	return s.store.List(ctx, filter, page)
}

// Update replaces what the draft has.
func (s *Service) Update(ctx context.Context, id uint64, draft Draft, precondition Precondition) (Article, error) {
	return s.write(ctx, draft, func(draft Draft) (Article, error) { return s.store.Update(ctx, id, draft, precondition) })
}

// Delete removes an article.
func (s *Service) Delete(ctx context.Context, id uint64, actor string, precondition Precondition) error {
	return s.store.Delete(ctx, id, actor, precondition)
}

// write tries once more after catching up with the tags when one is unknown:
// it may have been created a moment ago.
func (s *Service) write(ctx context.Context, draft Draft, try func(Draft) (Article, error)) (Article, error) {
	if err := draft.normalize(s.maxContentBytes); err != nil {
		return Article{}, err
	}
	written, err := try(draft)
	var unknown *UnknownTagsError
	if !errors.As(err, &unknown) {
		return written, err
	}
	if err := s.catchUp(ctx); err != nil {
		return Article{}, err
	}
	if written, err = try(draft); errors.As(err, &unknown) {
		return Article{}, unknown.coded()
	}
	return written, err
}
