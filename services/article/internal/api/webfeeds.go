package api

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/webfeed"
)

// entrySize is the size in bytes that is reserved for each article of a feed before it is
// read, for the article and its entry. An entry whose texts are long and escaped is larger.
const entrySize = 8 << 10

// WebFeedMemory returns the memory in bytes that is reserved for a feed of a number of
// articles.
func WebFeedMemory(size int) int64 { return entrySize * int64(size) }

// WebFeeds configures the feeds of the newest articles.
type WebFeeds struct {
	Site webfeed.Site
	// Size is the number of articles.
	Size int
}

func (a *API) registerWebFeeds(articles gin.IRoutes) {
	for path, handler := range map[string]gin.HandlerFunc{feedRSS: a.getRSS, feedAtom: a.getAtom, feedJSON: a.getJSONFeed} {
		articles.GET("/"+path, handler)
		articles.HEAD("/"+path, handler)
	}
}

// The last parts of the paths of the feeds.
const (
	feedRSS  = "feed.rss"
	feedAtom = "feed.atom"
	feedJSON = "feed.json"
)

// WebFeedRequest selects the articles of a web feed.
type WebFeedRequest struct {
	Tag *string `json:"tag" validate:"omitempty,notblank,max=100" text:"nfc,trim"`
}

// getRSS returns the newest articles as RSS.
//
//	@Summary	Feed of the newest articles as RSS 2.0, as anonymous clients see them
//	@ID	getRSS
//	@Tags		feeds
//	@Produce	application/rss+xml
//	@Param		tag		query		string	false	"name of a tag that the articles have"	maxLength(100)
//	@Success	200		{string}	string	"the feed"
//	@Failure	400	{object}	responses.Problem	"invalid parameter (10000001)"
//	@Failure	404	{object}	responses.Problem	"no such tag, or it is disabled (20010007)"
//	@Security	AppToken
//	@Router		/api/v1/articles/feed.rss [get]
//	@Router		/api/v1/articles/feed.rss [head]
func (a *API) getRSS(c *gin.Context) { a.getWebFeed(c, feedRSS, webfeed.RSS) }

// getAtom returns the newest articles as Atom.
//
//	@Summary	Feed of the newest articles as Atom, as anonymous clients see them
//	@ID	getAtom
//	@Tags		feeds
//	@Produce	application/atom+xml
//	@Param		tag		query		string	false	"name of a tag that the articles have"	maxLength(100)
//	@Success	200		{string}	string	"the feed"
//	@Failure	400	{object}	responses.Problem	"invalid parameter (10000001)"
//	@Failure	404	{object}	responses.Problem	"no such tag, or it is disabled (20010007)"
//	@Security	AppToken
//	@Router		/api/v1/articles/feed.atom [get]
//	@Router		/api/v1/articles/feed.atom [head]
func (a *API) getAtom(c *gin.Context) { a.getWebFeed(c, feedAtom, webfeed.Atom) }

// getJSONFeed returns the newest articles as JSON Feed.
//
//	@Summary	Feed of the newest articles as JSON Feed 1.1, as anonymous clients see them
//	@ID	getJSONFeed
//	@Tags		feeds
//	@Produce	application/feed+json
//	@Param		tag		query		string	false	"name of a tag that the articles have"	maxLength(100)
//	@Success	200		{object}	object	"the feed"
//	@Failure	400	{object}	responses.Problem	"invalid parameter (10000001)"
//	@Failure	404	{object}	responses.Problem	"no such tag, or it is disabled (20010007)"
//	@Security	AppToken
//	@Router		/api/v1/articles/feed.json [get]
//	@Router		/api/v1/articles/feed.json [head]
func (a *API) getJSONFeed(c *gin.Context) { a.getWebFeed(c, feedJSON, webfeed.JSON) }

// getWebFeed answers with a feed. path is the last part of its path.
func (a *API) getWebFeed(c *gin.Context, path string, format webfeed.Format) {
	var request WebFeedRequest
	if err := a.Binder.Query(c, &request); err != nil {
		responses.Error(c, err)
		return
	}
	reserved, err := a.Memory.Reserve(c, WebFeedMemory(a.WebFeeds.Size))
	if err != nil {
		responses.Error(c, err)
		return
	}
	defer reserved.Release()
	found, err := a.Articles.Newest(c.Request.Context(), request.Tag, a.WebFeeds.Size)
	if err != nil {
		responses.ErrorOr(c, err, errcode.ListArticlesFailed)
		return
	}
	responses.CacheUntil(c, found.Until)
	feed := a.newWebFeed(c, path, request, found)
	tag := responses.PageETag(shape, responses.Pager{}, []string{found.Version(), fmt.Sprintf("%q", feed.Site), feed.Self})
	responses.Document(c, tag, format.MediaType, feed.Language, reserved, func() ([]byte, error) {
		text, err := encodeWebFeed(found, path, format, feed)
		reserved.Resize(sizeOf(found.Articles) + int64(cap(text)))
		return text, err
	})
}

// newWebFeed returns the feed of articles at the address that the client used.
func (a *API) newWebFeed(c *gin.Context, path string, request WebFeedRequest, found *article.List) webfeed.Feed {
	address := responses.Address(c)
	feed := webfeed.Feed{Site: a.WebFeeds.Site, Self: address, API: strings.TrimSuffix(address, "/"+path), Articles: found.Articles}
	feed.Download = strings.TrimSuffix(feed.API, "/api/v1/articles") + downloadPath
	if request.Tag != nil {
		feed.Tag = *request.Tag
		feed.Self += "?tag=" + url.QueryEscape(feed.Tag)
	}
	return feed
}

// encodeWebFeed returns the document of a feed. Requests that share the list and have the same
// address share the document that was made first. Documents for other addresses are not kept:
// clients could make as many as they like.
func encodeWebFeed(found *article.List, path string, format webfeed.Format, feed webfeed.Feed) ([]byte, error) {
	shared := found.WebFeeds.Get(path, func() article.WebFeed {
		text, err := format.Encode(feed)
		return article.WebFeed{Address: feed.Self, Text: text, Err: err}
	})
	if shared.Address != feed.Self {
		return format.Encode(feed)
	}
	return shared.Text, shared.Err
}
