package api

import (
	"fmt"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// createArticle creates an article.
//
//	@Summary	Create an article
//	@Tags		articles
//	@Accept		json,x-www-form-urlencoded
//	@Produce	json
//	@Param		article			body		CreateRequest				true	"the article"
//	@Param		locale			header		string						false	"language of messages"	Enums(zh, en, zh_Hant_TW)
//	@Success	201				{object}	responses.Envelope[Article]	"created"
//	@Header		201				{string}	Location					"address of the new article"
//	@Failure	400,413,415		{object}	responses.Problem			"invalid (10000001), unknown tags (20020007), too large (10000010), unsupported media type (10000011)"
//	@Failure	408,409,500,503,504	{object}	responses.Problem			"arrived too slowly (10000016), a tag changed meanwhile (10000008), internal error, temporarily unavailable (10000014), took too long (10000015)"
//	@Router		/api/v1/articles [post]
func (a *API) createArticle(c *gin.Context) {
	var request CreateRequest
	if err := a.Binder.Body(c, &request); err != nil {
		responses.Error(c, err)
		return
	}
	created, err := a.Articles.Create(c.Request.Context(), request.draft())
	if err != nil {
		responses.ErrorOr(c, err, errcode.CreateArticleFailed)
		return
	}
	responses.Created(c, fmt.Sprintf("/api/v1/articles/%d", created.ID), newArticle(created, true))
}

// listArticles lists articles.
//
//	@Summary	List articles, newest first
//	@Tags		articles
//	@Produce	json
//	@Param		tag_id		query		integer							false	"with this tag"				minimum(1)
//	@Param		title		query		string							false	"contained in the title, regardless of case"	maxLength(100)
//	@Param		state		query		int								false	"1 enabled, 0 disabled"		Enums(0, 1)
//	@Param		include		query		string							false	"with their content"		Enums(content)
//	@Param		page		query		integer							false	"page; below 1 or not a number means 1"
//	@Param		page_size	query		integer							false	"articles on a page; below 1 means the default, above the maximum the maximum"
//	@Param		locale		header		string							false	"language of messages"	Enums(zh, en, zh_Hant_TW)
//	@Success	200			{object}	responses.ListEnvelope[Article]	"a page; the pager echoes what was used"
//	@Failure	400,500,503,504	{object}	responses.Problem			"invalid filter (10000001), internal error, temporarily unavailable (10000014), took too long (10000015)"
//	@Router		/api/v1/articles [get]
func (a *API) listArticles(c *gin.Context) {
	var request ListFilter
	if err := a.Binder.Query(c, &request); err != nil {
		responses.Error(c, err)
		return
	}
	page := a.Paging.Page(c)
	wanted := article.Page{Offset: page.Offset(), Limit: page.Size, WithContent: request.Include != nil}
	articles, total, err := a.Articles.List(c.Request.Context(), request.filter(), wanted)
	if err != nil {
		responses.ErrorOr(c, err, errcode.ListArticlesFailed)
		return
	}
	list := make([]Article, 0, len(articles))
	for _, found := range articles {
		list = append(list, newArticle(found, wanted.WithContent))
	}
	responses.List(c, list, responses.Pager{Page: page.Number, PageSize: page.Size, TotalRows: total})
}

// getArticle returns one article.
//
//	@Summary	Get an article with its content
//	@Tags		articles
//	@Produce	json
//	@Param		id		path		integer						true	"id of the article"	minimum(1)
//	@Param		locale	header		string						false	"language of messages"	Enums(zh, en, zh_Hant_TW)
//	@Success	200		{object}	responses.Envelope[Article]	"the article"
//	@Failure	400,404,500,503,504	{object}	responses.Problem		"invalid id (10000001), no such article (20020006), internal error, temporarily unavailable (10000014), took too long (10000015)"
//	@Router		/api/v1/articles/{id} [get]
func (a *API) getArticle(c *gin.Context) {
	id, err := requests.ID(c, errcode.ArticleNotFound)
	if err != nil {
		responses.Error(c, err)
		return
	}
	found, err := a.Articles.Get(c.Request.Context(), id)
	if err != nil {
		responses.ErrorOr(c, err, errcode.GetArticleFailed)
		return
	}
	responses.Object(c, newArticle(found, true))
}

// updateArticle changes an article.
//
//	@Summary	Replace what is sent of an article; tag_ids as a set
//	@Tags		articles
//	@Accept		json,x-www-form-urlencoded
//	@Produce	json
//	@Param		id				path		integer						true	"id of the article"	minimum(1)
//	@Param		article			body		UpdateRequest				true	"what is to change"
//	@Param		locale			header		string						false	"language of messages"	Enums(zh, en, zh_Hant_TW)
//	@Success	200				{object}	responses.Envelope[Article]	"the article as it is now"
//	@Failure	400,404,413,415	{object}	responses.Problem			"invalid (10000001), unknown tags (20020007), no such article (20020006), too large (10000010), unsupported media type (10000011)"
//	@Failure	408,409,500,503,504	{object}	responses.Problem			"arrived too slowly (10000016), a tag changed meanwhile (10000008), internal error, temporarily unavailable (10000014), took too long (10000015)"
//	@Router		/api/v1/articles/{id} [put]
func (a *API) updateArticle(c *gin.Context) {
	var request UpdateRequest
	a.update(c, &request, request.draft)
}

// setState enables or disables an article.
//
//	@Summary	Enable or disable an article
//	@Tags		articles
//	@Accept		json,x-www-form-urlencoded
//	@Produce	json
//	@Param		id				path		integer						true	"id of the article"	minimum(1)
//	@Param		state			body		StateRequest				true	"the state"
//	@Param		locale			header		string						false	"language of messages"	Enums(zh, en, zh_Hant_TW)
//	@Success	200				{object}	responses.Envelope[Article]	"the article as it is now"
//	@Failure	400,404,413,415	{object}	responses.Problem			"invalid (10000001), no such article (20020006), too large (10000010), unsupported media type (10000011)"
//	@Failure	408,409,500,503,504	{object}	responses.Problem			"arrived too slowly (10000016), conflict (10000008), internal error, temporarily unavailable (10000014), took too long (10000015)"
//	@Router		/api/v1/articles/{id}/state [patch]
func (a *API) setState(c *gin.Context) {
	var request StateRequest
	a.update(c, &request, func() article.Draft { return article.Draft{State: newState(request.State)} })
}

// update binds the body into request and then changes the article by the draft
// that it makes.
func (a *API) update(c *gin.Context, request any, draft func() article.Draft) {
	id, err := requests.ID(c, errcode.ArticleNotFound)
	if err != nil {
		responses.Error(c, err)
		return
	}
	if err := a.Binder.Body(c, request); err != nil {
		responses.Error(c, err)
		return
	}
	updated, err := a.Articles.Update(c.Request.Context(), id, draft())
	if err != nil {
		responses.ErrorOr(c, err, errcode.UpdateArticleFailed)
		return
	}
	responses.Object(c, newArticle(updated, true))
}

// deleteArticle deletes an article.
//
//	@Summary	Delete an article
//	@Tags		articles
//	@Produce	json
//	@Param		id		path		integer								true	"id of the article"	minimum(1)
//	@Param		locale	header		string								false	"language of messages"	Enums(zh, en, zh_Hant_TW)
//	@Success	200		{object}	responses.Envelope[responses.Empty]	"deleted"
//	@Failure	400,404,500,503,504	{object}	responses.Problem		"invalid id (10000001), no such article (20020006), internal error, temporarily unavailable (10000014), took too long (10000015)"
//	@Router		/api/v1/articles/{id} [delete]
func (a *API) deleteArticle(c *gin.Context) {
	id, err := requests.ID(c, errcode.ArticleNotFound)
	if err != nil {
		responses.Error(c, err)
		return
	}
	if err := a.Articles.Delete(c.Request.Context(), id); err != nil {
		responses.ErrorOr(c, err, errcode.DeleteArticleFailed)
		return
	}
	responses.Object(c, responses.Empty{})
}
