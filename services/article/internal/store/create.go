package store

import (
	"context"
	"slices"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/search"
)

// Create implements article.Store.
func (s *Store) Create(ctx context.Context, draft article.Draft, key idempotency.Key) (article.Article, bool, error) {
	created, replayed, err := s.create(ctx, []article.Draft{draft}, key, whole)
	if err != nil {
		return article.Article{}, false, err
	}
	return created[0], replayed, nil
}

// CreateAll implements article.Store.
func (s *Store) CreateAll(ctx context.Context, drafts []article.Draft, key idempotency.Key) ([]article.Article, bool, error) {
	return s.create(ctx, drafts, key, withoutContent)
}

// Claim implements article.Store.
func (s *Store) Claim(ctx context.Context, key idempotency.Key) error {
	return replay.Claim(ctx, s.db, key, s.retention)
}

// create creates articles, and returns, and stores under the key, what shown returns of their
// rows.
func (s *Store) create(ctx context.Context, drafts []article.Draft, key idempotency.Key, shown func(articleRow) articleRow) ([]article.Article, bool, error) {
	created, replayed, err := replay.Create(ctx, s.db, key, s.retention,
		func(tx *gorm.DB) ([]article.Article, error) { return s.createIn(tx, drafts, shown) }, s.announceNew)
	return created, replayed, s.unknownTags(ctx, tagIDs(drafts...), err)
}

// createIn inserts articles with all that belongs to them, except what announceNew adds.
func (s *Store) createIn(tx *gorm.DB, drafts []article.Draft, shown func(articleRow) articleRow) ([]article.Article, error) {
	tags, err := s.existingTags(tx, tagIDs(drafts...))
	if err != nil {
		return nil, err
	}
	rows, err := s.insertAll(tx, drafts)
	if err != nil {
		return nil, err
	}
	created := make([]article.Article, 0, len(rows))
	for i, row := range rows {
		created = append(created, shown(row).article(among(tags, tagIDs(drafts[i])))) // #nosec G602 -- a row for each draft
	}
	return created, nil
}

// whole returns the row as it is.
func whole(row articleRow) articleRow { return row }

// withoutContent returns the row without its content.
func withoutContent(row articleRow) articleRow {
	row.Content = ""
	return row
}

// tagIDs returns the ids of the tags of drafts, each once, in ascending order.
func tagIDs(drafts ...article.Draft) (ids []uint64) {
	for _, d := range drafts {
		if d.TagIDs != nil {
			ids = append(ids, *d.TagIDs...)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// among returns the tags that have one of the ids.
func among(tags []article.Tag, ids []uint64) (found []article.Tag) {
	for _, t := range tags {
		if slices.Contains(ids, t.ID) {
			found = append(found, t)
		}
	}
	return found
}

// insertAll inserts articles with their associations, the entries of the indexes, and their
// slugs.
func (s *Store) insertAll(tx *gorm.DB, drafts []article.Draft) ([]articleRow, error) {
	rows := make([]articleRow, len(drafts))
	var tagged []articleTagRow
	var entries []titleEntry
	for i, draft := range drafts {
		row := &rows[i]
		row.CreatedBy, row.CreatedAt = draft.Actor, tx.NowFunc()
		row.apply(draft)
		if _, err := s.setPublication(tx, row, draft); err != nil {
			return nil, err
		}
		if err := s.keepCover(tx, draft.CoverFileID); err != nil {
			return nil, err
		}
		row.Slug = firstSlug(draft)
		row.touch(draft.Actor)
		if err := s.insert(tx, row); err != nil {
			return nil, err
		}
		tagged = append(tagged, newAssociations(*row, tagIDs(draft))...)
		entries = appendEntries(entries, row.ID, search.Grams(row.Title))
	}
	if err := s.associate(tx, tagged); err != nil {
		return nil, err
	}
	if _, err := s.addEntries(tx, entries); err != nil {
		return nil, err
	}
	for i := range rows {
		if err := s.setWords(tx, rows[i].ID, rows[i].words()); err != nil {
			return nil, err
		}
	}
	return rows, s.nameNew(tx, rows, drafts)
}

// announceNew adds the changes of new articles to the outbox, and counts them.
func (s *Store) announceNew(tx *gorm.DB, created []article.Article) error {
	var added []any
	changes := counts{}
	for _, a := range created {
		added = append(added, change(a.ID, article.Disabled, a.State)...)
		ids := make([]uint64, 0, len(a.Tags))
		for _, t := range a.Tags {
			ids = append(ids, t.ID)
		}
		changes.add(1, a.State, ids)
	}
	if err := s.feed.add(tx, added...); err != nil {
		return err
	}
	return s.count(tx, changes)
}
