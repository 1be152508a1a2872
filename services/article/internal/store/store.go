// Package store keeps articles, and the copy of the tags, in SQL. Rows and
// driver errors do not leave it.
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
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// largestID is the largest that SQLite can be asked for; no id comes near it.
const largestID = math.MaxInt64

// Store is article.Store and tagfeed.Copy on MySQL, MariaDB or SQLite.
type Store struct {
	db        *database.DB
	retention time.Duration
}

var _ article.Store = (*Store)(nil)

// New returns a store on an open database whose schema is current.
func New(db *database.DB) *Store {
	return &Store{db: db, retention: idempotency.Default().Retention}
}

// WithRetention is the same store, which keeps the answers to requests that carry
// an Idempotency-Key for another time.
func (s *Store) WithRetention(retention time.Duration) *Store {
	other := *s
	other.retention = retention
	return &other
}

// Create inserts an article with its tags. Under a key that was used before it
// ends with the first answer, see package idempotency.
func (s *Store) Create(ctx context.Context, draft article.Draft) (article.Article, error) {
	return s.write(ctx, draft, func(tx *gorm.DB) (articleRow, error) {
		row := articleRow{CreatedBy: draft.Actor}
		row.apply(draft)
		return row, tx.Create(&row).Error
	})
}

// Update replaces what the draft has.
func (s *Store) Update(ctx context.Context, id uint64, draft article.Draft, precondition article.Precondition) (article.Article, error) {
	return s.write(ctx, draft, func(tx *gorm.DB) (articleRow, error) {
		row, err := s.locked(tx, id, precondition)
		if err != nil {
			return row, err
		}
		row.apply(draft)
		return row, tx.Select(columns(draft)).Updates(&row).Error
	})
}

// write runs put in a transaction and gives the article it returns the tags of
// the draft.
func (s *Store) write(ctx context.Context, draft article.Draft, put func(*gorm.DB) (articleRow, error)) (article.Article, error) {
	written, err := idempotency.InTx(ctx, s.db, s.retention, func(tx *gorm.DB) (article.Article, error) {
		row, err := put(tx)
		if err != nil {
			return article.Article{}, err
		}
		if err := setTags(tx, row.ID, draft.TagIDs); err != nil {
			return article.Article{}, err
		}
		tags, err := s.tagsOf(tx, row.ID)
		return row.article(tags[row.ID]), err
	})
	if errors.Is(err, database.ErrForeignKey) {
		// A tag went between the look at the copy and the insertion.
		return written, s.unknownTags(ctx, *draft.TagIDs, err)
	}
	return written, err
}

// locked returns the row, if the precondition allows it, for as long as the
// transaction lasts, so that writes to one article follow one another.
func (s *Store) locked(tx *gorm.DB, id uint64, precondition article.Precondition) (articleRow, error) {
	var row articleRow
	err := found(tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Take(&row, id).Error)
	if err != nil || precondition == nil {
		return row, err
	}
	tags, err := s.tagsOf(tx, id)
	if err == nil {
		err = precondition(row.article(tags[id]))
	}
	return row, err
}

// setTags makes the article's tags the given set; nil leaves them.
func setTags(tx *gorm.DB, articleID uint64, ids *[]uint64) error {
	if ids == nil {
		return nil
	}
	if err := missing(tx, *ids); err != nil {
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

// missing returns an *article.UnknownTagsError when the copy lacks one of ids.
func missing(tx *gorm.DB, ids []uint64) error {
	if len(ids) == 0 {
		return nil
	}
	possible := slices.DeleteFunc(slices.Clone(ids), func(id uint64) bool { return id > largestID })
	var known []uint64
	if err := tx.Model(&tagCopyRow{}).Where("id IN ?", possible).Pluck("id", &known).Error; err != nil {
		return err
	}
	if unknown := without(ids, known); len(unknown) > 0 {
		return &article.UnknownTagsError{IDs: unknown}
	}
	return nil
}

func (s *Store) unknownTags(ctx context.Context, ids []uint64, cause error) error {
	err := s.db.Read(ctx, func(db *gorm.DB) error { return missing(db, ids) })
	if err == nil {
		return &errcode.Error{Code: errcode.Conflict, Cause: cause} // and it came back meanwhile
	}
	return err
}

// without returns the ids that are not among the others, in their order.
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

// Get returns the article that is not deleted.
func (s *Store) Get(ctx context.Context, id uint64) (article.Article, error) {
	var got article.Article
	err := s.db.Snapshot(ctx, func(tx *gorm.DB) error {
		var row articleRow
		if err := found(tx.Take(&row, id).Error); err != nil {
			return err
		}
		tags, err := s.tagsOf(tx, id)
		got = row.article(tags[id])
		return err
	})
	return got, err
}

// List returns a page of the articles, newest first, and the number of all.
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
			if filter.Public {
				query = query.Joins("JOIN "+s.db.Table("tag_copy")+" AS copies ON copies.id = "+associations+".tag_id AND copies.state = ?", uint8(article.Enabled))
			}
		}
		if filter.Public {
			query = query.Where(own+".state = ?", uint8(article.Enabled))
		}
		if filter.Title != nil {
			// Unlike LIKE it has no wildcards, and SQLite's does not end at a NUL.
			query = query.Where("INSTR(LOWER(title), LOWER(?)) > 0", *filter.Title)
		}
		if filter.State != nil {
			query = query.Where(own+".state = ?", uint8(*filter.State))
		}
		return query
	}
}

// tagsOf returns the tags of each article, by their ids.
func (s *Store) tagsOf(tx *gorm.DB, articleIDs ...uint64) (map[uint64][]article.Tag, error) {
	if len(articleIDs) == 0 {
		return nil, nil
	}
	var rows []struct {
		ArticleID uint64
		ID        uint64
		Name      string
		State     uint8
	}
	err := tx.Model(&articleTagRow{}).Select("article_id", "copies.id", "copies.name", "copies.state").
		Joins("JOIN "+s.db.Table("tag_copy")+" AS copies ON copies.id = tag_id").
		Where("article_id IN ?", articleIDs).Order("article_id, tag_id").Scan(&rows).Error
	tags := make(map[uint64][]article.Tag, len(articleIDs))
	for _, row := range rows {
		tags[row.ArticleID] = append(tags[row.ArticleID], article.Tag{ID: row.ID, Name: row.Name, State: article.State(row.State)})
	}
	return tags, err
}

// Delete marks the article as deleted and takes its tags off.
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

func found(err error) error {
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return errcode.Wrap(errcode.ArticleNotFound, err)
	}
	return err
}
