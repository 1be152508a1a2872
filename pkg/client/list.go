package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// Page is a page of a list.
type Page[T any] struct {
	Items []T
	// Total is the number of objects on all pages; there may be more if AtLeast is true.
	Total   int64
	AtLeast bool
	// Next is PageAt.After of the next page, or "" if this is the last one.
	Next string
}

// PageAt selects a page of a list. The zero value is the first one.
type PageAt struct {
	// After is Page.Next of the page before. It takes precedence over Number.
	After string
	// Number is the number of the page, from 1. Use After to read a list to its end: pages
	// with numbers shift when objects come and go, and end after 10,000 objects.
	Number int
	// Size is the number of objects on a page, at most 100; 0 is the default of the
	// service.
	Size int
}

// maxPageSize is the largest size of a page, which costs the fewest requests.
const maxPageSize = 100

type pager struct {
	TotalRows     int64  `json:"total_rows"`
	TotalRelation string `json:"total_relation"`
	Next          string `json:"next"`
}

// page reads a page of a list.
func page[T any](ctx context.Context, c *Client, base, path string, filter url.Values, at PageAt) (Page[T], error) {
	query := url.Values{}
	for name, values := range filter {
		query[name] = values
	}
	if at.After != "" {
		query.Set("after", at.After)
	} else if at.Number > 0 {
		query.Set("page", strconv.Itoa(at.Number))
	}
	if at.Size > 0 {
		query.Set("page_size", strconv.Itoa(at.Size))
	}
	var found Page[T]
	request := newCall(http.MethodGet, base, path, nil)
	request.query = query
	answer := envelope{List: &found.Items}
	if _, err := c.do(ctx, request, &answer); err != nil {
		return Page[T]{}, err
	}
	found.Total, found.AtLeast, found.Next = answer.Pager.TotalRows, answer.Pager.TotalRelation == "gte", answer.Pager.Next
	return found, nil
}

// all reads a list to its end. After an error it ends.
func all[T any](ctx context.Context, c *Client, base, path string, filter url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		at := PageAt{Size: maxPageSize}
		for {
			found, err := page[T](ctx, c, base, path, filter, at)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, one := range found.Items {
				if !yield(one, nil) {
					return
				}
			}
			if at.After = found.Next; at.After == "" {
				return
			}
		}
	}
}
