// Package store stores articles and the read model of the tags in SQL. It returns
// neither rows nor errors of a driver.
package store

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/pkg/idempotency/replay"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// largestID is the largest id that SQLite's integers can hold.
const largestID = math.MaxInt64

// Store implements article.Store and tagfeed.ReadModel on MySQL, MariaDB and SQLite.
type Store struct {
	db        *database.DB
	retention time.Duration
}

var _ article.Store = (*Store)(nil)

// New returns a Store on a database with the current schema. A POST under an
// Idempotency-Key can be repeated for the given retention.
func New(db *database.DB, retention time.Duration) *Store {
	return &Store{db: db, retention: retention}
}

// Create implements article.Store.
func (s *Store) Create(ctx context.Context, draft article.Draft, key idempotency.Key) (created article.Article, replayed bool, err error) {
	created, replayed, err = replay.Create(ctx, s.db, key, s.retention, func(tx *gorm.DB) (article.Article, error) {
		row := articleRow{CreatedBy: draft.Actor}
		row.apply(draft)
		if err := tx.Create(&row).Error; err != nil {
			return article.Article{}, err
		}
		return s.withTags(tx, row, draft)
	})
	return created, replayed, s.unknownTags(ctx, draft, err)
}

// Update implements article.Store.
func (s *Store) Update(ctx context.Context, id uint64, draft article.Draft, precondition article.Precondition) (updated article.Article, err error) {
	err = s.db.InTx(ctx, func(tx *gorm.DB) error {
		row, err := s.locked(tx, id, precondition)
		if err != nil {
			return err
		}
		if err := tx.Select(row.apply(draft)).Updates(&row).Error; err != nil {
			return err
		}
		updated, err = s.withTags(tx, row, draft)
		return err
	})
	return updated, s.unknownTags(ctx, draft, err)
}

// withTags stores the draft's tags for the row and returns the article.
func (s *Store) withTags(tx *gorm.DB, row articleRow, draft article.Draft) (article.Article, error) {
	if err := setTags(tx, row.ID, draft.TagIDs); err != nil {
		return article.Article{}, err
	}
	tags, err := s.tagsOf(tx, row.ID)
	return row.article(tags[row.ID]), err
}

// locked returns the article's row, if the precondition allows it, and locks it
// until the transaction ends.
func (s *Store) locked(tx *gorm.DB, id uint64, precondition article.Precondition) (articleRow, error) {
	var row articleRow
	err := mapNotFound(tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Take(&row, id).Error)
	if err != nil || precondition == nil {
		return row, err
	}
	tags, err := s.tagsOf(tx, id)
	if err == nil {
		err = precondition(row.article(tags[id]).Version())
	}
	return row, err
}

// setTags replaces the article's tags, unless ids is nil.
func setTags(tx *gorm.DB, articleID uint64, ids *[]uint64) error {
	if ids == nil {
		return nil
	}
	if err := checkTagsExist(tx, *ids); err != nil {
		return err
	}
	var have []uint64
	if err := tx.Model(&articleTagRow{}).Where("article_id = ?", articleID).Pluck("tag_id", &have).Error; err != nil {
		return err
	}
	if gone := without(have, *ids); len(gone) > 0 {
		if err := tx.Where("article_id = ? AND tag_id IN ?", articleID, gone).Delete(&articleTagRow{}).Error; err != nil {
			return err
		}
	}
	added := without(*ids, have)
	if len(added) == 0 {
		return nil
	}
	rows := make([]articleTagRow, 0, len(added))
	for _, id := range added {
		rows = append(rows, articleTagRow{ArticleID: articleID, TagID: id})
	}
	return tx.Create(&rows).Error
}

// checkTagsExist returns an *article.UnknownTagsError if one of the tags does not exist.
func checkTagsExist(tx *gorm.DB, ids []uint64) error {
	if len(ids) == 0 {
		return nil
	}
	possible := slices.DeleteFunc(slices.Clone(ids), func(id uint64) bool { return id > largestID })
	var known []uint64
	if err := tx.Model(&tagProjectionRow{}).Where("id IN ?", possible).Pluck("id", &known).Error; err != nil {
		return err
	}
	if unknown := without(ids, known); len(unknown) > 0 {
		return &article.UnknownTagsError{IDs: unknown}
	}
	return nil
}

// unknownTags converts the error of a foreign key to an UnknownTagsError: a tag of
// the draft was deleted during the write. If the tag exists again, it is Conflict.
func (s *Store) unknownTags(ctx context.Context, draft article.Draft, err error) error {
	if !errors.Is(err, database.ErrForeignKey) {
		return err
	}
	unknown := s.db.Read(ctx, func(db *gorm.DB) error { return checkTagsExist(db, *draft.TagIDs) })
	if unknown == nil {
		return &errcode.Error{Code: errcode.Conflict, Cause: err}
	}
	return unknown
}

// without returns the ids that are not among others, in their order.
func without(ids, others []uint64) []uint64 {
	known := make(map[uint64]bool, len(others))
	for _, id := range others {
		known[id] = true
	}
	var rest []uint64
	for _, id := range ids {
		if !known[id] {
			rest = append(rest, id)
		}
	}
	return rest
}

// Get implements article.Store.
func (s *Store) Get(ctx context.Context, id uint64) (article.Article, error) {
	var got article.Article
	err := s.db.Snapshot(ctx, func(tx *gorm.DB) error {
		var row articleRow
		if err := mapNotFound(tx.Take(&row, id).Error); err != nil {
			return err
		}
		tags, err := s.tagsOf(tx, id)
		got = row.article(tags[id])
		return err
	})
	return got, err
}

// List implements article.Store.
func (s *Store) List(ctx context.Context, filter article.Filter, page article.Page) ([]article.Article, int64, error) {
	var articles []article.Article
	var total int64
	err := s.db.Snapshot(ctx, func(tx *gorm.DB) error {
		query := tx.Model(&articleRow{}).Scopes(s.filtered(filter))
		if err := query.Session(&gorm.Session{}).Count(&total).Error; err != nil {
			return err
		}
		if !page.WithContent {
			query = query.Omit("content")
		}
		var rows []articleRow
		if err := query.Order(clause.OrderByColumn{Column: clause.Column{Table: clause.CurrentTable, Name: "id"}, Desc: true}).
			Offset(page.Offset).Limit(page.Limit).Find(&rows).Error; err != nil {
			return err
		}
		ids := make([]uint64, 0, len(rows))
		for _, row := range rows {
			ids = append(ids, row.ID)
		}
		tags, err := s.tagsOf(tx, ids...)
		articles = make([]article.Article, 0, len(rows))
		for _, row := range rows {
			articles = append(articles, row.article(tags[row.ID]))
		}
		return err
	})
	return articles, total, err
}

func (s *Store) filtered(filter article.Filter) func(*gorm.DB) *gorm.DB {
	own, associations := s.db.Table("article"), s.db.Table("article_tag")
	return func(query *gorm.DB) *gorm.DB {
		if filter.TagID != nil {
			query = query.Joins("JOIN "+associations+" ON "+associations+".article_id = "+own+".id").
				Where(associations+".tag_id = ?", min(*filter.TagID, largestID))
			if filter.TagEnabled {
				query = query.Joins("JOIN "+s.db.Table("tag_projection")+" AS tags ON tags.id = "+associations+".tag_id AND tags.state = ?", article.Enabled)
			}
		}
		if filter.Title != nil {
			// Unlike LIKE, INSTR has no wildcards.
			query = query.Where("INSTR(LOWER(title), LOWER(?)) > 0", *filter.Title)
		}
		if filter.State != nil {
			query = query.Where(own+".state = ?", *filter.State)
		}
		return query
	}
}

// tagsOf returns the tags of each article, ordered by id.
func (s *Store) tagsOf(tx *gorm.DB, articleIDs ...uint64) (map[uint64][]article.Tag, error) {
	if len(articleIDs) == 0 {
		return nil, nil
	}
	var rows []struct {
		ArticleID uint64
		ID        uint64
		Name      string
		State     article.State
	}
	err := tx.Model(&articleTagRow{}).Select("article_id", "tags.id", "tags.name", "tags.state").
		Joins("JOIN "+s.db.Table("tag_projection")+" AS tags ON tags.id = tag_id").
		Where("article_id IN ?", articleIDs).Order("article_id, tag_id").Scan(&rows).Error
	tags := make(map[uint64][]article.Tag, len(articleIDs))
	for _, row := range rows {
		tags[row.ArticleID] = append(tags[row.ArticleID], article.Tag{ID: row.ID, Name: row.Name, State: row.State})
	}
	return tags, err
}

// Delete implements article.Store.
func (s *Store) Delete(ctx context.Context, id uint64, actor string, precondition article.Precondition) error {
	return s.db.InTx(ctx, func(tx *gorm.DB) error {
		row, err := s.locked(tx, id, precondition)
		if err != nil {
			return err
		}
		if err := tx.Where("article_id = ?", id).Delete(&articleTagRow{}).Error; err != nil {
			return err
		}
		return tx.Model(&row).Updates(map[string]any{"is_deleted": 1, "updated_at": tx.NowFunc(), "updated_by": actor}).Error
	})
}

func mapNotFound(err error) error {
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return errcode.Wrap(errcode.ArticleNotFound, err)
	}
	return err
}
