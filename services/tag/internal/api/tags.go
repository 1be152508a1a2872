package api

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/cursor"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

// Tag is a tag in a response.
type Tag struct {
	ID        uint64    `json:"id" example:"1"`
	Name      string    `json:"name" example:"Kubernetes"`
	State     int       `json:"state" example:"1" enums:"0,1"`
	CreatedAt time.Time `json:"created_at" example:"2026-01-02T03:04:05.678Z"`
	// app key of the client that created it
	CreatedBy string    `json:"created_by" example:"demo"`
	UpdatedAt time.Time `json:"updated_at" example:"2026-01-02T03:04:05.678Z"`
	// app key of the client that changed it last
	UpdatedBy string `json:"updated_by" example:"demo"`
}

// tagSize is the maximum size of a tag, or of a change, in memory, in bytes.
const tagSize = 1 << 10

// PageMemory returns the memory in bytes that a page of a size takes.
func PageMemory(size int) int64 { return tagSize * int64(size) }

func toResponse(t tag.Tag) Tag {
	return Tag{
		ID: t.ID, Name: t.Name, State: int(t.State),
		CreatedAt: t.CreatedAt, CreatedBy: t.CreatedBy, UpdatedAt: t.UpdatedAt, UpdatedBy: t.UpdatedBy,
	}
}

var (
	shape   = responses.ShapeOf[Tag]()
	encoder = responses.NewEncoder[Tag]()
)

func etag(t tag.Tag) responses.ETag { return responses.ETag{Version: t.Version(), Shape: shape} }

func viewer(c *gin.Context) tag.Viewer {
	if auth.PrincipalOf(c).Authenticated() {
		return tag.Authenticated
	}
	return tag.Anonymous
}

// CreateRequest is the body that creates a tag. White space around the name is
// removed. A tag that was read can be sent as it is.
type CreateRequest struct {
	// names that differ in case, width or accents are different: Go, go and ＧＯ are three tags
	Name *string `json:"name" validate:"required,notblank,max=100" text:"nfc,trim,line" minLength:"1" maxLength:"100" example:"Kubernetes"`
	// 1 enabled, 0 disabled; enabled when left out
	State *int `json:"state" validate:"omitempty,oneof=0 1" enums:"0,1" example:"1"`
}

// ReadOnly implements requests.ReadOnly.
func (r *CreateRequest) ReadOnly() []string { return readOnly() }

func (r *CreateRequest) draft(actor string) tag.Draft {
	return tag.Draft{Name: r.Name, State: newState(r.State), Actor: actor}
}

// meaning returns the request without fields that have their default value: a repeat under the
// same Idempotency-Key may send them or not.
func (r *CreateRequest) meaning() CreateRequest {
	m := *r
	if m.State != nil && *m.State == 1 {
		m.State = nil
	}
	return m
}

// UpdateRequest is the body that changes a tag; omitted fields keep their values.
type UpdateRequest struct {
	// names that differ in case, width or accents are different: Go, go and ＧＯ are three tags
	Name *string `json:"name" validate:"omitempty,notblank,max=100" text:"nfc,trim,line" minLength:"1" maxLength:"100" example:"Kubernetes"`
	// 1 enabled, 0 disabled
	State *int `json:"state" validate:"omitempty,oneof=0 1" enums:"0,1" example:"1"`
}

// ReadOnly implements requests.ReadOnly.
func (r *UpdateRequest) ReadOnly() []string { return readOnly() }

func (r *UpdateRequest) draft(actor string) tag.Draft {
	return tag.Draft{Name: r.Name, State: newState(r.State), Actor: actor}
}

// readOnly returns the names of a tag's fields that only the service sets.
func readOnly() []string {
	return slices.DeleteFunc(requests.Names[Tag](), func(name string) bool {
		return slices.Contains(requests.Names[UpdateRequest](), name)
	})
}

func newState(given *int) *tag.State {
	if given == nil {
		return nil
	}
	state := tag.Disabled
	if *given == 1 {
		state = tag.Enabled
	}
	return &state
}

// createTag creates a tag.
//
//	@Summary	Create a tag
//	@ID	createTag
//	@Tags		tags
//	@Accept		json,x-www-form-urlencoded
//	@Produce	json
//	@Param		tag				body		CreateRequest			true	"the tag"
//	@Success	201				{object}	responses.Envelope[Tag]	"created"
//	@Failure	400	{object}	responses.Problem	"invalid (10000001)"
//	@Failure	409	{object}	responses.Problem	"name exists (20010008)"
//	@Security	AppToken
//	@Router		/api/v1/tags [post]
func (a *API) createTag(c *gin.Context) {
	var request CreateRequest
	if err := a.Binder.Body(c, &request); err != nil {
		responses.Error(c, err)
		return
	}
	actor := auth.PrincipalOf(c).AppKey
	key, err := requests.IdempotencyKey(c, actor, request.meaning())
	if err != nil {
		responses.Error(c, err)
		return
	}
	created, replayed, err := a.Tags.Create(c.Request.Context(), request.draft(actor), key)
	if err != nil {
		responses.ErrorOr(c, err, errcode.CreateTagFailed)
		return
	}
	responses.Created(c, fmt.Sprintf("/api/v1/tags/%d", created.ID), etag(created), toResponse(created), replayed, nil)
}

// TagFilter selects the tags of a list and their order. White space around the name is
// removed, because MySQL ignores trailing spaces when it compares names and SQLite does
// not.
type TagFilter struct {
	Name    *string `json:"name" validate:"omitempty,max=100" text:"nfc,trim"`
	Prefix  *string `json:"prefix" validate:"omitempty,max=100" text:"nfc"`
	State   *int    `json:"state" validate:"omitempty,oneof=0 1"`
	OrderBy *string `json:"order_by" validate:"omitempty,oneof=id -id name -name created_at -created_at"`
	// any text, see requests.Paging
	Page     string  `json:"page"`
	PageSize string  `json:"page_size"`
	After    *string `json:"after"`
}

// order returns the order of the list. Without order_by it is by id, with a prefix by name.
func (f TagFilter) order() tag.Order {
	switch {
	case f.OrderBy != nil:
		return tag.ParseOrder(*f.OrderBy)
	case f.Prefix != nil:
		return tag.Order{By: tag.ByName}
	default:
		return tag.Order{By: tag.ByID}
	}
}

// cursors returns the list that the cursors of the request belong to.
func (f TagFilter) cursors() cursor.List {
	return cursor.List{
		Route: "/api/v1/tags", Order: f.order().String(), Filters: requests.Filters(f, "order_by", "page", "page_size", "after"),
	}
}

// listTags lists tags.
//
//	@Summary	List tags, oldest first unless order_by says otherwise
//	@ID	listTags
//	@Tags		tags
//	@Produce	json
//	@Param		name		query		string						false	"exactly this name"			maxLength(100)
//	@Param		prefix		query		string						false	"the beginning of the name; case counts, and % and _ stand for themselves"	maxLength(100)
//	@Param		state		query		int							false	"1 enabled, 0 disabled"		Enums(0, 1)
//	@Param		order_by	query		string						false	"- is descending; id by default, name with a prefix. A prefix of more than 1,000 tags can only be ordered by name"	Enums(id, -id, name, -name, created_at, -created_at)
//	@Success	200			{object}	responses.ListEnvelope[Tag]	"a page; the pager echoes what was used"
//	@Failure	400	{object}	responses.Problem	"invalid filter (10000001)"
//	@Security	AppToken
//	@Router		/api/v1/tags [get]
//	@Router		/api/v1/tags [head]
func (a *API) listTags(c *gin.Context) {
	var request TagFilter
	if err := a.Binder.Query(c, &request); err != nil {
		responses.Error(c, err)
		return
	}
	if request.Prefix != nil {
		if a.LimitSearch(c); c.IsAborted() {
			return
		}
	}
	cursors := request.cursors()
	page, err := a.Paging.In(c.Request.Context()).ParseAfter(request.Page, request.PageSize, request.After, cursors)
	if err != nil {
		responses.Error(c, err)
		return
	}
	reserved, err := a.Memory.Reserve(c, PageMemory(page.Size))
	if err != nil {
		responses.Error(c, err)
		return
	}
	defer reserved.Release()
	filter := tag.Filter{Name: request.Name, Prefix: request.Prefix, State: newState(request.State)}
	wanted := tag.Page{Offset: page.Offset(), Limit: page.Size, Order: request.order(), After: page.After}
	found, err := a.Tags.List(c.Request.Context(), viewer(c), filter, wanted)
	switch {
	case errors.Is(err, tag.ErrUnauthenticated):
		auth.Unauthorized(c)
		return
	case err != nil:
		responses.ErrorOr(c, err, errcode.ListTagsFailed)
		return
	}
	respondWithList(c, found, pagerOf(found, page, wanted.Order, cursors), reserved)
}

func pagerOf(found *tag.List, page requests.Page, order tag.Order, cursors cursor.List) responses.Pager {
	pager := responses.Pager{Page: page.Number, PageSize: page.Size, TotalRows: found.Total, TotalRelation: responses.RelationOf(found.AtLeast)}
	if found.More {
		pager.Next = cursors.New(order.Position(found.Tags[len(found.Tags)-1]))
	}
	return pager
}

func respondWithList(c *gin.Context, found *tag.List, pager responses.Pager, reserved *responses.Reservation) {
	pageTag := responses.PageETag(shape, pager, []string{found.Version()})
	encoder.SharedList(c, pageTag, &found.Encodings, sizeOf(found.Tags), PageMemory(pager.PageSize), func() []Tag {
		list := make([]Tag, 0, len(found.Tags))
		for _, t := range found.Tags {
			list = append(list, toResponse(t))
		}
		return list
	}, pager, reserved)
}

// sizeOf returns the size in bytes of tags.
func sizeOf(tags []tag.Tag) (size int64) {
	const fixed = 256
	for _, t := range tags {
		size += int64(fixed + len(t.Name))
	}
	return size
}

// getTag returns one tag.
//
//	@Summary	Get a tag
//	@ID	getTag
//	@Tags		tags
//	@Produce	json
//	@Param		id		path		integer					true	"id of the tag"	minimum(1)
//	@Success	200		{object}	responses.Envelope[Tag]	"the tag"
//	@Failure	400	{object}	responses.Problem	"invalid id (10000001)"
//	@Failure	404	{object}	responses.Problem	"no such tag (20010007)"
//	@Security	AppToken
//	@Router		/api/v1/tags/{id} [get]
//	@Router		/api/v1/tags/{id} [head]
func (a *API) getTag(c *gin.Context) {
	id, err := requests.ID(c, errcode.TagNotFound)
	if err != nil {
		responses.Error(c, err)
		return
	}
	found, err := a.Tags.Get(c.Request.Context(), viewer(c), id)
	if err != nil {
		responses.ErrorOr(c, err, errcode.GetTagFailed)
		return
	}
	if responses.WithoutBody(c, etag(found.Tag)) {
		return
	}
	body := responses.Encode(c, &found.Encodings, encoder, tagSize/2, 8*tagSize, func() Tag { return toResponse(found.Tag) })
	responses.Encoded(c, etag(found.Tag), body, nil)
}

// updateTag changes a tag.
//
//	@Summary	Replace the fields of a tag that are sent
//	@ID	updateTag
//	@Tags		tags
//	@Accept		json,x-www-form-urlencoded
//	@Produce	json
//	@Param		id				path		integer					true	"id of the tag"	minimum(1)
//	@Param		tag				body		UpdateRequest			true	"what is to change"
//	@Success	200				{object}	responses.Envelope[Tag]	"the tag as it is now"
//	@Failure	400	{object}	responses.Problem	"invalid (10000001)"
//	@Failure	404	{object}	responses.Problem	"no such tag (20010007)"
//	@Failure	409	{object}	responses.Problem	"name exists (20010008)"
//	@Security	AppToken
//	@Router		/api/v1/tags/{id} [put]
func (a *API) updateTag(c *gin.Context) { a.update(c, a.Binder.Body) }

// patchTag changes a tag.
//
//	@Summary	Change a tag by a JSON Merge Patch (RFC 7396)
//	@ID	patchTag
//	@Tags		tags
//	@Accept		application/merge-patch+json,json
//	@Produce	json
//	@Param		id				path		integer					true	"id of the tag"	minimum(1)
//	@Param		tag				body		UpdateRequest			true	"what is to change"
//	@Success	200				{object}	responses.Envelope[Tag]	"the tag as it is now"
//	@Failure	400	{object}	responses.Problem	"invalid (10000001)"
//	@Failure	404	{object}	responses.Problem	"no such tag (20010007)"
//	@Failure	409	{object}	responses.Problem	"name exists (20010008)"
//	@Security	AppToken
//	@Router		/api/v1/tags/{id} [patch]
func (a *API) patchTag(c *gin.Context) { a.update(c, a.Binder.MergePatch) }

// update decodes the body with decode, and changes the tag.
func (a *API) update(c *gin.Context, decode func(*gin.Context, any) error) {
	id, err := requests.ID(c, errcode.TagNotFound)
	if err != nil {
		responses.Error(c, err)
		return
	}
	var request UpdateRequest
	if err := decode(c, &request); err != nil {
		responses.Error(c, err)
		return
	}
	updated, err := a.Tags.Update(c.Request.Context(), id, request.draft(auth.PrincipalOf(c).AppKey), responses.Precondition(c))
	if err != nil {
		responses.ErrorOr(c, err, errcode.UpdateTagFailed)
		return
	}
	responses.Object(c, etag(updated), toResponse(updated), nil)
}

// deleteTag deletes a tag.
//
//	@Summary	Delete a tag. Its name can be used again, and it is removed from all articles
//	@ID	deleteTag
//	@Tags		tags
//	@Produce	json
//	@Param		id		path		integer								true	"id of the tag"	minimum(1)
//	@Success	200		{object}	responses.Envelope[responses.Empty]	"deleted"
//	@Failure	400	{object}	responses.Problem	"invalid id (10000001)"
//	@Failure	404	{object}	responses.Problem	"no such tag (20010007)"
//	@Security	AppToken
//	@Router		/api/v1/tags/{id} [delete]
func (a *API) deleteTag(c *gin.Context) {
	id, err := requests.ID(c, errcode.TagNotFound)
	if err != nil {
		responses.Error(c, err)
		return
	}
	if err := a.Tags.Delete(c.Request.Context(), id, auth.PrincipalOf(c).AppKey, responses.Precondition(c)); err != nil {
		responses.ErrorOr(c, err, errcode.DeleteTagFailed)
		return
	}
	responses.OK(c, responses.Empty{}, nil)
}
