// Package store stores articles and the read model of the tags in SQL. It returns
// neither rows nor errors of a driver.
package store

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

// largestID is the largest id that SQLite's integers can hold.
const largestID = math.MaxInt64

// Store implements article.Store, article.FeedStore and, by the read model of the tags,
// follow.ReadModel on MySQL, MariaDB and SQLite.
type Store struct {
	*tagfeed.ReadModel
	db        *database.DB
	retention time.Duration
	// Searches have their own group, so that they don't fill the queue of other lists.
	lists, searches *coalesce.Group[listKey, *article.SharedList]
	scans           scanLimits
	tagLists        *coalesce.Group[tagsKey, *article.TagList]
	limits          searchLimits
	reindex         reindexLimits
	maxScheduled    int

	articles, withoutContent     *coalesce.Group[uint64, *article.Shared]
	bySlug, bySlugWithoutContent *coalesce.Group[string, *article.Shared]
	tagNames                     *coalesce.Group[string, article.Tag]

	feed feed
}

var _ article.Store = (*Store)(nil)

// New returns a Store on a database with the current schema. A POST under an
// Idempotency-Key can be repeated for the given retention.
func New(db *database.DB, retention time.Duration) *Store {
	s := &Store{
		ReadModel: tagfeed.NewReadModel(db, removeTags), db: db, retention: retention, maxScheduled: article.MaxScheduled,
		scans: defaultScanLimits(), limits: defaultSearchLimits(), reindex: defaultReindexLimits(),
	}
	s.articles, s.withoutContent = s.shared(sharedContent()), s.shared(noContent)
	s.lists, s.searches, s.tagLists = newLists(s), newSearches(s), newTagLists(s)
	s.feed = newFeed(s)
	s.bySlug, s.bySlugWithoutContent = s.sharedBySlug(sharedContent()), s.sharedBySlug(noContent)
	s.tagNames = newTagNames(s)
	return s
}

// insert inserts an article, and sets its id and the time of its last change.
func (s *Store) insert(tx *gorm.DB, row *articleRow) (err error) {
	row.UpdatedAt = row.CreatedAt
	row.ID, err = s.db.Insert(tx, "article",
		[]string{"created_at", "created_by", "updated_at", "updated_by", "published_at", "title", "slug", "desc", "cover_image_url", "cover_file_id", "content", "state", "revision"},
		row.CreatedAt, row.CreatedBy, row.UpdatedAt, row.UpdatedBy, row.PublishedAt, row.Title, row.Slug, row.Desc, row.CoverImageURL, row.CoverFileID, row.Content, row.State, row.Revision)
	return err
}

// Update implements article.Store.
func (s *Store) Update(ctx context.Context, id uint64, draft article.Draft, precondition article.Precondition) (updated article.Article, err error) {
	err = s.db.InTx(ctx, func(tx *gorm.DB) (err error) {
		updated, err = s.updateIn(tx, id, draft, precondition)
		return err
	})
	return updated, s.unknownTags(ctx, tagIDs(draft), err)
}

// updateIn is Update in a transaction.
func (s *Store) updateIn(tx *gorm.DB, id uint64, draft article.Draft, precondition article.Precondition) (article.Article, error) {
	row, have, err := s.locked(tx, id, precondition)
	if err != nil {
		return article.Article{}, err
	}
	changes, err := s.publishIfDue(tx, &row, have)
	if err != nil {
		return article.Article{}, err
	}
	before := row
	changed := row.apply(draft)
	published, err := s.setPublication(tx, &row, draft)
	if err != nil {
		return article.Article{}, err
	}
	changed = append(changed, published...)
	renamed, err := s.rename(tx, &row, draft.Slug)
	if err != nil {
		return article.Article{}, err
	}
	changed = append(changed, renamed...)
	kept, gone := have, associations(nil)
	var added []uint64
	if draft.TagIDs != nil {
		kept, gone = have.split(*draft.TagIDs)
		added = without(*draft.TagIDs, have.tagIDs())
	}
	tags, err := s.existingTags(tx, added)
	if err == nil {
		err = s.keepCover(tx, draft.CoverFileID)
	}
	if err != nil {
		return article.Article{}, err
	}
	updated := row.article(kept.tags(tags))
	if len(changed)+len(gone)+len(added) == 0 {
		return updated, s.count(tx, changes)
	}
	if err := gone.remove(tx); err != nil {
		return article.Article{}, err
	}
	if len(published) > 0 {
		if err := kept.setPublication(tx, row); err != nil {
			return article.Article{}, err
		}
	}
	if err := s.associate(tx, newAssociations(row, added)); err != nil {
		return article.Article{}, err
	}
	if err := tx.Select(append(changed, row.touch(draft.Actor)...)).Updates(&row).Error; err != nil {
		return article.Article{}, err
	}
	if err := s.index(tx, id, before, row); err != nil {
		return article.Article{}, err
	}
	updated = row.article(updated.Tags)
	if err := s.addChange(tx, id, before.State, row.State); err != nil {
		return article.Article{}, err
	}
	changes.add(-1, before.State, have.tagIDs())
	changes.add(1, row.State, append(kept.tagIDs(), added...))
	return updated, s.count(tx, changes)
}

// locked returns the article's row, if the precondition allows it, and locks it until
// the transaction ends. It returns its associations without a lock: a tag may be deleted
// at any time.
func (s *Store) locked(tx *gorm.DB, id uint64, precondition article.Precondition) (articleRow, associations, error) {
	var row articleRow
	if err := mapNotFound(tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Take(&row, id).Error); err != nil {
		return row, nil, err
	}
	have, err := s.associationsOf(tx, id)
	if err == nil && precondition != nil {
		err = precondition(row.article(have.tags(nil)).Version())
	}
	return row, have, err
}

// existingTags returns the tags with these ids, or an *article.UnknownTagsError if one of
// them does not exist.
func (s *Store) existingTags(tx *gorm.DB, ids []uint64) (tags []article.Tag, err error) {
	possible := make([]any, 0, len(ids))
	for _, id := range ids {
		if id <= largestID {
			possible = append(possible, id)
		}
	}
	if len(possible) > 0 {
		query := "SELECT id, name, state FROM " + s.db.Table("tag_projection") + " WHERE id IN (?" + strings.Repeat(", ?", len(possible)-1) + ") ORDER BY id"
		if err := s.db.QueryIn(tx, query, possible, func(rows *sql.Rows) error {
			tags = append(tags, article.Tag{})
			t := &tags[len(tags)-1]
			return rows.Scan(&t.ID, &t.Name, &t.State)
		}); err != nil {
			return nil, err
		}
	}
	known := make([]uint64, 0, len(tags))
	for _, t := range tags {
		known = append(known, t.ID)
	}
	if unknown := without(ids, known); len(unknown) > 0 {
		return nil, &article.UnknownTagsError{IDs: unknown}
	}
	return tags, nil
}

// unknownTags converts the error of a foreign key to an UnknownTagsError: a tag with one of
// the ids was deleted during the write. If the tags exist again, it is Conflict.
func (s *Store) unknownTags(ctx context.Context, ids []uint64, err error) error {
	if !errors.Is(err, database.ErrForeignKey) {
		return err
	}
	unknown := s.db.ForWrites().Read(ctx, func(db *gorm.DB) error { _, err := s.existingTags(db, ids); return err })
	if unknown == nil {
		return &errcode.Error{Code: errcode.Conflict, Cause: err}
	}
	return unknown
}

// without returns the values that are not among others, in their order.
func without[T comparable](values, others []T) []T {
	known := make(map[T]bool, len(others))
	for _, v := range others {
		known[v] = true
	}
	var rest []T
	for _, v := range values {
		if !known[v] {
			rest = append(rest, v)
		}
	}
	return rest
}

// ContentSizes implements article.Store.
func (s *Store) ContentSizes(ctx context.Context, ids []uint64) (map[uint64]int64, error) {
	return s.contentSizes(ctx, s.db, ids)
}

// ContentSizeForUpdate implements article.Store.
func (s *Store) ContentSizeForUpdate(ctx context.Context, id uint64) (int64, error) {
	sizes, err := s.contentSizes(ctx, s.db.ForWrites(), []uint64{id})
	return sizes[id], err
}

func (s *Store) contentSizes(ctx context.Context, db *database.DB, ids []uint64) (map[uint64]int64, error) {
	var rows []struct {
		ID   uint64
		Size int64
	}
	err := db.Read(ctx, func(db *gorm.DB) error {
		return db.Model(&articleRow{}).Select("id", contentSize+" AS size").Where("id IN ?", ids).Scan(&rows).Error
	})
	sizes := make(map[uint64]int64, len(rows))
	for _, row := range rows {
		sizes[row.ID] = row.Size
	}
	return sizes, err
}

// Contents implements article.Store.
func (s *Store) Contents(ctx context.Context, ids []uint64) (map[uint64]article.Content, error) {
	var rows []articleRow
	db := s.db
	if len(ids) > 1 {
		db = db.Expensive()
	}
	err := db.Read(ctx, func(db *gorm.DB) error {
		return db.Select("id", "revision", "content").Where("id IN ?", ids).Find(&rows).Error
	})
	contents := make(map[uint64]article.Content, len(rows))
	for _, row := range rows {
		contents[row.ID] = article.Content{Revision: row.Revision, Text: row.Content}
	}
	return contents, err
}

// Delete implements article.Store.
func (s *Store) Delete(ctx context.Context, id uint64, actor string, precondition article.Precondition) error {
	return s.db.InTx(ctx, func(tx *gorm.DB) error {
		row, have, err := s.locked(tx, id, precondition)
		if err != nil {
			return err
		}
		changes, err := s.publishIfDue(tx, &row, have)
		if err != nil {
			return err
		}
		if err := have.remove(tx); err != nil {
			return err
		}
		if err := tx.Model(&row).Updates(map[string]any{"is_deleted": 1, "updated_at": tx.NowFunc(), "updated_by": actor}).Error; err != nil {
			return err
		}
		if err := s.index(tx, id, row, articleRow{}); err != nil {
			return err
		}
		if err := s.releaseAll(tx, id); err != nil {
			return err
		}
		if err := s.addChange(tx, id, row.State, article.Disabled); err != nil {
			return err
		}
		changes.add(-1, row.State, have.tagIDs())
		return s.count(tx, changes)
	})
}

func mapNotFound(err error) error {
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return errcode.Wrap(errcode.ArticleNotFound, err)
	}
	return err
}
