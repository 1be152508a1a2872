package store

import (
	"cmp"
	"slices"

	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// association is a row of article_tag with its tag.
type association struct {
	RowID uint64
	article.Tag
}

// associations are those of one article, ordered by tag.
type associations []association

// associationsOf returns the associations of an article.
func (s *Store) associationsOf(tx *gorm.DB, articleID uint64) (associations, error) {
	var found associations
	own := s.db.Table("article_tag")
	err := tx.Model(&articleTagRow{}).Select(own+".id AS row_id", "tags.id", "tags.name", "tags.state").
		Joins("JOIN "+s.db.Table("tag_projection")+" AS tags ON tags.id = tag_id").
		Where("article_id = ?", articleID).Order("tag_id").Scan(&found).Error
	return found, err
}

// newAssociations returns the rows that associate an article with tags.
func newAssociations(a articleRow, tagIDs []uint64) (rows []articleTagRow) {
	for _, id := range tagIDs {
		rows = append(rows, articleTagRow{ArticleID: a.ID, TagID: id, ArticleState: a.State, PublishedAt: a.PublishedAt})
	}
	return rows
}

// associate inserts associations. Their tags are locked in the order of the ids.
func (s *Store) associate(tx *gorm.DB, rows []articleTagRow) error {
	if len(rows) == 0 {
		return nil
	}
	slices.SortStableFunc(rows, func(a, b articleTagRow) int { return cmp.Compare(a.TagID, b.TagID) })
	now := tx.NowFunc()
	values := make([]any, 0, 6*len(rows))
	for _, row := range rows {
		values = append(values, now, now, row.ArticleID, row.TagID, row.ArticleState, row.PublishedAt)
	}
	_, err := s.db.Insert(tx, "article_tag", []string{"created_at", "updated_at", "article_id", "tag_id", "article_state", "published_at"}, values...)
	return err
}

// split returns the associations with the tags, and the others.
func (a associations) split(tagIDs []uint64) (with, others associations) {
	for _, one := range a {
		if slices.Contains(tagIDs, one.ID) {
			with = append(with, one)
		} else {
			others = append(others, one)
		}
	}
	return with, others
}

// tagIDs returns the ids of the tags.
func (a associations) tagIDs() []uint64 {
	ids := make([]uint64, 0, len(a))
	for _, one := range a {
		ids = append(ids, one.ID)
	}
	return ids
}

// tags returns the tags together with others, ordered by id.
func (a associations) tags(others []article.Tag) []article.Tag {
	for _, one := range a {
		others = append(others, one.Tag)
	}
	slices.SortFunc(others, func(x, y article.Tag) int { return cmp.Compare(x.ID, y.ID) })
	return others
}

// remove deletes the rows. It returns database.ErrRetry if one of them has been deleted
// with its tag since it was read: its counters are gone, too.
func (a associations) remove(tx *gorm.DB) error {
	if len(a) == 0 {
		return nil
	}
	return a.all(tx.Delete(&articleTagRow{}, a.rowIDs()))
}

// setPublication sets the state of the article in the rows, and the time at which it is
// published. Its errors are those of remove.
func (a associations) setPublication(tx *gorm.DB, row articleRow) error {
	if len(a) == 0 {
		return nil
	}
	return a.all(tx.Model(&articleTagRow{}).Where("id IN ?", a.rowIDs()).Updates(map[string]any{"article_state": row.State, "published_at": row.PublishedAt}))
}

// all returns an error unless a statement has found all rows.
func (a associations) all(done *gorm.DB) error {
	if done.Error == nil && done.RowsAffected != int64(len(a)) {
		return database.ErrRetry
	}
	return done.Error
}

func (a associations) rowIDs() []uint64 {
	ids := make([]uint64, 0, len(a))
	for _, one := range a {
		ids = append(ids, one.RowID)
	}
	return ids
}
