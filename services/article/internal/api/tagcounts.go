package api

import (
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/cursor"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// TagCount is a tag in a response, with the number of its articles.
type TagCount struct {
	ID    uint64 `json:"id" example:"1"`
	Name  string `json:"name" example:"Kubernetes"`
	State int    `json:"state" example:"1" enums:"0,1"`
	// number of articles with the tag, without a token only of those that everybody sees
	Count int64 `json:"count" example:"42"`
}

var (
	tagCountShape   = responses.ShapeOf[TagCount]()
	tagCountEncoder = responses.NewEncoder[TagCount]()
)

// tagCountSize is the size in bytes that is reserved for each tag of a page.
const tagCountSize = 1 << 10

// TagFilter selects a page of tags.
type TagFilter struct {
	OrderBy *string `json:"order_by" validate:"omitempty,oneof=count -count name -name"`
	After   *string `json:"after"`
	// any text, see requests.Paging
	Page     string `json:"page"`
	PageSize string `json:"page_size"`
}

func (f TagFilter) order() string {
	if f.OrderBy == nil {
		return "-count"
	}
	return *f.OrderBy
}

func (f TagFilter) byName() bool { return strings.TrimPrefix(f.order(), "-") == "name" }

// cursors returns the list that the cursors of the request belong to.
func (f TagFilter) cursors() cursor.List {
	return cursor.List{Route: "/api/v1/articles/tags", Order: f.order()}
}

// page returns the page of tags that a request asks for.
func (f TagFilter) page(page requests.Page) (article.TagPage, error) {
	wanted := article.TagPage{ByName: f.byName(), Ascending: !strings.HasPrefix(f.order(), "-"), Offset: page.Offset(), Limit: page.Size}
	if !page.After.Valid() {
		return wanted, nil
	}
	wanted.After = &article.TagCount{Tag: article.Tag{ID: page.After.ID}}
	if wanted.ByName {
		wanted.After.Name = page.After.Key
		return wanted, nil
	}
	var err error
	if wanted.After.Count, err = strconv.ParseInt(page.After.Key, 10, 64); err != nil {
		err = cursor.Invalid()
	}
	return wanted, err
}

// key returns the key of a tag in a cursor.
func (f TagFilter) key(tag article.TagCount) string {
	if f.byName() {
		return tag.Name
	}
	return strconv.FormatInt(tag.Count, 10)
}

// listTags lists tags with the numbers of their articles.
//
//	@Summary	List tags with the numbers of their articles, as for a tag cloud
//	@Description	The tags as the article service knows them: it follows the tag service within moments. By count, it compares the 5000 tags with the smallest ids.
//	@ID	listArticleTags
//	@Tags		articles
//	@Produce	json
//	@Param		order_by	query		string							false	"the order, with - descending; what is equal is ordered by id, in the same direction"	Enums(count, -count, name, -name)	default(-count)
//	@Success	200			{object}	responses.ListEnvelope[TagCount]	"a page; the pager echoes what was used"
//	@Failure	400	{object}	responses.Problem	"invalid order (10000001)"
//	@Security	AppToken
//	@Router		/api/v1/articles/tags [get]
//	@Router		/api/v1/articles/tags [head]
func (a *API) listTags(c *gin.Context) {
	var request TagFilter
	if err := a.Binder.Query(c, &request); err != nil {
		responses.Error(c, err)
		return
	}
	if !request.byName() {
		if a.LimitSearch(c); c.IsAborted() {
			return
		}
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
	most := int64(tagCountSize * page.Size)
	reserved, err := a.Memory.Reserve(c, most)
	if err != nil {
		responses.Error(c, err)
		return
	}
	defer reserved.Release()
	found, err := a.Articles.Tags(c.Request.Context(), viewer(c), wanted)
	if err != nil {
		responses.ErrorOr(c, err, errcode.ListTagsFailed)
		return
	}
	responses.CacheUntil(c, found.Until)
	pager := responses.Pager{Page: page.Number, PageSize: page.Size, TotalRows: found.Total.Rows, TotalRelation: responses.RelationOf(found.Total.AtLeast)}
	if found.Next != nil {
		pager.Next = request.cursors().New(cursor.Position{ID: found.Next.ID, Key: request.key(*found.Next)})
	}
	etag := responses.PageETag(tagCountShape, pager, []string{found.Version()})
	tagCountEncoder.SharedList(c, etag, &found.Encodings, most/2, most, func() []TagCount {
		list := make([]TagCount, 0, len(found.Tags))
		for _, t := range found.Tags {
			list = append(list, TagCount{ID: t.ID, Name: t.Name, State: int(t.State), Count: t.Count})
		}
		return list
	}, pager, reserved)
}
