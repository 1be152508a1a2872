package article

import (
	"context"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

// Change is an entry of the feed of changes as a viewer sees it. The feed of anonymous
// viewers has numbers of its own.
type Change struct {
	// Sequence numbers the changes of the feed from 1, without gaps.
	Sequence uint64
	ID       uint64
	// Article is the article as it is now, without its content; nil if it is deleted, or the
	// viewer doesn't see it.
	Article *Article
}

// Number implements changefeed.Entry.
func (c Change) Number() uint64 { return c.Sequence }

// Kind says what the change means to the viewer.
func (c Change) Kind() changefeed.Kind {
	if c.Article == nil {
		return changefeed.Delete
	}
	return changefeed.Put
}

// Changes is a part of the feed.
type Changes = changefeed.Changes[Change]

// FeedStore stores the feed of changes. Its errors are those of the context, or an
// errcode.Error with ChangesTrimmed or Unavailable.
type FeedStore interface {
	// Changes returns at most limit changes after an offset, in order and without gaps, with
	// all that was committed before the call, or ChangesTrimmed if some of them have been
	// removed or the epoch is another one. An empty epoch is that of the feed. All changes
	// show the articles as of one moment.
	Changes(ctx context.Context, viewer Viewer, after changefeed.Offset, limit int) (Changes, error)
	// LastChange returns the newest offset.
	LastChange(ctx context.Context, viewer Viewer) (changefeed.Offset, error)
}

// Feed is the feed of changes.
type Feed struct {
	store    FeedStore
	watchers map[Viewer]*changefeed.Watcher
}

// NewFeed returns a Feed. The watchers are those of the feeds of both viewers.
func NewFeed(store FeedStore, anonymous, authenticated *changefeed.Watcher) *Feed {
	return &Feed{store, map[Viewer]*changefeed.Watcher{Anonymous: anonymous, Authenticated: authenticated}}
}

// Watcher returns the watcher of a viewer's feed.
func (f *Feed) Watcher(viewer Viewer) *changefeed.Watcher { return f.watchers[viewer] }

// Changes returns at most limit changes after an offset, as the viewer sees them. Their
// articles are as of one moment, so a viewer who applies all changes in order has the newest
// state.
func (f *Feed) Changes(ctx context.Context, viewer Viewer, after changefeed.Offset, limit int) (Changes, error) {
	found, err := f.store.Changes(ctx, viewer, after, limit)
	if err != nil {
		return Changes{}, err
	}
	for i := range found.Changes {
		change := &found.Changes[i]
		if change.Article == nil {
			continue
		}
		seen, visible := change.Article.visible(viewer)
		if change.Article = &seen; !visible {
			change.Article = nil
		}
	}
	return found, nil
}

// LastChange returns the newest offset of a viewer's feed.
func (f *Feed) LastChange(ctx context.Context, viewer Viewer) (changefeed.Offset, error) {
	return f.store.LastChange(ctx, viewer)
}

// Changed wakes the readers of the feed.
func (f *Feed) Changed() {
	for _, w := range f.watchers {
		w.Changed()
	}
}

// Announcing returns a Store that wakes the readers of the feed after each write.
func (f *Feed) Announcing(store Store) Store { return announcing{store, f} }

type announcing struct {
	Store
	feed *Feed
}

func (a announcing) Create(ctx context.Context, draft Draft, key idempotency.Key) (Article, bool, error) {
	created, replayed, err := a.Store.Create(ctx, draft, key)
	return created, replayed, a.announce(err)
}

func (a announcing) CreateAll(ctx context.Context, drafts []Draft, key idempotency.Key) ([]Article, bool, error) {
	created, replayed, err := a.Store.CreateAll(ctx, drafts, key)
	return created, replayed, a.announce(err)
}

func (a announcing) Update(ctx context.Context, id uint64, draft Draft, precondition Precondition) (Article, error) {
	updated, err := a.Store.Update(ctx, id, draft, precondition)
	return updated, a.announce(err)
}

func (a announcing) Delete(ctx context.Context, id uint64, actor string, precondition Precondition) error {
	return a.announce(a.Store.Delete(ctx, id, actor, precondition))
}

func (a announcing) announce(err error) error {
	if err == nil {
		a.feed.Changed()
	}
	return err
}
