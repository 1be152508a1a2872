package store

import (
	"cmp"
	"context"
	"slices"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/batch"
	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// Create implements tag.Store.
func (s *Store) Create(ctx context.Context, draft tag.Draft, key idempotency.Key) (tag.Tag, bool, error) {
	created, replayed, err := s.CreateAll(ctx, []tag.Draft{draft}, key)
	if err != nil {
		return tag.Tag{}, false, err
	}
	return created[0], replayed, nil
}

// CreateAll implements tag.Store.
func (s *Store) CreateAll(ctx context.Context, drafts []tag.Draft, key idempotency.Key) (created []tag.Tag, replayed bool, err error) {
	return replay.Create(ctx, s.db, key, s.retention, func(tx *gorm.DB) ([]tag.Tag, error) {
		return s.insertAll(tx, drafts)
	}, func(tx *gorm.DB, created []tag.Tag) error {
		var more counts
		for _, t := range created {
			more = more.plus(t.State, 1)
		}
		return s.appendChanges(tx, changefeed.Put, more, created...)
	})
}

// Claim implements tag.Store.
func (s *Store) Claim(ctx context.Context, key idempotency.Key) error {
	return replay.Claim(ctx, s.db, key, s.retention)
}

// insertAll inserts tags, and returns them in the order of the drafts. Names are locked in
// their order, which prevents deadlocks.
func (s *Store) insertAll(tx *gorm.DB, drafts []tag.Draft) ([]tag.Tag, error) {
	order := make([]int, len(drafts))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(*drafts[a].Name, *drafts[b].Name) })
	created := make([]tag.Tag, len(drafts))
	for _, i := range order {
		row := tagRow{CreatedBy: drafts[i].Actor}
		row.apply(drafts[i])
		row.touch(drafts[i].Actor)
		if err := s.insert(tx, &row); err != nil {
			return nil, batch.Errors{{Index: i, Err: mapNameExists(err)}}
		}
		created[i] = row.tag()
	}
	return created, nil
}
