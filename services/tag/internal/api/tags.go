package api

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/auth"
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

func toResponse(t tag.Tag) Tag {
	return Tag{
		ID: t.ID, Name: t.Name, State: int(t.State),
		CreatedAt: t.CreatedAt, CreatedBy: t.CreatedBy, UpdatedAt: t.UpdatedAt, UpdatedBy: t.UpdatedBy,
	}
}

var shape = responses.ShapeOf[Tag]()

func etag(t tag.Tag) responses.ETag { return responses.ETag{Version: t.Version(), Shape: shape} }

func viewer(c *gin.Context) tag.Viewer {
	if auth.PrincipalOf(c).Authenticated() {
		return tag.Authenticated
	}
	return tag.Anonymous
}

// TagRequest is the body that creates or replaces a tag. White space around the
// name is removed.
type TagRequest struct {
	Name *string `json:"name" validate:"required,notblank,max=100" minLength:"1" maxLength:"100" example:"Kubernetes"`
	// 1 enabled, 0 disabled; left out, a new tag is enabled and an existing one keeps its state
	State *int `json:"state" validate:"omitempty,oneof=0 1" enums:"0,1" example:"1"`
}

// Normalize removes white space around the name.
func (r *TagRequest) Normalize() {
	if r.Name != nil {
		*r.Name = strings.TrimSpace(*r.Name)
	}
}

func (r *TagRequest) draft(actor string) tag.Draft {
	return tag.Draft{Name: *r.Name, State: newState(r.State), Actor: actor}
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
//	@Param		tag				body		TagRequest				true	"the tag"
//	@Success	201				{object}	responses.Envelope[Tag]	"created"
//	@Failure	400	{object}	responses.Problem	"invalid (10000001)"
//	@Failure	409	{object}	responses.Problem	"name exists (20010008)"
//	@Security	AppToken
//	@Router		/api/v1/tags [post]
func (a *API) createTag(c *gin.Context) {
	var request TagRequest
	if err := a.Binder.Body(c, &request); err != nil {
		responses.Error(c, err)
		return
	}
	actor := auth.PrincipalOf(c).AppKey
	key, err := requests.IdempotencyKey(c, actor, request)
	if err != nil {
		responses.Error(c, err)
		return
	}
	created, replayed, err := a.Tags.Create(c.Request.Context(), request.draft(actor), key)
	if err != nil {
		responses.ErrorOr(c, err, errcode.CreateTagFailed)
		return
	}
	responses.Created(c, fmt.Sprintf("/api/v1/tags/%d", created.ID), etag(created), toResponse(created), replayed)
}

// TagFilter selects the tags of a list.
type TagFilter struct {
	Name  *string `json:"name" validate:"omitempty,max=100"`
	State *int    `json:"state" validate:"omitempty,oneof=0 1"`
}

// Normalize removes white space around the name, because MySQL ignores trailing
// spaces when it compares names and SQLite does not.
func (f *TagFilter) Normalize() {
	if f.Name != nil {
		*f.Name = strings.TrimSpace(*f.Name)
	}
}

// listTags lists tags.
//
//	@Summary	List tags, oldest first
//	@ID	listTags
//	@Tags		tags
//	@Produce	json
//	@Param		name		query		string						false	"exactly this name"			maxLength(100)
//	@Param		state		query		int							false	"1 enabled, 0 disabled"		Enums(0, 1)
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
	page := a.Paging.Page(c)
	filter := tag.Filter{Name: request.Name, State: newState(request.State)}
	tags, total, err := a.Tags.List(c.Request.Context(), viewer(c), filter, tag.Page{Offset: page.Offset(), Limit: page.Size})
	switch {
	case errors.Is(err, tag.ErrUnauthenticated):
		auth.Unauthorized(c)
		return
	case err != nil:
		responses.ErrorOr(c, err, errcode.ListTagsFailed)
		return
	}
	list := make([]Tag, 0, len(tags))
	for _, t := range tags {
		list = append(list, toResponse(t))
	}
	responses.List(c, list, responses.Pager{Page: page.Number, PageSize: page.Size, TotalRows: total})
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
	responses.Object(c, etag(found), toResponse(found))
}

// updateTag replaces a tag.
//
//	@Summary	Replace a tag's name, and its state if given
//	@ID	updateTag
//	@Tags		tags
//	@Accept		json,x-www-form-urlencoded
//	@Produce	json
//	@Param		id				path		integer					true	"id of the tag"	minimum(1)
//	@Param		tag				body		TagRequest				true	"the tag"
//	@Success	200				{object}	responses.Envelope[Tag]	"the tag as it is now"
//	@Failure	400	{object}	responses.Problem	"invalid (10000001)"
//	@Failure	404	{object}	responses.Problem	"no such tag (20010007)"
//	@Failure	409	{object}	responses.Problem	"name exists (20010008)"
//	@Security	AppToken
//	@Router		/api/v1/tags/{id} [put]
func (a *API) updateTag(c *gin.Context) {
	id, err := requests.ID(c, errcode.TagNotFound)
	if err != nil {
		responses.Error(c, err)
		return
	}
	var request TagRequest
	if err := a.Binder.Body(c, &request); err != nil {
		responses.Error(c, err)
		return
	}
	updated, err := a.Tags.Update(c.Request.Context(), id, request.draft(auth.PrincipalOf(c).AppKey), responses.Precondition(c))
	if err != nil {
		responses.ErrorOr(c, err, errcode.UpdateTagFailed)
		return
	}
	responses.Object(c, etag(updated), toResponse(updated))
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
	responses.OK(c, responses.Empty{})
}
