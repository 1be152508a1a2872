package store

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/sqlfeed"
	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// publishInterval is the time between two looks at the outbox while nobody reads the feed.
const publishInterval = time.Second

var _ article.FeedStore = (*Store)(nil)

// feed is the feed of changes.
type feed struct {
	// all has every change, public those of articles that everybody has seen before or sees
	// after.
	all, public sqlfeed.Feed
	outbox      *sqlfeed.Outbox
	add         func(tx *gorm.DB, values ...any) error // changes, in the transaction of their writes
	reads       *coalesce.Group[feedKey, article.Changes]
}

// feedKey is what a read of the feed depends on.
type feedKey struct {
	viewer article.Viewer
	after  changefeed.Offset
	limit  int
}

// Feed returns the feed of all changes.
func Feed(db *database.DB) sqlfeed.Feed {
	return sqlfeed.Feed{DB: db, Changes: "article_change", Number: "sequence", Sequence: "article_sequence", Last: "value"}
}

func newFeed(s *Store) feed {
	all := Feed(s.db)
	public := all
	public.Number, public.Index, public.Last, public.EpochPrefix = "public_sequence", "article_change_public", "public_value", "p"
	outbox := sqlfeed.NewOutbox(all, sqlfeed.OutboxConfig{
		Table: "article_outbox", Columns: []string{"article_id", "visible_before", "visible_after"},
		Part: &public, InPart: "visible_before + visible_after > 0",
	})
	return feed{
		all: all, public: public, outbox: outbox, add: outbox.Add,
		reads: coalesce.NewSingle(coalesce.Config{MaxWaiting: maxListsWaiting, Timeout: s.db.Timeout()}, s.changes),
	}
}

// of returns the feed of a viewer.
func (f *feed) of(viewer article.Viewer) sqlfeed.Feed {
	if viewer == article.Authenticated {
		return f.all
	}
	return f.public
}

// addChange adds the change of an article from one state to another to the outbox. Everybody sees
// it in the state article.Enabled only. A state of an article that doesn't exist is article.Disabled. The article must be locked.
func (s *Store) addChange(tx *gorm.DB, id uint64, before, after article.State) error {
	return s.feed.add(tx, change(id, before, after)...)
}

// change returns the values of a change in the outbox; see addChange.
func change(id uint64, before, after article.State) []any {
	return []any{id, before == article.Enabled, after == article.Enabled}
}

// Changes implements article.FeedStore. Calls that wait at the same time share a read.
func (s *Store) Changes(ctx context.Context, viewer article.Viewer, after changefeed.Offset, limit int) (article.Changes, error) {
	found, _, err := s.feed.reads.Get(ctx, feedKey{viewer, after, limit})
	found.Changes = slices.Clone(found.Changes)
	return found, err
}

// changes reads changes, all of which were numbered before the snapshot began. So the
// snapshot has their writes, even if it is not atomic; see sqlfeed.Read.
func (s *Store) changes(ctx context.Context, key feedKey) (found article.Changes, err error) {
	numbers, err := s.feed.outbox.Publish(ctx)
	if err != nil {
		return found, err
	}
	upTo := numbers.Last
	if key.viewer == article.Anonymous {
		upTo = numbers.Part
	}
	err = s.db.Snapshot(ctx, func(tx *gorm.DB) error {
		found, err = sqlfeed.Read(s.feed.of(key.viewer), tx, key.after, key.limit, "article_id", func(rows *sql.Rows) (c article.Change, err error) {
			return c, rows.Scan(&c.Sequence, &c.ID)
		})
		if err != nil {
			return err
		}
		found.Changes = slices.DeleteFunc(found.Changes, func(c article.Change) bool { return c.Sequence > upTo })
		return s.fillIn(tx, found.Changes)
	})
	return found, err
}

// fillIn sets the articles of changes that are not deleted.
func (s *Store) fillIn(tx *gorm.DB, changes []article.Change) error {
	if len(changes) == 0 {
		return nil
	}
	ids := make([]uint64, 0, len(changes))
	for _, c := range changes {
		ids = append(ids, c.ID)
	}
	slices.Sort(ids)
	found, err := s.readPage(tx, slices.Compact(ids), s.now(), article.Order{})
	byID := make(map[uint64]*article.Article, len(found.articles))
	for i := range found.articles {
		byID[found.articles[i].ID] = &found.articles[i]
	}
	for i := range changes {
		changes[i].Article = byID[changes[i].ID]
	}
	return err
}

// LastChange implements article.FeedStore.
func (s *Store) LastChange(ctx context.Context, viewer article.Viewer) (changefeed.Offset, error) {
	if _, err := s.feed.outbox.Publish(ctx); err != nil {
		return changefeed.Offset{}, err
	}
	head, err := s.feed.of(viewer).Head(ctx)
	return changefeed.Offset{Epoch: head.Epoch, Sequence: head.Last}, err
}

// LastNumber returns a function that returns the number of the newest change of a viewer's
// feed.
func (s *Store) LastNumber(viewer article.Viewer) func(context.Context) (uint64, error) {
	return func(ctx context.Context) (uint64, error) {
		numbers, err := s.feed.outbox.Publish(ctx)
		if viewer == article.Anonymous {
			return numbers.Part, err
		}
		return numbers.Last, err
	}
}

// PublishChanges moves changes from the outbox to the feed until ctx ends, so that the
// outbox stays small while nobody reads the feed. It returns nil.
func (s *Store) PublishChanges(ctx context.Context) error {
	ticker := time.NewTicker(publishInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			_, _ = s.feed.outbox.Publish(ctx) // whoever reads the feed gets the error, if it persists
		}
	}
}

// TrimChanges removes changes from the feed; see sqlfeed.Feed.Trim.
func (s *Store) TrimChanges(ctx context.Context, before time.Time, limit int) (int64, error) {
	return s.feed.all.Trim(ctx, before, limit)
}
