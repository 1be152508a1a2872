package tag

import (
	"context"
	"time"
)

// Options are what a Service needs beside its store.
type Options struct {
	// Changed is rung by whoever learns of a change, this process or another.
	Changed *Broadcaster
	// Announce tells the other replicas of a change made here; it must not
	// block. May be nil.
	Announce func()
	// PollInterval is how often a waiting reader looks for changes of which
	// no bell told it.
	PollInterval time.Duration
	// Draining ends all waiting when it is closed.
	Draining <-chan struct{}
}

// Service is what the tag service does.
type Service struct {
	store   Store
	options Options
}

// NewService returns a service on the given store.
func NewService(store Store, options Options) *Service {
	return &Service{store: store, options: options}
}

// Create makes a tag, enabled unless the draft says otherwise.
func (s *Service) Create(ctx context.Context, draft Draft) (Tag, error) {
	if draft.State == nil {
		enabled := Enabled
		draft.State = &enabled
	}
	created, err := s.store.Create(ctx, draft)
	return created, s.written(err)
}

// Get returns one tag.
func (s *Service) Get(ctx context.Context, id uint64) (Tag, error) {
	return s.store.Get(ctx, id)
}

// List returns a page of the tags and the number of all that pass the filter.
func (s *Service) List(ctx context.Context, filter Filter, page Page) ([]Tag, int64, error) {
	return s.store.List(ctx, filter, page)
}

// Update replaces the tag's name, and its state if the draft has one.
func (s *Service) Update(ctx context.Context, id uint64, draft Draft, precondition Precondition) (Tag, error) {
	updated, err := s.store.Update(ctx, id, draft, precondition)
	return updated, s.written(err)
}

// Delete removes a tag.
func (s *Service) Delete(ctx context.Context, id uint64, actor string, precondition Precondition) error {
	return s.written(s.store.Delete(ctx, id, actor, precondition))
}

// written tells everyone who waits for changes, here and elsewhere.
func (s *Service) written(err error) error {
	if err != nil {
		return err
	}
	s.options.Changed.Broadcast()
	if s.options.Announce != nil {
		s.options.Announce()
	}
	return nil
}

// Changes returns what follows the position after. With nothing there it waits
// for up to wait, and then returns no changes; a drain ends the wait as well,
// so that a reader moves on to another replica.
func (s *Service) Changes(ctx context.Context, after uint64, limit int, wait time.Duration) (Changes, error) {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for {
		changed := s.options.Changed.Next()
		found, err := s.store.Changes(ctx, after, limit)
		if err != nil || len(found.Changes) > 0 || wait <= 0 {
			return found, err
		}
		poll := time.NewTimer(s.options.PollInterval)
		select {
		case <-changed:
		case <-poll.C:
		case <-deadline.C:
			wait = 0
		case <-s.options.Draining:
			wait = 0
		case <-ctx.Done():
		}
		poll.Stop()
	}
}

// Snapshot returns all tags as of one position in the feed.
func (s *Service) Snapshot(ctx context.Context) (Snapshot, error) {
	return s.store.Snapshot(ctx)
}
