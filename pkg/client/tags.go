package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// State says whether a tag or an article is enabled. Disabled ones are shown only to clients
// with a token.
type State int

// States of tags and articles.
const (
	Disabled State = 0
	Enabled  State = 1
)

// Tag is a tag.
type Tag struct {
	ID        uint64    `json:"id"`
	Name      string    `json:"name"`
	State     State     `json:"state"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	UpdatedAt time.Time `json:"updated_at"`
	UpdatedBy string    `json:"updated_by"`
	// ETag is that of a tag which was read or written by itself; "" for one of a list. See
	// IfMatch and IfNoneMatch.
	ETag string `json:"-"`
}

// NewTag is a tag to create. It is enabled if State is nil.
type NewTag struct {
	Name  string `json:"name"`
	State *State `json:"state,omitempty"`
}

// TagUpdate is a change of a tag; what is nil stays as it is.
type TagUpdate struct {
	Name  *string `json:"name,omitempty"`
	State *State  `json:"state,omitempty"`
}

// TagFilter selects the tags of a list, and their order.
type TagFilter struct {
	Name   string // exactly
	Prefix string // the beginning of the name
	State  *State
	// OrderBy is id, name or created_at, or one of these after "-" for descending.
	OrderBy string
}

func (f TagFilter) query() url.Values {
	query := url.Values{}
	set(query, "name", f.Name)
	set(query, "prefix", f.Prefix)
	set(query, "order_by", f.OrderBy)
	setState(query, f.State)
	return query
}

func set(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

func setState(query url.Values, state *State) {
	if state != nil {
		query.Set("state", strconv.Itoa(int(*state)))
	}
}

const tagsPath = "/api/v1/tags"

// Tags returns all tags of a filter. The first error ends the list.
func (c *Client) Tags(ctx context.Context, filter TagFilter) iter.Seq2[Tag, error] {
	return all[Tag](ctx, c, c.tags, tagsPath, filter.query())
}

// TagPage returns a page of the tags of a filter.
func (c *Client) TagPage(ctx context.Context, filter TagFilter, at PageAt) (Page[Tag], error) {
	return page[Tag](ctx, c, c.tags, tagsPath, filter.query(), at)
}

// Tag returns a tag, or an error with the code TagNotFound.
func (c *Client) Tag(ctx context.Context, id uint64, options ...Option) (Tag, error) {
	return object[Tag](ctx, c, newCall(http.MethodGet, c.tags, at(tagsPath, id), nil, options...))
}

// CreateTag creates a tag. If another one has the name, the error has the code
// TagNameExists.
func (c *Client) CreateTag(ctx context.Context, tag NewTag, options ...Option) (Tag, error) {
	return create[Tag](ctx, c, c.tags, tagsPath, tag, options)
}

// UpdateTag changes a tag.
func (c *Client) UpdateTag(ctx context.Context, id uint64, update TagUpdate, options ...Option) (Tag, error) {
	return patch[Tag](ctx, c, c.tags, at(tagsPath, id), update, options)
}

// DeleteTag deletes a tag.
func (c *Client) DeleteTag(ctx context.Context, id uint64, options ...Option) error {
	return c.remove(ctx, newCall(http.MethodDelete, c.tags, at(tagsPath, id), nil, options...))
}

func (t *Tag) setETag(etag string) { t.ETag = etag }

func at(path string, id uint64) string { return fmt.Sprint(path, "/", id) }

// object sends a request and returns the object of the response.
func object[T any](ctx context.Context, c *Client, request *call) (T, error) {
	var found, none T
	header, err := c.do(ctx, request, &envelope{Data: &found})
	if err != nil {
		return none, err
	}
	if versioned, ok := any(&found).(interface{ setETag(string) }); ok {
		versioned.setETag(header.Get("ETag"))
	}
	return found, nil
}

// create creates an object, once, however often the request is sent.
func create[T any](ctx context.Context, c *Client, base, path string, body any, options []Option) (T, error) {
	var none T
	encoded, err := json.Marshal(body)
	if err != nil {
		return none, err
	}
	return object[T](ctx, c, newCreation(base, path, encoded, options))
}

// newCreation returns a POST with a key.
func newCreation(base, path string, body []byte, options []Option) *call {
	request := newCall(http.MethodPost, base, path, body, options...)
	if request.header.Get(keyHeader) == "" {
		request.header.Set(keyHeader, newKey())
	}
	request.repeatable = true
	return request
}

func patch[T any](ctx context.Context, c *Client, base, path string, body any, options []Option) (T, error) {
	var none T
	encoded, err := json.Marshal(body)
	if err != nil {
		return none, err
	}
	request := newCall(http.MethodPatch, base, path, encoded, options...)
	request.header.Set("Content-Type", "application/merge-patch+json")
	return object[T](ctx, c, request)
}

// remove deletes an object. If an earlier try may have deleted it, it need not exist.
func (c *Client) remove(ctx context.Context, request *call) error {
	_, err := c.do(ctx, request, &envelope{})
	if request.uncertain && (errors.Is(err, TagNotFound) || errors.Is(err, ArticleNotFound) || errors.Is(err, FileNotFound)) {
		return nil
	}
	return err
}
