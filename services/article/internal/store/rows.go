package store

import (
	"time"

	"gorm.io/gorm/schema"
	"gorm.io/plugin/soft_delete"

	"github.com/achilles-blog/achilles/services/article/internal/article"
)

type articleRow struct {
	ID            uint64 `gorm:"primaryKey"`
	CreatedAt     time.Time
	CreatedBy     string
	UpdatedAt     time.Time
	UpdatedBy     string
	IsDeleted     soft_delete.DeletedAt `gorm:"softDelete:flag"`
	Title         string
	Desc          string
	CoverImageURL string
	Content       string
	State         uint8
}

// TableName puts the configured prefix in front.
func (articleRow) TableName(namer schema.Namer) string { return namer.TableName("article") }

func (r articleRow) article(tags []article.Tag) article.Article {
	return article.Article{
		ID: r.ID, Title: r.Title, Desc: r.Desc, CoverImageURL: r.CoverImageURL, Content: r.Content,
		State: article.State(r.State), Tags: tags,
		CreatedAt: r.CreatedAt.UTC(), CreatedBy: r.CreatedBy, UpdatedAt: r.UpdatedAt.UTC(), UpdatedBy: r.UpdatedBy,
	}
}

// apply takes over what the draft has.
func (r *articleRow) apply(draft article.Draft) {
	r.UpdatedBy = draft.Actor
	replace(&r.Title, draft.Title)
	replace(&r.Desc, draft.Desc)
	replace(&r.CoverImageURL, draft.CoverImageURL)
	replace(&r.Content, draft.Content)
	if draft.State != nil {
		r.State = uint8(*draft.State)
	}
}

// columns are those that a draft changes: to disable an article must not write
// its content again.
func columns(draft article.Draft) []string {
	changed := []string{"updated_at", "updated_by"}
	for column, given := range map[string]bool{
		"title": draft.Title != nil, "desc": draft.Desc != nil, "cover_image_url": draft.CoverImageURL != nil,
		"content": draft.Content != nil, "state": draft.State != nil,
	} {
		if given {
			changed = append(changed, column)
		}
	}
	return changed
}

func replace(field *string, with *string) {
	if with != nil {
		*field = *with
	}
}

// articleTagRow is an association. It keeps the columns that every table has,
// but is removed, not marked: nothing refers to it, and its tag may go.
type articleTagRow struct {
	ID        uint64 `gorm:"primaryKey"`
	CreatedAt time.Time
	CreatedBy string
	UpdatedAt time.Time
	UpdatedBy string
	IsDeleted uint8
	ArticleID uint64
	TagID     uint64
}

// TableName puts the configured prefix in front.
func (articleTagRow) TableName(namer schema.Namer) string { return namer.TableName("article_tag") }

type tagCopyRow struct {
	ID    uint64 `gorm:"primaryKey;autoIncrement:false"`
	Name  string
	State uint8
}

// TableName puts the configured prefix in front.
func (tagCopyRow) TableName(namer schema.Namer) string { return namer.TableName("tag_copy") }

type positionRow struct {
	ID       uint8 `gorm:"primaryKey"`
	Epoch    string
	Sequence uint64
}

// TableName puts the configured prefix in front.
func (positionRow) TableName(namer schema.Namer) string { return namer.TableName("tag_position") }
