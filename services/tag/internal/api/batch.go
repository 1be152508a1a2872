package api

import (
	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/batch"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/tag/internal/tag"
)

const (
	// MaxBatchBytes is the maximum size in bytes of the body of a batch. In JSON, a tag may
	// be escaped as 1200 bytes.
	MaxBatchBytes = 256 << 10
	// MaxBatchMemory is the memory in bytes that the bodies of all batches may take at once.
	MaxBatchMemory = 8 << 20
	// batchField is the name of the list of a BatchRequest.
	batchField = "tags"
)

// BatchRequest is the body that creates several tags.
type BatchRequest struct {
	// true: all tags are created, or none; false: each on its own, as it is when left out
	Atomic *bool           `json:"atomic"`
	Tags   []CreateRequest `json:"tags" validate:"required"`
}

// CreatedTags are tags that were created together, in the order of the request.
type CreatedTags struct {
	Tags []Tag `json:"tags"`
}

func (r *BatchRequest) atomic() bool { return r.Atomic != nil && *r.Atomic }

// meaning returns the request without fields that have their default value: a repeat under the
// same Idempotency-Key may send them or not.
func (r *BatchRequest) meaning() BatchRequest {
	m := BatchRequest{Tags: make([]CreateRequest, 0, len(r.Tags))}
	if r.atomic() {
		m.Atomic = r.Atomic
	}
	for i := range r.Tags {
		m.Tags = append(m.Tags, r.Tags[i].meaning())
	}
	return m
}

func (r *BatchRequest) drafts(actor string) []tag.Draft {
	drafts := make([]tag.Draft, 0, len(r.Tags))
	for i := range r.Tags {
		drafts = append(drafts, r.Tags[i].draft(actor))
	}
	return drafts
}

// createTags creates tags.
//
//	@Summary	Create up to 100 tags: all or none (atomic), or each on its own, with a result for each
//	@ID	createTags
//	@Tags		tags
//	@Accept		json
//	@Produce	json
//	@Param		batch			body		BatchRequest			true	"the tags"
//	@Success	200				{object}	responses.BatchEnvelope[Tag]	"not atomic: what became of each tag; code is 0 even if some or all of them failed"
//	@Success	201				{object}	responses.Envelope[CreatedTags]	"atomic: all were created"
//	@Failure	400	{object}	responses.Problem	"invalid (10000001)"
//	@Failure	409	{object}	responses.Problem	"name exists (20010008)"
//	@Security	AppToken
//	@Router		/api/v1/tags/batch [post]
func (a *API) createTags(c *gin.Context) {
	var request BatchRequest
	invalid, err := a.Binder.Batch(c, &request)
	if err != nil {
		responses.Error(c, err)
		return
	}
	if a.LimitBatch(c, len(request.Tags)-1); c.IsAborted() {
		return
	}
	if request.atomic() && invalid != nil {
		responses.Error(c, batch.Named(batchField, invalid))
		return
	}
	actor := auth.PrincipalOf(c).AppKey
	key, err := requests.IdempotencyKey(c, actor, request.meaning())
	if err != nil {
		responses.Error(c, err)
		return
	}
	reserved, err := a.Memory.Reserve(c, PageMemory(len(request.Tags)))
	if err != nil {
		responses.Error(c, err)
		return
	}
	defer reserved.Release()
	if request.atomic() {
		created, replayed, err := a.Tags.CreateAll(c.Request.Context(), request.drafts(actor), key)
		if err != nil {
			responses.ErrorOr(c, batch.Named(batchField, err), errcode.CreateTagFailed)
			return
		}
		responses.CreatedAll(c, toResponses(created), replayed, reserved)
		return
	}
	results, err := a.Tags.CreateEach(c.Request.Context(), batch.Items(request.drafts(actor), invalid), key)
	if err != nil {
		responses.ErrorOr(c, err, errcode.CreateTagFailed)
		return
	}
	responses.Results(c, batchField, results, errcode.CreateTagFailed, toResponse, reserved)
}

func toResponses(created []tag.Tag) CreatedTags {
	all := CreatedTags{Tags: make([]Tag, 0, len(created))}
	for _, t := range created {
		all.Tags = append(all.Tags, toResponse(t))
	}
	return all
}
