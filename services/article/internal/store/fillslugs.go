package store

import (
	"context"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/achilles-blog/achilles/services/article/internal/slug"
)

// namedAtOnce is the number of articles that FillSlugs names in a transaction.
const namedAtOnce = 50

// FillSlugs makes slugs for the articles that have none: they were inserted by other means.
// It returns their number. Writes go on in the meantime: those of the same articles wait
// for moments.
func (s *Store) FillSlugs(ctx context.Context) (filled int64, err error) {
	for last, more := uint64(0), true; more; {
		var rows []articleRow
		if err := s.db.Read(ctx, func(db *gorm.DB) error {
			return db.Raw("SELECT a.id, a.slug FROM "+s.db.Indexed("article AS a", "article_is_deleted")+
				" WHERE a.is_deleted = 0 AND a.id > ? ORDER BY a.id LIMIT ?", last, readAtOnce).Scan(&rows).Error
		}); err != nil {
			return filled, err
		}
		var ids []uint64
		for _, row := range rows {
			last = row.ID
			if row.Slug == "" {
				ids = append(ids, row.ID)
			}
		}
		more = len(rows) == readAtOnce
		for chunk := range slices.Chunk(ids, namedAtOnce) {
			n, err := s.fillSlugs(ctx, chunk)
			if filled += n; err != nil {
				return filled, err
			}
		}
	}
	return filled, nil
}

// fillSlugs makes slugs for those of the articles that still have none.
func (s *Store) fillSlugs(ctx context.Context, ids []uint64) (filled int64, err error) {
	err = s.db.InTx(ctx, func(tx *gorm.DB) error {
		filled = 0
		var rows []articleRow
		if err := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Select("id", "title").
			Where("id IN ? AND slug = ''", ids).Find(&rows).Error; err != nil {
			return err
		}
		for _, row := range rows {
			name, err := s.claimMade(tx, row.ID, slug.Make(row.Title), "")
			if err != nil {
				return err
			}
			// The revision changes, too, because the article that clients see does.
			if _, err := s.db.Exec(tx, "UPDATE "+s.db.Table("article")+" SET slug = ?, revision = revision + 1 WHERE id = ?", name, row.ID); err != nil {
				return err
			}
			filled++
		}
		return nil
	})
	return filled, err
}
