package api

import (
	"strconv"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/cursor"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// ListFilter selects the articles of a list, and their order.
type ListFilter struct {
	TagID         *string `json:"tag_id"`
	TagAll        *string `json:"tag_all"`
	Tag           *string `json:"tag" validate:"omitempty,notblank,max=100" text:"nfc,trim"`
	Title         *string `json:"title" validate:"omitempty,max=100" text:"nfc"`
	Q             *string `json:"q" validate:"omitempty,max=100" text:"nfc,trim"`
	State         *int    `json:"state" validate:"omitempty,oneof=0 1"`
	CreatedFrom   *string `json:"created_from"`
	CreatedTo     *string `json:"created_to"`
	UpdatedFrom   *string `json:"updated_from"`
	UpdatedTo     *string `json:"updated_to"`
	PublishedFrom *string `json:"published_from"`
	PublishedTo   *string `json:"published_to"`
	OrderBy       *string `json:"order_by" validate:"omitempty,oneof=id -id created_at -created_at updated_at -updated_at published_at -published_at title -title"`
	Fields        *string `json:"fields"`
	Include       *string `json:"include" validate:"omitempty,oneof=content"`
	After         *string `json:"after"`
	// any text, see requests.Paging
	Page     string `json:"page"`
	PageSize string `json:"page_size"`

	filter article.Filter
	shown  selection
}

// Parse implements requests.Parser.
func (f *ListFilter) Parse(reject func(string, errcode.Detail)) {
	f.filter.Tag, f.filter.Title, f.filter.State = f.Tag, f.Title, newState(f.State)
	f.filter.Words = parseWords("q", f.Q, reject)
	f.filter.AnyTag = parseTags("tag_id", f.TagID, reject)
	f.filter.AllTags = parseTags("tag_all", f.TagAll, reject)
	f.filter.Created = parseInterval("created_from", f.CreatedFrom, "created_to", f.CreatedTo, reject)
	f.filter.Updated = parseInterval("updated_from", f.UpdatedFrom, "updated_to", f.UpdatedTo, reject)
	f.filter.Published = parseInterval("published_from", f.PublishedFrom, "published_to", f.PublishedTo, reject)
	f.shown = parseFields(f.Fields, reject)
	if f.Include != nil {
		f.shown = f.shown.with(contentField)
	}
}

func parseTags(name string, text *string, reject func(string, errcode.Detail)) []uint64 {
	if text == nil {
		return nil
	}
	ids, problem, ok := requests.ParseIDs(name, *text, article.MaxFilterTags)
	if !ok {
		reject(name, problem)
	}
	return ids
}

func parseInterval(fromName string, from *string, toName string, to *string, reject func(string, errcode.Detail)) article.Interval {
	interval := article.Interval{From: parseTime(fromName, from, reject), To: parseTime(toName, to, reject)}
	if interval.From != nil && interval.To != nil && interval.From.After(*interval.To) {
		reject(fromName, requests.AfterEnd(fromName, toName))
	}
	return interval
}

func parseTime(name string, text *string, reject func(string, errcode.Detail)) *time.Time {
	if text == nil {
		return nil
	}
	at, problem, ok := requests.ParseTime(name, *text)
	if !ok {
		reject(name, problem)
		return nil
	}
	return &at
}

// expensive reports whether a page of the list costs much more for a viewer than others.
func (f *ListFilter) expensive(viewer article.Viewer, page article.Page) bool {
	return f.Title != nil || f.Q != nil || f.withContent() || f.filter.For(viewer).Expensive(page)
}

// withContent reports whether the articles of the response have their content.
func (f *ListFilter) withContent() bool {
	return f.Include != nil || f.Fields != nil && f.shown.has(contentField)
}

// cursors returns the list that the cursors of the request belong to.
func (f *ListFilter) cursors() cursor.List {
	filters := requests.Filters(f, "order_by", "fields", "include", "after", "page", "page_size")
	return cursor.List{Route: "/api/v1/articles", Order: f.orderName(), Filters: filters}
}

// page returns the page of the list that a request asks for.
func (f *ListFilter) page(page requests.Page) (article.Page, error) {
	wanted := article.Page{Order: f.order(), Offset: page.Offset(), Limit: page.Size}
	if !page.After.Valid() {
		return wanted, nil
	}
	wanted.After = &article.Position{ID: page.After.ID}
	var err error
	switch wanted.Order.By {
	case article.ByCreated, article.ByUpdated, article.ByPublished:
		wanted.After.Time, err = page.After.Time()
	case article.ByTitle:
		wanted.After.Title = page.After.Key
	case article.ByRank:
		wanted.After.Rank, err = parseRank(page.After.Key)
	}
	return wanted, err
}

// pager returns the pager of a page.
func (f *ListFilter) pager(page requests.Page, found *article.List) responses.Pager {
	pager := responses.Pager{Page: page.Number, PageSize: page.Size, TotalRows: found.Total.Rows, TotalRelation: responses.RelationOf(found.Total.AtLeast)}
	if next := found.Next; next != nil {
		position := cursor.Position{ID: next.ID, Key: next.Title}
		switch {
		case !next.Time.IsZero():
			position.Key = cursor.TimeKey(next.Time)
		case next.Rank > 0:
			position.Key = strconv.Itoa(next.Rank)
		}
		pager.Next = f.cursors().New(position)
	}
	return pager
}

// orderName returns the order of the list as order_by names it. Words are ordered by rank. A search
// for a title goes on for as many pages as there are only in the order of ids.
func (f *ListFilter) orderName() string {
	switch {
	case f.OrderBy != nil:
		return *f.OrderBy
	case len(f.filter.Words) > 0:
		return "-rank"
	case f.Title != nil && *f.Title != "":
		return "-id"
	default:
		return "-published_at"
	}
}

// order returns the order of the list.
func (f *ListFilter) order() article.Order {
	by := map[string]article.OrderBy{
		"id": article.ByID, "created_at": article.ByCreated, "updated_at": article.ByUpdated, "published_at": article.ByPublished,
		"title": article.ByTitle, "rank": article.ByRank,
	}
	name, descending := strings.CutPrefix(f.orderName(), "-")
	return article.Order{By: by[name], Ascending: !descending}
}
