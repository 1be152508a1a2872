package api

import (
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// Article is an article in a response.
type Article struct {
	ID            uint64 `json:"id" example:"1"`
	Title         string `json:"title" example:"Rolling restarts"`
	Desc          string `json:"desc" example:"What happens to the connections"`
	CoverImageURL string `json:"cover_image_url" example:"https://example.org/cover.png"`
	// omitted in lists without include=content
	Content   *string   `json:"content,omitempty" example:"# Rolling restarts"`
	State     int       `json:"state" example:"1" enums:"0,1"`
	Tags      []Tag     `json:"tags"`
	CreatedAt time.Time `json:"created_at" example:"2026-01-02T03:04:05.678Z"`
	// app key of the client that created it
	CreatedBy string    `json:"created_by" example:"demo"`
	UpdatedAt time.Time `json:"updated_at" example:"2026-01-02T03:04:05.678Z"`
	// app key of the client that changed it last
	UpdatedBy string `json:"updated_by" example:"demo"`
}

// Tag is a tag of an article in a response.
type Tag struct {
	ID    uint64 `json:"id" example:"1"`
	Name  string `json:"name" example:"Kubernetes"`
	State int    `json:"state" example:"1" enums:"0,1"`
}

func toResponse(a article.Article, withContent bool) Article {
	response := Article{
		ID: a.ID, Title: a.Title, Desc: a.Desc, CoverImageURL: a.CoverImageURL, State: int(a.State),
		Tags:      make([]Tag, 0, len(a.Tags)),
		CreatedAt: a.CreatedAt, CreatedBy: a.CreatedBy, UpdatedAt: a.UpdatedAt, UpdatedBy: a.UpdatedBy,
	}
	if withContent {
		response.Content = &a.Content
	}
	for _, t := range a.Tags {
		response.Tags = append(response.Tags, Tag{ID: t.ID, Name: t.Name, State: int(t.State)})
	}
	return response
}

var shape = responses.ShapeOf[Article]()

func etag(a article.Article) responses.ETag {
	return responses.ETag{Version: a.Version(), Shape: shape}
}

func viewer(c *gin.Context) article.Viewer {
	if auth.PrincipalOf(c).Authenticated() {
		return article.Authenticated
	}
	return article.Anonymous
}

// CreateRequest is the body that creates an article. White space around the title
// is removed.
type CreateRequest struct {
	Title         *string `json:"title" validate:"required,notblank,max=100" minLength:"1" maxLength:"100" example:"Rolling restarts"`
	Desc          *string `json:"desc" validate:"omitempty,max=255" maxLength:"255" example:"What happens to the connections"`
	CoverImageURL *string `json:"cover_image_url" validate:"omitempty,max=255,weburl" maxLength:"255" example:"https://example.org/cover.png"`
	// at most 1 MiB unless configured otherwise
	Content *string `json:"content" example:"# Rolling restarts"`
	// 1 enabled, 0 disabled; enabled when left out
	State *int `json:"state" validate:"omitempty,oneof=0 1" enums:"0,1" example:"1"`
	// ids of the article's tags, at most 20
	TagIDs *[]uint64 `json:"tag_ids" validate:"omitempty,max=20,dive,min=1" maxLength:"20"`
	// id of a single tag, added to tag_ids if both are sent
	TagID *uint64 `json:"tag_id" validate:"omitempty,min=1" minimum:"1"`
}

// Normalize removes white space around the title.
func (r *CreateRequest) Normalize() { trim(r.Title) }

func (r *CreateRequest) draft(actor string) article.Draft {
	return article.Draft{
		Actor: actor,
		Title: r.Title, Desc: r.Desc, CoverImageURL: r.CoverImageURL, Content: r.Content,
		State: newState(r.State), TagIDs: tagSet(r.TagIDs, r.TagID),
	}
}

// UpdateRequest is the body that changes an article; omitted fields keep their
// values.
type UpdateRequest struct {
	Title         *string `json:"title" validate:"omitempty,notblank,max=100" minLength:"1" maxLength:"100" example:"Rolling restarts"`
	Desc          *string `json:"desc" validate:"omitempty,max=255" maxLength:"255" example:"What happens to the connections"`
	CoverImageURL *string `json:"cover_image_url" validate:"omitempty,max=255,weburl" maxLength:"255" example:"https://example.org/cover.png"`
	// at most 1 MiB unless configured otherwise
	Content *string `json:"content" example:"# Rolling restarts"`
	// 1 enabled, 0 disabled
	State *int `json:"state" validate:"omitempty,oneof=0 1" enums:"0,1" example:"1"`
	// ids of all tags of the article, at most 20; [] removes all
	TagIDs *[]uint64 `json:"tag_ids" validate:"omitempty,max=20,dive,min=1" maxLength:"20"`
	// id of a single tag, added to tag_ids if both are sent
	TagID *uint64 `json:"tag_id" validate:"omitempty,min=1" minimum:"1"`
}

// Normalize removes white space around the title.
func (r *UpdateRequest) Normalize() { trim(r.Title) }

func (r *UpdateRequest) draft() article.Draft {
	return article.Draft{
		Title: r.Title, Desc: r.Desc, CoverImageURL: r.CoverImageURL, Content: r.Content,
		State: newState(r.State), TagIDs: tagSet(r.TagIDs, r.TagID),
	}
}

// StateRequest is the body that enables or disables an article.
type StateRequest struct {
	State *int `json:"state" validate:"required,oneof=0 1" enums:"0,1" example:"0"`
}

// ListFilter selects the articles of a list.
type ListFilter struct {
	TagID   *uint64 `json:"tag_id" validate:"omitempty,min=1"`
	Title   *string `json:"title" validate:"omitempty,max=100"`
	State   *int    `json:"state" validate:"omitempty,oneof=0 1"`
	Include *string `json:"include" validate:"omitempty,oneof=content"`
}

func (f ListFilter) filter() article.Filter {
	return article.Filter{TagID: f.TagID, Title: f.Title, State: newState(f.State)}
}

func trim(text *string) {
	if text != nil {
		*text = strings.TrimSpace(*text)
	}
}

func newState(given *int) *article.State {
	if given == nil {
		return nil
	}
	state := article.Disabled
	if *given == 1 {
		state = article.Enabled
	}
	return &state
}

// tagSet returns the tags of the fields tag_ids and tag_id together, nil if neither
// is given.
func tagSet(ids *[]uint64, id *uint64) *[]uint64 {
	if id == nil {
		return ids
	}
	all := []uint64{*id}
	if ids != nil {
		all = append(all, *ids...)
	}
	return &all
}
