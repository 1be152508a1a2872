package tag

import (
	"context"
	"time"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

// Service implements the tag service on a Store.
type Service struct {
	store Store
	feed  *changefeed.Watcher
}

// NewService returns a Service. feed wakes readers of the feed after each change.
func NewService(store Store, feed *changefeed.Watcher) *Service {
	return &Service{store: store, feed: feed}
}

// Create creates a tag, enabled unless the draft has another state. See
// Store.Create for key and replayed.
func (s *Service) Create(ctx context.Context, draft Draft, key idempotency.Key) (created Tag, replayed bool, err error) {
	draft.setDefaults()
	created, replayed, err = s.store.Create(ctx, draft, key)
	return created, replayed, s.notify(err)
}

// Get returns a tag that the viewer may see. A tag that the viewer may not see costs
// the same query as one that doesn't exist, so the time of the response doesn't tell
// them apart.
func (s *Service) Get(ctx context.Context, viewer Viewer, id uint64) (*Shared, error) {
	found, err := s.store.Get(ctx, id)
	if err == nil && !found.visible(viewer) {
		return nil, errcode.New(errcode.TagNotFound)
	}
	return found, err
}

// List returns a page of the tags that the viewer may see, and their total number.
func (s *Service) List(ctx context.Context, viewer Viewer, filter Filter, page Page) (*List, error) {
	if viewer == Anonymous {
		if filter.State != nil && *filter.State != Enabled {
			return nil, ErrUnauthenticated
		}
		filter.State = new(Enabled)
	}
	return s.store.List(ctx, filter, page)
}

// Update replaces the fields of the tag that the draft has.
func (s *Service) Update(ctx context.Context, id uint64, draft Draft, precondition Precondition) (Tag, error) {
	updated, err := s.store.Update(ctx, id, draft, precondition)
	return updated, s.notify(err)
}

// Delete removes a tag.
func (s *Service) Delete(ctx context.Context, id uint64, actor string, precondition Precondition) error {
	return s.notify(s.store.Delete(ctx, id, actor, precondition))
}

// notify wakes the readers of the feed, on this and other replicas, unless the
// write failed. It returns err.
func (s *Service) notify(err error) error {
	if err == nil {
		s.feed.Changed()
	}
	return err
}

// Changes returns the changes after an offset. If there are none, it waits for
// one, at most as long as wait; see changefeed.Poll.
func (s *Service) Changes(ctx context.Context, after uint64, limit int, wait time.Duration) (Changes, error) {
	return changefeed.Poll(ctx, s.feed, changefeed.Request{After: after, Wait: wait}, func(ctx context.Context) (Changes, error) {
		return s.store.Changes(ctx, after, limit)
	})
}

// Snapshot returns all tags as of one offset in the feed.
func (s *Service) Snapshot(ctx context.Context) (Snapshot, error) {
	return s.store.Snapshot(ctx)
}
