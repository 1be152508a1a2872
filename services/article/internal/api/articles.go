package api

import (
	"context"
	"errors"
	"fmt"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// createArticle creates an article.
//
//	@Summary	Create an article
//	@ID	createArticle
//	@Tags		articles
//	@Accept		json,x-www-form-urlencoded
//	@Produce	json
//	@Param		article			body		CreateRequest				true	"the article"
//	@Success	201				{object}	responses.Envelope[Article]	"created"
//	@Failure	400	{object}	responses.Problem	"invalid (10000001), unknown tags (20020007)"
//	@Failure	409	{object}	responses.Problem	"a tag changed meanwhile (10000008), another article has the slug (20020008), too many articles are scheduled (20020009)"
//	@Security	AppToken
//	@Router		/api/v1/articles [post]
func (a *API) createArticle(c *gin.Context) {
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
	reserved, err := a.Memory.Reserve(c, WriteMemory(contentSize(request.Content)))
	if err != nil {
		responses.Error(c, err)
		return
	}
	defer reserved.Release()
	created, replayed, err := a.Articles.Create(c.Request.Context(), request.draft(actor), key)
	if err != nil {
		responses.ErrorOr(c, err, errcode.CreateArticleFailed)
		return
	}
	reserved.Resize(int64(len(created.Content)))
	responses.Created(c, location(created.ID), etag(created), withContent(created, created.Content), replayed, reserved)
}

// location returns the address of an article.
func location(id uint64) string { return fmt.Sprintf("/api/v1/articles/%d", id) }

// listArticles lists articles.
//
//	@Summary	List articles, published last first unless order_by says otherwise
//	@ID	listArticles
//	@Tags		articles
//	@Produce	json
//	@Param		tag_id		query		[]integer						false	"with at least one of these tags, at most 20"	collectionFormat(csv)
//	@Param		tag_all		query		[]integer						false	"with all of these tags, at most 20"	collectionFormat(csv)
//	@Param		tag			query		string							false	"with the tag of this name"		maxLength(100)
//	@Param		title		query		string							false	"contained in the title, regardless of case"	maxLength(100)
//	@Param		q			query		string							false	"words that title, description and content have together; the best matches first, unless order_by says otherwise"	maxLength(100)
//	@Param		state		query		int								false	"1 enabled, 0 disabled"		Enums(0, 1)
//	@Param		created_from	query	string							false	"created at this time or later: RFC 3339, or a date in UTC"
//	@Param		created_to		query	string							false	"created before this time"
//	@Param		updated_from	query	string							false	"changed last at this time or later"
//	@Param		updated_to		query	string							false	"changed last before this time"
//	@Param		published_from	query	string							false	"published at this time or later; with a token also to be published"
//	@Param		published_to	query	string							false	"published before this time"
//	@Param		order_by	query		string							false	"the order, with - descending; what is equal is ordered by id, in the same direction"	Enums(id, -id, created_at, -created_at, updated_at, -updated_at, published_at, -published_at, title, -title)	default(-published_at)
//	@Param		fields		query		[]string						false	"the only fields that the articles have; content costs what include=content costs"	collectionFormat(csv)
//	@Param		include		query		string							false	"with their content"		Enums(content)
//	@Success	200			{object}	responses.ListEnvelope[Article]	"a page; the pager echoes what was used"
//	@Failure	400	{object}	responses.Problem	"invalid filter (10000001)"
//	@Security	AppToken
//	@Router		/api/v1/articles [get]
//	@Router		/api/v1/articles [head]
func (a *API) listArticles(c *gin.Context) {
	var request ListFilter
	if err := a.Binder.Query(c, &request); err != nil {
		responses.Error(c, err)
		return
	}
	page, err := a.Paging.In(c.Request.Context()).ParseAfter(request.Page, request.PageSize, request.After, request.cursors())
	if err != nil {
		responses.Error(c, err)
		return
	}
	wanted, err := request.page(page)
	if err != nil {
		responses.Error(c, err)
		return
	}
	if request.expensive(viewer(c), wanted) {
		if a.LimitSearch(c); c.IsAborted() {
			return
		}
	}
	reserved, err := a.Memory.Reserve(c, PageMemory(page.Size))
	if err != nil {
		responses.Error(c, err)
		return
	}
	defer reserved.Release()
	found, err := a.Articles.List(c.Request.Context(), viewer(c), request.filter, wanted)
	switch {
	case errors.Is(err, article.ErrUnauthenticated):
		auth.Unauthorized(c)
		return
	case err != nil:
		responses.ErrorOr(c, err, errcode.ListArticlesFailed)
		return
	}
	responses.CacheUntil(c, found.Until)
	pager := request.pager(page, found)
	if request.withContent() {
		reserved.Resize(sizeOf(found.Articles))
		a.listWithContent(c, found, request.shown, pager)
		return
	}
	pageTag := pageETag(found, request.shown, pager, "")
	request.shown.encoder().SharedList(c, pageTag, &found.Encodings, sizeOf(found.Articles), PageMemory(page.Size), func() []Article {
		list := make([]Article, 0, len(found.Articles))
		for _, a := range found.Articles {
			list = append(list, toResponse(a))
		}
		return list
	}, pager, reserved)
}

// getArticle returns one article.
//
//	@Summary	Get an article with its content
//	@ID	getArticle
//	@Tags		articles
//	@Produce	json
//	@Param		id		path		integer						true	"id of the article"	minimum(1)
//	@Param		fields	query		[]string					false	"the only fields that the article has"	collectionFormat(csv)
//	@Success	200		{object}	responses.Envelope[Article]	"the article"
//	@Failure	400	{object}	responses.Problem	"invalid id (10000001)"
//	@Failure	404	{object}	responses.Problem	"no such article (20020006)"
//	@Security	AppToken
//	@Router		/api/v1/articles/{id} [get]
//	@Router		/api/v1/articles/{id} [head]
func (a *API) getArticle(c *gin.Context) {
	id, err := requests.ID(c, errcode.ArticleNotFound)
	if err != nil {
		responses.Error(c, err)
		return
	}
	respond(a, c, id, read[uint64]{a.Articles.Get, a.Articles.GetWithoutContent, false})
}

// getArticleBySlug returns one article.
//
//	@Summary	Get an article with its content by its slug, or a former one
//	@ID	getArticleBySlug
//	@Tags		articles
//	@Produce	json
//	@Param		slug	path		string						true	"slug of the article"	maxLength(100)
//	@Param		fields	query		[]string					false	"the only fields that the article has"	collectionFormat(csv)
//	@Success	200		{object}	responses.Envelope[Article]	"the article"
//	@Failure	400	{object}	responses.Problem	"malformed slug (10000001)"
//	@Failure	404	{object}	responses.Problem	"no such article (20020006)"
//	@Security	AppToken
//	@Router		/api/v1/articles/slug/{slug} [get]
//	@Router		/api/v1/articles/slug/{slug} [head]
func (a *API) getArticleBySlug(c *gin.Context) {
	slug, err := requests.Slug(c)
	if err != nil {
		responses.Error(c, err)
		return
	}
	respond(a, c, slug, read[string]{a.Articles.GetBySlug, a.Articles.GetBySlugWithoutContent, true})
}

// read reads an article by a key.
type read[K any] struct {
	all, withoutContent func(ctx context.Context, viewer article.Viewer, key K) (*article.View, error)
	// elsewhere says that the article has another address, which the response names.
	elsewhere bool
}

// locate names the address of the article if it is another one than that of the request.
func (r read[K]) locate(c *gin.Context, found *article.View) {
	if r.elsewhere {
		responses.ContentLocation(c, location(found.ID))
	}
}

// respond answers with an article.
func respond[K any](a *API, c *gin.Context, key K, get read[K]) {
	shown, err := a.selection(c)
	if err != nil {
		responses.Error(c, err)
		return
	}
	if (responses.MayLackBody(c) || !shown.has(contentField)) && respondWithoutContent(c, key, get, shown) {
		return
	}
	reserved, err := a.Memory.Reserve(c, sharedMemory)
	if err != nil {
		responses.Error(c, err)
		return
	}
	defer reserved.Release()
	found, err := get.all(c.Request.Context(), viewer(c), key)
	if err != nil {
		responses.ErrorOr(c, err, errcode.GetArticleFailed)
		return
	}
	get.locate(c, found)
	if found.ContentOmitted {
		reserved.Release()
		a.respondWithLargeContent(c, found, shown)
		return
	}
	a.respondWithSharedContent(c, found, shown, reserved)
}

// respondWithoutContent answers if no content is needed for that, and reports whether it
// has answered.
func respondWithoutContent[K any](c *gin.Context, key K, get read[K], shown selection) bool {
	found, err := get.withoutContent(c.Request.Context(), viewer(c), key)
	if err != nil {
		responses.ErrorOr(c, err, errcode.GetArticleFailed)
		return true
	}
	get.locate(c, found)
	switch {
	case responses.WithoutBody(c, shown.etag(found)):
		return true
	case !shown.has(contentField):
		shown.encoder().Object(c, shown.etag(found), toResponse(found.Article), nil)
		return true
	}
	return false
}

// updateArticle changes an article.
//
//	@Summary	Replace the fields that are sent; tag_ids replaces all tags
//	@ID	updateArticle
//	@Tags		articles
//	@Accept		json,x-www-form-urlencoded
//	@Produce	json
//	@Param		id				path		integer						true	"id of the article"	minimum(1)
//	@Param		article			body		UpdateRequest				true	"what is to change"
//	@Success	200				{object}	responses.Envelope[Article]	"the article as it is now"
//	@Failure	400	{object}	responses.Problem	"invalid (10000001), unknown tags (20020007)"
//	@Failure	404	{object}	responses.Problem	"no such article (20020006)"
//	@Failure	409	{object}	responses.Problem	"a tag changed meanwhile (10000008), another article has the slug (20020008), too many articles are scheduled (20020009)"
//	@Security	AppToken
//	@Router		/api/v1/articles/{id} [put]
func (a *API) updateArticle(c *gin.Context) {
	var request UpdateRequest
	a.update(c, a.Binder.Body, &request, request.draft)
}

// patchArticle changes an article.
//
//	@Summary	Change an article by a JSON Merge Patch (RFC 7396); tag_ids replaces all tags
//	@ID	patchArticle
//	@Tags		articles
//	@Accept		application/merge-patch+json,json
//	@Produce	json
//	@Param		id				path		integer						true	"id of the article"	minimum(1)
//	@Param		article			body		UpdateRequest				true	"what is to change"
//	@Success	200				{object}	responses.Envelope[Article]	"the article as it is now"
//	@Failure	400	{object}	responses.Problem	"invalid (10000001), unknown tags (20020007)"
//	@Failure	404	{object}	responses.Problem	"no such article (20020006)"
//	@Failure	409	{object}	responses.Problem	"a tag changed meanwhile (10000008), another article has the slug (20020008), too many articles are scheduled (20020009)"
//	@Security	AppToken
//	@Router		/api/v1/articles/{id} [patch]
func (a *API) patchArticle(c *gin.Context) {
	var request UpdateRequest
	a.update(c, a.Binder.MergePatch, &request, request.draft)
}

// setState enables or disables an article.
//
//	@Summary	Enable or disable an article
//	@ID	setState
//	@Tags		articles
//	@Accept		json,x-www-form-urlencoded
//	@Produce	json
//	@Param		id				path		integer						true	"id of the article"	minimum(1)
//	@Param		state			body		StateRequest				true	"the state"
//	@Success	200				{object}	responses.Envelope[Article]	"the article as it is now"
//	@Failure	400	{object}	responses.Problem	"invalid (10000001)"
//	@Failure	404	{object}	responses.Problem	"no such article (20020006)"
//	@Failure	409	{object}	responses.Problem	"conflict (10000008), too many articles are scheduled (20020009)"
//	@Security	AppToken
//	@Router		/api/v1/articles/{id}/state [patch]
func (a *API) setState(c *gin.Context) {
	var request StateRequest
	a.update(c, a.Binder.Body, &request, func() article.Draft { return article.Draft{State: newState(request.State)} })
}

// update decodes the body into request with decode, calls toDraft to convert it, and
// applies the result.
func (a *API) update(c *gin.Context, decode func(*gin.Context, any) error, request any, toDraft func() article.Draft) {
	id, err := requests.ID(c, errcode.ArticleNotFound)
	if err != nil {
		responses.Error(c, err)
		return
	}
	if err := decode(c, request); err != nil {
		responses.Error(c, err)
		return
	}
	draft := toDraft()
	draft.Actor = auth.PrincipalOf(c).AppKey
	reserved, err := a.reserveUpdate(c, id, draft)
	if err != nil {
		responses.ErrorOr(c, err, errcode.UpdateArticleFailed)
		return
	}
	defer reserved.Release()
	updated, err := a.Articles.Update(c.Request.Context(), id, draft, responses.Precondition(c))
	if err != nil {
		responses.ErrorOr(c, err, errcode.UpdateArticleFailed)
		return
	}
	reserved.Resize(int64(len(updated.Content)))
	responses.Object(c, etag(updated), withContent(updated, updated.Content), reserved)
}

// deleteArticle deletes an article.
//
//	@Summary	Delete an article
//	@ID	deleteArticle
//	@Tags		articles
//	@Produce	json
//	@Param		id		path		integer								true	"id of the article"	minimum(1)
//	@Success	200		{object}	responses.Envelope[responses.Empty]	"deleted"
//	@Failure	400	{object}	responses.Problem	"invalid id (10000001)"
//	@Failure	404	{object}	responses.Problem	"no such article (20020006)"
//	@Security	AppToken
//	@Router		/api/v1/articles/{id} [delete]
func (a *API) deleteArticle(c *gin.Context) {
	id, err := requests.ID(c, errcode.ArticleNotFound)
	if err != nil {
		responses.Error(c, err)
		return
	}
	if err := a.Articles.Delete(c.Request.Context(), id, auth.PrincipalOf(c).AppKey, responses.Precondition(c)); err != nil {
		responses.ErrorOr(c, err, errcode.DeleteArticleFailed)
		return
	}
	responses.OK(c, responses.Empty{}, nil)
}
