package api

import (
	"fmt"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

const (
	// pageContents is the maximum size in bytes of the contents of a page, unless its
	// first content alone is larger.
	pageContents = 1 << 20
	// articleSize is the size in bytes that is reserved for each article of a page,
	// without its content, before it is read.
	articleSize = 4 << 10
	// sharedMemory is the size in bytes that is reserved for an article before it is read
	// with its content: as text and encoded. An encoding that does not fit is not kept.
	sharedMemory = 2 * article.MaxSharedContent
	// readFactor is how often a content is in memory while it is read: the driver,
	// database/sql and gorm have copies.
	readFactor = 3
	// writeFactor is how often a content is in memory while it is written, beside the
	// body: a driver has up to four copies, and under an Idempotency-Key the created
	// object is encoded and written, too. TestMemoryOfWrites measures it.
	writeFactor = 6
	// wordsFactor is how much more the words of a short content take, and maxWords is what
	// those of any content take at most, see search.MaxWords.
	wordsFactor, maxWords = 100, 4 << 20
)

// WriteMemory returns the memory in bytes that writing a content of a size takes,
// which is more than reading it takes.
func WriteMemory(size int64) int64 { return writeFactor*size + min(wordsFactor*size, maxWords) }

// PageMemory returns the memory in bytes that reading a page of a size takes, without
// contents.
func PageMemory(size int) int64 { return articleSize * int64(size) }

// listWithContent answers with a page of articles with their contents, as far as the
// page has room for them. Contents are not read for a response without a body.
func (a *API) listWithContent(c *gin.Context, found *article.List, shown selection, pager responses.Pager) {
	responses.SetLinks(c, pager)
	tag := pageETag(found, shown, pager, fmt.Sprint("content ", pageContents))
	if responses.WithoutBody(c, tag) {
		return
	}
	contents, reserved, err := a.contents(c, found.Articles)
	if err != nil {
		responses.ErrorOr(c, err, errcode.ListArticlesFailed)
		return
	}
	defer reserved.Release()
	list := make([]Article, 0, len(found.Articles))
	for _, one := range found.Articles {
		if content, ok := contents[one.ID]; ok {
			list = append(list, withContent(one, content))
			continue
		}
		without := toResponse(one)
		without.ContentOmitted = new(true)
		list = append(list, without)
	}
	shown.encoder().List(c, tag, list, pager, reserved)
}

// respondWithSharedContent answers with an article that was read together with its
// content. reserved has sharedMemory.
func (a *API) respondWithSharedContent(c *gin.Context, found *article.View, shown selection, reserved *responses.Reservation) {
	size := len(found.Content)
	object := func() Article { return withContent(found.Article, found.Content) }
	about := size + int(sizeOf([]article.Article{found.Article}))
	encoder := shown.encoder()
	body := responses.Encode(c, &found.Encodings, encoder, about, sharedMemory-size, object)
	reserved.Resize(int64(size + cap(body)))
	if body == nil {
		encoder.Object(c, shown.etag(found), object(), reserved)
		return
	}
	responses.Encoded(c, shown.etag(found), body, reserved)
}

// respondWithLargeContent answers with an article whose content is too large to be read
// together with it.
func (a *API) respondWithLargeContent(c *gin.Context, found *article.View, shown selection) {
	for !a.respondWithContent(c, found, shown) { // it was changed while it was read
		var err error
		if found, err = a.Articles.GetWithoutContent(c.Request.Context(), viewer(c), found.ID); err != nil {
			responses.ErrorOr(c, err, errcode.GetArticleFailed)
			return
		}
	}
}

// respondWithContent reads the content and answers, unless the article was changed
// meanwhile. It reports whether it has answered.
func (a *API) respondWithContent(c *gin.Context, found *article.View, shown selection) bool {
	contents, reserved, err := a.contents(c, []article.Article{found.Article})
	if err != nil {
		responses.ErrorOr(c, err, errcode.GetArticleFailed)
		return true
	}
	defer reserved.Release()
	content, unchanged := contents[found.ID]
	if unchanged {
		shown.encoder().Object(c, shown.etag(found), withContent(found.Article, content), reserved)
	}
	return unchanged
}

// contents returns the contents of the first articles, up to pageContents bytes, and
// always that of the first. The content of an article that has changed since is
// missing. The caller must release the memory.
func (a *API) contents(c *gin.Context, articles []article.Article) (map[uint64]string, *responses.Reservation, error) {
	ctx := c.Request.Context()
	sizes, err := a.Articles.ContentSizes(ctx, articles)
	if err != nil {
		return nil, nil, err
	}
	var total int64
	for i, found := range articles {
		if i > 0 && total+sizes[found.ID] > pageContents {
			articles = articles[:i]
			break
		}
		total += sizes[found.ID]
	}
	reserved, err := a.Memory.Reserve(c, readFactor*total)
	if err != nil {
		return nil, nil, err
	}
	contents, err := a.Articles.Contents(ctx, articles)
	if err != nil {
		reserved.Release()
		return nil, nil, err
	}
	reserved.Resize(total)
	return contents, reserved, nil
}

// reserveUpdate reserves memory for the article that an update responds with, before
// anything is changed.
func (a *API) reserveUpdate(c *gin.Context, id uint64, draft article.Draft) (*responses.Reservation, error) {
	size := contentSize(draft.Content)
	if draft.Content == nil {
		var err error
		if size, err = a.Articles.ContentSizeForUpdate(c.Request.Context(), id); err != nil {
			return nil, err
		}
	}
	return a.Memory.Reserve(c, WriteMemory(size))
}

func contentSize(content *string) int64 {
	if content == nil {
		return 0
	}
	return int64(len(*content))
}

// sizeOf returns the size in bytes of articles without their contents.
func sizeOf(articles []article.Article) (size int64) {
	const fixed = 256
	for _, a := range articles {
		size += int64(fixed + len(a.Title) + len(a.Desc) + len(a.CoverImageURL))
		for _, t := range a.Tags {
			size += int64(fixed + len(t.Name))
		}
	}
	return size
}

// pageETag returns the entity tag of a page. kind tells pages with content from
// others.
func pageETag(found *article.List, shown selection, pager responses.Pager, kind string) responses.ETag {
	return responses.PageETag(shown.shape(), pager, []string{kind, found.Version()})
}
