package api

import (
	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/batch"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// batchField is the name of the list of a BatchRequest.
const batchField = "articles"

// BatchRequest is the body that creates several articles.
type BatchRequest struct {
	// true: all articles are created, or none; false: each on its own, as it is when left out
	Atomic   *bool           `json:"atomic"`
	Articles []CreateRequest `json:"articles" validate:"required"`
}

// CreatedArticles are articles that were created together, in the order of the request.
type CreatedArticles struct {
	// without their contents
	Articles []Article `json:"articles"`
}

func (r *BatchRequest) atomic() bool { return r.Atomic != nil && *r.Atomic }

// meaning returns the request without fields that have their default value: a repeat under the
// same Idempotency-Key may send them or not.
func (r *BatchRequest) meaning() BatchRequest {
	m := BatchRequest{Articles: make([]CreateRequest, 0, len(r.Articles))}
	if r.atomic() {
		m.Atomic = r.Atomic
	}
	for i := range r.Articles {
		m.Articles = append(m.Articles, r.Articles[i].meaning())
	}
	return m
}

func (r *BatchRequest) drafts(actor string) []article.Draft {
	drafts := make([]article.Draft, 0, len(r.Articles))
	for i := range r.Articles {
		drafts = append(drafts, r.Articles[i].draft(actor))
	}
	return drafts
}

// memory returns the memory in bytes that writing the articles takes, one after another, and
// responding without their contents.
func (r *BatchRequest) memory() (bytes int64) {
	for i := range r.Articles {
		bytes = max(bytes, WriteMemory(contentSize(r.Articles[i].Content)))
	}
	return bytes + PageMemory(len(r.Articles))
}

// createArticles creates articles.
//
//	@Summary	Create up to 100 articles: all or none (atomic), or each on its own, with a result for each
//	@ID	createArticles
//	@Tags		articles
//	@Accept		json
//	@Produce	json
//	@Param		batch			body		BatchRequest				true	"the articles"
//	@Success	200				{object}	responses.BatchEnvelope[Article]	"not atomic: what became of each article; code is 0 even if some or all of them failed"
//	@Success	201				{object}	responses.Envelope[CreatedArticles]	"atomic: all were created"
//	@Failure	400	{object}	responses.Problem	"invalid (10000001), unknown tags (20020007)"
//	@Failure	409	{object}	responses.Problem	"a tag changed meanwhile (10000008), another article has the slug (20020008)"
//	@Security	AppToken
//	@Router		/api/v1/articles/batch [post]
func (a *API) createArticles(c *gin.Context) {
	var request BatchRequest
	invalid, err := a.Binder.Batch(c, &request)
	if err != nil {
		responses.Error(c, err)
		return
	}
	if a.LimitBatch(c, len(request.Articles)-1); c.IsAborted() {
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
	reserved, err := a.Memory.Reserve(c, request.memory())
	if err != nil {
		responses.Error(c, err)
		return
	}
	defer reserved.Release()
	drafts := request.drafts(actor)
	if request.atomic() {
		created, replayed, err := a.Articles.CreateAll(c.Request.Context(), drafts, key)
		if err != nil {
			responses.ErrorOr(c, batch.Named(batchField, err), errcode.CreateArticleFailed)
			return
		}
		responses.CreatedAll(c, toResponses(created), replayed, reserved)
		return
	}
	results, err := a.Articles.CreateEach(c.Request.Context(), batch.Items(drafts, invalid), key)
	if err != nil {
		responses.ErrorOr(c, err, errcode.CreateArticleFailed)
		return
	}
	responses.Results(c, batchField, results, errcode.CreateArticleFailed, toResponse, reserved)
}

func toResponses(created []article.Article) CreatedArticles {
	all := CreatedArticles{Articles: make([]Article, 0, len(created))}
	for _, a := range created {
		all.Articles = append(all.Articles, toResponse(a))
	}
	return all
}
