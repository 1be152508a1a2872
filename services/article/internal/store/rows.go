package store

import (
	"time"

	"gorm.io/gorm/schema"
	"gorm.io/plugin/soft_delete"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

type articleRow struct {
	ID            uint64 `gorm:"primaryKey"`
	CreatedAt     time.Time
	CreatedBy     string
	UpdatedAt     time.Time
	UpdatedBy     string
	PublishedAt   time.Time
	IsDeleted     soft_delete.DeletedAt `gorm:"softDelete:flag"`
	Title         string
	Slug          string // "" if it was inserted by other means; see FillSlugs
	Desc          string
	CoverImageURL string
	CoverFileID   *uint64 // nil for none
	Content       string
	State         article.State // may be article.Scheduled after its time; see currentState
	Revision      uint64
}

// TableName implements gorm's TablerWithNamer.
func (articleRow) TableName(namer schema.Namer) string { return namer.TableName("article") }

func (r articleRow) article(tags []article.Tag) article.Article {
	var cover uint64
	if r.CoverFileID != nil {
		cover = *r.CoverFileID
	}
	return article.Article{
		ID: r.ID, Title: r.Title, Slug: r.Slug, Desc: r.Desc, CoverImageURL: r.CoverImageURL, CoverFileID: cover, Content: r.Content,
		State: r.State, Tags: tags, Revision: r.Revision, PublishedAt: r.PublishedAt.UTC(),
		CreatedAt: r.CreatedAt.UTC(), CreatedBy: r.CreatedBy, UpdatedAt: r.UpdatedAt.UTC(), UpdatedBy: r.UpdatedBy,
	}
}

// apply changes the row by the draft, except what setPublication does, and returns the columns
// that have changed.
// What a client omits, or sends unchanged, is not written again: content may be large.
func (r *articleRow) apply(draft article.Draft) (columns []string) {
	database.Assign(&columns, "title", &r.Title, draft.Title)
	database.Assign(&columns, "desc", &r.Desc, draft.Desc)
	database.Assign(&columns, "cover_image_url", &r.CoverImageURL, draft.CoverImageURL)
	r.applyCover(&columns, draft.CoverFileID)
	database.Assign(&columns, "content", &r.Content, draft.Content)
	return columns
}

// applyCover sets the file that is the cover, none for 0.
func (r *articleRow) applyCover(columns *[]string, id *uint64) {
	switch {
	case id == nil:
		return
	case *id == 0:
		id = nil
	}
	if (r.CoverFileID == nil) != (id == nil) || id != nil && *r.CoverFileID != *id {
		r.CoverFileID = id
		*columns = append(*columns, "cover_file_id")
	}
}

// touch records who has changed the row, and returns the columns of that.
func (r *articleRow) touch(actor string) []string {
	r.Revision++
	r.UpdatedBy = actor
	return []string{"revision", "updated_at", "updated_by"}
}

// articleTagRow associates an article with a tag. It has the columns of the
// original schema, but is deleted, not marked as deleted: a foreign key deletes it
// with its tag.
type articleTagRow struct {
	ID        uint64 `gorm:"primaryKey"`
	CreatedAt time.Time
	CreatedBy string
	UpdatedAt time.Time
	UpdatedBy string
	IsDeleted uint8
	ArticleID uint64
	TagID     uint64
	// ArticleState and PublishedAt are those of the article.
	ArticleState article.State
	PublishedAt  time.Time
}

// TableName implements gorm's TablerWithNamer.
func (articleTagRow) TableName(namer schema.Namer) string { return namer.TableName("article_tag") }

// tagProjectionRow is a row of the read model of the tags.
type tagProjectionRow struct{ tagfeed.Tag }

// TableName implements gorm's TablerWithNamer.
func (tagProjectionRow) TableName(namer schema.Namer) string {
	return namer.TableName("tag_projection")
}
