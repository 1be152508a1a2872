package api

import (
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// ListFilter selects the articles of a list, and their order.
type ListFilter struct {
	TagID       *string `json:"tag_id"`
	TagAll      *string `json:"tag_all"`
	Tag         *string `json:"tag" validate:"omitempty,notblank,max=100" text:"nfc,trim"`
	Title       *string `json:"title" validate:"omitempty,max=100" text:"nfc"`
	State       *int    `json:"state" validate:"omitempty,oneof=0 1"`
	CreatedFrom *string `json:"created_from"`
	CreatedTo   *string `json:"created_to"`
	UpdatedFrom *string `json:"updated_from"`
	UpdatedTo   *string `json:"updated_to"`
	OrderBy     *string `json:"order_by" validate:"omitempty,oneof=id -id created_at -created_at updated_at -updated_at title -title"`
	Include     *string `json:"include" validate:"omitempty,oneof=content"`
	// any text, see requests.Paging
	Page     string `json:"page"`
	PageSize string `json:"page_size"`

	parsed article.Filter
}

// Parse implements requests.Parser.
func (f *ListFilter) Parse(reject func(string, errcode.Detail)) {
	f.parsed.Tag, f.parsed.Title, f.parsed.State = f.Tag, f.Title, newState(f.State)
	f.parsed.AnyTag = parseTags("tag_id", f.TagID, reject)
	f.parsed.AllTags = parseTags("tag_all", f.TagAll, reject)
	f.parsed.Created = parseInterval("created_from", f.CreatedFrom, "created_to", f.CreatedTo, reject)
	f.parsed.Updated = parseInterval("updated_from", f.UpdatedFrom, "updated_to", f.UpdatedTo, reject)
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

// expensive reports whether the list costs much more than others.
func (f *ListFilter) expensive() bool {
	return f.Title != nil || f.Include != nil
}

func (f *ListFilter) filter() article.Filter { return f.parsed }

// order returns the order of the list.
func (f *ListFilter) order() article.Order {
	if f.OrderBy == nil {
		return article.Order{}
	}
	by := map[string]article.OrderBy{"id": article.ByID, "created_at": article.ByCreated, "updated_at": article.ByUpdated, "title": article.ByTitle}
	name, descending := strings.CutPrefix(*f.OrderBy, "-")
	return article.Order{By: by[name], Ascending: !descending}
}
