package api

import (
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// Article is an article in a response.
type Article struct {
	ID            uint64 `json:"id" example:"1"`
	Title         string `json:"title" example:"Rolling restarts"`
	Desc          string `json:"desc" example:"What happens to the connections"`
	CoverImageURL string `json:"cover_image_url" example:"https://example.org/cover.png"`
	// the file that is the cover, see /api/v1/file/download/{file_id}; null for none
	CoverFileID *uint64 `json:"cover_file_id" extensions:"x-nullable" example:"1"`
	// name of the article in addresses, see /api/v1/articles/slug/{slug}
	Slug string `json:"slug" example:"rolling-restarts"`
	// omitted in lists without include=content
	Content *string `json:"content,omitempty" example:"# Rolling restarts"`
	// true in lists with include=content, if the page has no room for the content: get the article itself
	ContentOmitted *bool `json:"content_omitted,omitempty" example:"false"`
	State          int   `json:"state" example:"1" enums:"0,1"`
	Tags           []Tag `json:"tags"`
	// since when everybody sees it, or from when on, unless it is disabled
	PublishAt time.Time `json:"publish_at" example:"2026-01-02T03:04:05.678Z"`
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

// toResponse returns the article in a response, without its content.
func toResponse(a article.Article) Article {
	response := Article{
		ID: a.ID, Title: a.Title, Slug: a.Slug, Desc: a.Desc, CoverImageURL: a.CoverImageURL, State: int(a.State.Of(false)),
		Tags:      make([]Tag, 0, len(a.Tags)),
		PublishAt: a.PublishedAt,
		CreatedAt: a.CreatedAt, CreatedBy: a.CreatedBy, UpdatedAt: a.UpdatedAt, UpdatedBy: a.UpdatedBy,
	}
	if a.CoverFileID > 0 {
		response.CoverFileID = &a.CoverFileID
	}
	for _, t := range a.Tags {
		response.Tags = append(response.Tags, Tag{ID: t.ID, Name: t.Name, State: int(t.State)})
	}
	return response
}

// withContent returns the article in a response with its content.
func withContent(a article.Article, content string) Article {
	response := toResponse(a)
	response.Content = &content
	return response
}

var (
	shape   = responses.ShapeOf[Article]()
	encoder = responses.NewEncoder[Article]()
)

// etag returns the entity tag of an article. It has the id: a slug may lead to another article
// later, which may have the same version.
func etag(a article.Article) responses.ETag {
	return responses.ETag{Version: a.Version(), Shape: shape, Object: a.ID}
}

func viewer(c *gin.Context) article.Viewer {
	if auth.PrincipalOf(c).Authenticated() {
		return article.Authenticated
	}
	return article.Anonymous
}

// CreateRequest is the body that creates an article. White space around the title
// is removed. An article that was read can be sent as it is.
type CreateRequest struct {
	Title *string `json:"title" validate:"required,notblank,max=100" text:"nfc,trim,line" minLength:"1" maxLength:"100" example:"Rolling restarts"`
	// name of the article in addresses: letters a-z, digits and single hyphens; made from the title if it is omitted or empty
	Slug          *string `json:"slug" validate:"omitempty,max=100,slug" null:"clear" maxLength:"100" extensions:"x-nullable" example:"rolling-restarts"`
	Desc          *string `json:"desc" validate:"omitempty,max=255" null:"clear" text:"nfc" maxLength:"255" extensions:"x-nullable" example:"What happens to the connections"`
	CoverImageURL *string `json:"cover_image_url" validate:"omitempty,max=2000,weburl" null:"clear" maxLength:"2000" extensions:"x-nullable" example:"https://example.org/cover.png"`
	// id of an uploaded file that is the cover, beside cover_image_url; null or 0 for none
	CoverFileID *uint64 `json:"cover_file_id" null:"clear" minimum:"0" extensions:"x-nullable" example:"1"`
	// at most 1 MiB unless configured otherwise
	Content *string `json:"content" null:"clear" text:"nfc" extensions:"x-nullable" example:"# Rolling restarts"`
	// 1 enabled, 0 disabled; enabled when left out
	State *int `json:"state" validate:"omitempty,oneof=0 1" enums:"0,1" example:"1"`
	// when everybody begins to see it, unless it is disabled; from 1970 on; a time in the past publishes it at once; the time of its creation when it is left out or null
	PublishAt *string `json:"publish_at" null:"clear" extensions:"x-nullable" example:"2026-01-02T03:04:05.678Z"`
	// ids of the article's tags, at most 20
	TagIDs *[]uint64 `json:"tag_ids" validate:"omitempty,max=20,dive,min=1" null:"clear" maxLength:"20" extensions:"x-nullable"`
	// the article's tags as they are read; only their ids count, and only without tag_ids; JSON only
	Tags *[]uint64 `json:"tags" validate:"omitempty,max=20,dive,min=1" null:"clear" element:"id" swaggertype:"array,object" maxLength:"20" extensions:"x-nullable"`
	// id of a single tag, added to tag_ids or tags if both are sent
	TagID *uint64 `json:"tag_id" validate:"omitempty,min=1" minimum:"1"`
}

// Parse implements requests.Parser.
func (r *CreateRequest) Parse(reject func(string, errcode.Detail)) {
	parsePublication("publish_at", r.PublishAt, reject)
}

// ReadOnly implements requests.ReadOnly.
func (r *CreateRequest) ReadOnly() []string { return readOnly() }

func (r *CreateRequest) draft(actor string) article.Draft {
	return article.Draft{
		Actor: actor,
		Title: r.Title, Slug: r.Slug, Desc: r.Desc, CoverImageURL: r.CoverImageURL, CoverFileID: r.CoverFileID, Content: r.Content,
		State: newState(r.State), PublishedAt: publication(r.PublishAt), TagIDs: tagSet(r.TagIDs, r.Tags, r.TagID),
	}
}

// meaning returns the request without what is the default, and its tags as a set.
func (r *CreateRequest) meaning() CreateRequest {
	m := *r
	for _, text := range []**string{&m.Slug, &m.Desc, &m.CoverImageURL, &m.Content} {
		if *text != nil && **text == "" {
			*text = nil
		}
	}
	if m.CoverFileID != nil && *m.CoverFileID == 0 {
		m.CoverFileID = nil
	}
	if m.State != nil && *m.State == int(article.Enabled) {
		m.State = nil
	}
	if at := publication(m.PublishAt); at != nil {
		if m.PublishAt = nil; !at.IsZero() {
			m.PublishAt = new(at.Format(time.RFC3339Nano))
		}
	}
	ids := tagSet(m.TagIDs, m.Tags, m.TagID)
	m.TagIDs, m.Tags, m.TagID = nil, nil, nil
	if ids != nil && len(*ids) > 0 {
		m.TagIDs = new(slices.Compact(slices.Sorted(slices.Values(*ids))))
	}
	return m
}

// UpdateRequest is the body that changes an article; omitted fields keep their
// values.
type UpdateRequest struct {
	Title *string `json:"title" validate:"omitempty,notblank,max=100" text:"nfc,trim,line" minLength:"1" maxLength:"100" example:"Rolling restarts"`
	// name of the article in addresses: letters a-z, digits and single hyphens; if it is empty, it is made from the title
	Slug          *string `json:"slug" validate:"omitempty,max=100,slug" null:"clear" maxLength:"100" extensions:"x-nullable" example:"rolling-restarts"`
	Desc          *string `json:"desc" validate:"omitempty,max=255" null:"clear" text:"nfc" maxLength:"255" extensions:"x-nullable" example:"What happens to the connections"`
	CoverImageURL *string `json:"cover_image_url" validate:"omitempty,max=2000,weburl" null:"clear" maxLength:"2000" extensions:"x-nullable" example:"https://example.org/cover.png"`
	// id of an uploaded file that is the cover, beside cover_image_url; null or 0 for none
	CoverFileID *uint64 `json:"cover_file_id" null:"clear" minimum:"0" extensions:"x-nullable" example:"1"`
	// at most 1 MiB unless configured otherwise
	Content *string `json:"content" null:"clear" text:"nfc" extensions:"x-nullable" example:"# Rolling restarts"`
	// 1 enabled, 0 disabled
	State *int `json:"state" validate:"omitempty,oneof=0 1" enums:"0,1" example:"1"`
	// when everybody begins to see it, unless it is disabled; from 1970 on; a time in the past publishes it at once; the time of its creation when it is null
	PublishAt *string `json:"publish_at" null:"clear" extensions:"x-nullable" example:"2026-01-02T03:04:05.678Z"`
	// ids of all tags of the article, at most 20; [] removes all
	TagIDs *[]uint64 `json:"tag_ids" validate:"omitempty,max=20,dive,min=1" null:"clear" maxLength:"20" extensions:"x-nullable"`
	// the article's tags as they are read; only their ids count, and only without tag_ids; JSON only
	Tags *[]uint64 `json:"tags" validate:"omitempty,max=20,dive,min=1" null:"clear" element:"id" swaggertype:"array,object" maxLength:"20" extensions:"x-nullable"`
	// id of a single tag, added to tag_ids or tags if both are sent
	TagID *uint64 `json:"tag_id" validate:"omitempty,min=1" minimum:"1"`
}

// Parse implements requests.Parser.
func (r *UpdateRequest) Parse(reject func(string, errcode.Detail)) {
	parsePublication("publish_at", r.PublishAt, reject)
}

// ReadOnly implements requests.ReadOnly.
func (r *UpdateRequest) ReadOnly() []string { return readOnly() }

func (r *UpdateRequest) draft() article.Draft {
	return article.Draft{
		Title: r.Title, Slug: r.Slug, Desc: r.Desc, CoverImageURL: r.CoverImageURL, CoverFileID: r.CoverFileID, Content: r.Content,
		State: newState(r.State), PublishedAt: publication(r.PublishAt), TagIDs: tagSet(r.TagIDs, r.Tags, r.TagID),
	}
}

// StateRequest is the body that enables or disables an article.
type StateRequest struct {
	State *int `json:"state" validate:"required,oneof=0 1" enums:"0,1" example:"0"`
}

// ReadOnly implements requests.ReadOnly.
func (r *StateRequest) ReadOnly() []string { return readOnly() }

// readOnly returns the names of an article's fields that only the service sets.
func readOnly() []string {
	return slices.DeleteFunc(requests.Names[Article](), func(name string) bool {
		return slices.Contains(requests.Names[UpdateRequest](), name)
	})
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

// publication returns the time of a field that Parse has accepted.
func publication(text *string) *time.Time {
	return parsePublication("publish_at", text, func(string, errcode.Detail) {})
}

// parsePublication returns the time at which an article is to be published, rounded up to
// milliseconds so that it is never too early; the zero time for an empty text.
func parsePublication(name string, text *string, reject func(string, errcode.Detail)) *time.Time {
	if text != nil && *text == "" {
		return new(time.Time{})
	}
	at := parseTime(name, text, reject)
	if at == nil {
		return nil
	}
	rounded := at.UTC().Add(time.Millisecond - 1).Truncate(time.Millisecond)
	if rounded.Before(time.Unix(0, 0)) || rounded.Year() > 9999 {
		const from, to = "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"
		reject(name, errcode.Invalid(name, errcode.OutOfRange, errcode.Text{
			ZH:       name + "必须在 " + from + " 与 " + to + " 之间",
			EN:       name + " must be between " + from + " and " + to,
			ZHHantTW: name + "必須在 " + from + " 與 " + to + " 之間",
		}))
	}
	return &rounded
}

// tagSet returns the tags of the fields tag_ids, or else tags, and tag_id together,
// nil if none is given.
func tagSet(ids, tags *[]uint64, id *uint64) *[]uint64 {
	if ids == nil {
		ids = tags
	}
	if id == nil {
		return ids
	}
	all := []uint64{*id}
	if ids != nil {
		all = append(all, *ids...)
	}
	return &all
}
