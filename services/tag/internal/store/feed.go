package store

import (
	"context"
	"database/sql"
	"time"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/sqlfeed"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// Feed returns the feed of changes.
func Feed(db *database.DB) sqlfeed.Feed {
	return sqlfeed.Feed{DB: db, Changes: "tag_change", Number: "sequence", Sequence: "tag_sequence", Last: "value"}
}

// appendChanges appends changes of tags to the feed, and changes the counters. It must be
// called last; see sqlfeed.Feed.Append.
func (s *Store) appendChanges(tx *gorm.DB, kind changefeed.Kind, more counts, tags ...tag.Tag) error {
	values := make([]any, 0, 4*len(tags))
	for _, t := range tags {
		values = append(values, t.ID, kind, t.Name, t.State)
	}
	return s.feed.Append(tx, ", enabled_tags = enabled_tags + ?, disabled_tags = disabled_tags + ?", []any{more.EnabledTags, more.DisabledTags},
		[]string{"tag_id", "kind", "name", "state"}, values...)
}

// Changes implements tag.Store.
func (s *Store) Changes(ctx context.Context, after uint64, limit int) (found tag.Changes, err error) {
	err = s.db.Snapshot(ctx, func(tx *gorm.DB) (err error) {
		found, err = sqlfeed.Read(s.feed, tx, changefeed.Offset{Sequence: after}, limit, "tag_id, kind, name, state", func(rows *sql.Rows) (c tag.Change, err error) {
			return c, rows.Scan(&c.Sequence, &c.TagID, &c.Kind, &c.Name, &c.State)
		})
		return err
	})
	return found, err
}

// LastChange implements tag.Store.
func (s *Store) LastChange(ctx context.Context) (uint64, error) {
	head, err := s.feed.Head(ctx)
	return head.Last, err
}

const (
	// snapshotTimeout bounds the reading of all tags. It is above the timeout of
	// other reads, because a snapshot that takes longer would fail each time.
	snapshotTimeout = 10 * time.Second
	snapshotBatch   = 1000
)

// Snapshot implements tag.Store.
func (s *Store) Snapshot(ctx context.Context) (snapshot tag.Snapshot, err error) {
	err = s.feed.Snapshot(ctx, snapshotTimeout, func(tx *gorm.DB, head sqlfeed.Head) error {
		snapshot = tag.Snapshot{Epoch: head.Epoch, Sequence: head.Last, Tags: []tag.Tag{}}
		var rows []tagRow
		// In batches, because each statement has a timeout, too.
		return tx.FindInBatches(&rows, snapshotBatch, func(*gorm.DB, int) error {
			for _, row := range rows {
				snapshot.Tags = append(snapshot.Tags, row.tag())
			}
			return nil
		}).Error
	})
	return snapshot, err
}

// Trim implements tag.Store.
func (s *Store) Trim(ctx context.Context, before time.Time, limit int) (int64, error) {
	return s.feed.Trim(ctx, before, limit)
}
