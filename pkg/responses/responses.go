// Package responses writes HTTP responses: objects, lists and errors in their
// envelopes, with entity tags.
//
// The functions that write data take the memory that the data takes, which Memory bounds.
// It is nil for data that is small: the number of requests bounds it.
package responses

import (
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/locale"
)

const jsonType = "application/json; charset=utf-8"

// Envelope is a response with one object.
type Envelope[T any] struct {
	Code int    `json:"code" example:"0"`
	Msg  string `json:"msg" example:"成功"`
	Data T      `json:"data"`
}

// ListEnvelope is a response with a page of objects. The list is never null.
type ListEnvelope[T any] struct {
	Code  int    `json:"code" example:"0"`
	Msg   string `json:"msg" example:"成功"`
	List  []T    `json:"list"`
	Pager Pager  `json:"pager"`
}

// Pager is the paging that was used.
type Pager struct {
	// absent if the page was asked for with after
	Page      int   `json:"page,omitempty" example:"1"`
	PageSize  int   `json:"page_size" example:"10"`
	TotalRows int64 `json:"total_rows" example:"42"`
	// eq: total_rows is the number of rows; gte: there are at least as many
	TotalRelation TotalRelation `json:"total_relation" swaggertype:"string" enums:"eq,gte" example:"eq"`
	// for the parameter after: the next page; absent on the last one
	Next string `json:"next,omitempty" example:"AZOLhn9s4b_VAAAAAAAAAAdH"`
}

// TotalRelation says what Pager.TotalRows is.
type TotalRelation string

// Relations of the number of rows to Pager.TotalRows.
const (
	Exact   TotalRelation = "eq"
	AtLeast TotalRelation = "gte" // counting ended there
)

// RelationOf returns the relation of a total that may be a lower bound.
func RelationOf(atLeast bool) TotalRelation {
	if atLeast {
		return AtLeast
	}
	return Exact
}

// Empty is the data of a response without data.
type Empty struct{}

// Created answers 201 with an object that was created, now or, if replayed, by an
// earlier request with the same Idempotency-Key. location is its address.
func Created[T any](c *gin.Context, location string, etag ETag, data T, replayed bool, reserved *Reservation) {
	c.Header("Location", optionsOf(c).prefix+location)
	c.Header("ETag", etag.text(locale.FromContext(c.Request.Context())))
	if replayed {
		c.Header("Idempotency-Replayed", "true")
	}
	write(c, http.StatusCreated, envelope(c, data), reserved)
}

// CreatedAt answers 201 with data that names what was created, without an entity tag: it is
// small, and not an object of its own. location is the address of the first of these. See
// Created for replayed.
func CreatedAt[T any](c *gin.Context, location string, data T, replayed bool) {
	c.Header("Location", optionsOf(c).prefix+location)
	if replayed {
		c.Header("Idempotency-Replayed", "true")
	}
	write(c, http.StatusCreated, envelope(c, data), nil)
}

// ContentLocation sets the header field Content-Location (RFC 9110, 8.7): the address of the
// object in the response, if it is not that of the request.
func ContentLocation(c *gin.Context, location string) {
	c.Header("Content-Location", optionsOf(c).prefix+location)
}

// Object answers 200 with an object under its entity tag, or as WithoutBody.
func Object[T any](c *gin.Context, etag ETag, data T, reserved *Reservation) {
	if tag := textOf(c, etag); !withoutBody(c, tag) {
		setTag(c, tag)
		write(c, http.StatusOK, envelope(c, data), reserved)
	}
}

// Encode returns the body of a response with an object, in the language of the request.
// encodings keeps it for others who share the object. If it is not there, object returns
// the object, and size is about the size of the body in bytes. A body of more than limit
// bytes is not kept: Encode returns nil, and Object can answer.
func Encode[T any](c *gin.Context, encodings *coalesce.Memo[string, []byte], encoder Encoder[T], size, limit int, object func() T) []byte {
	language := locale.FromContext(c.Request.Context())
	return encodings.Get(language+encoder.fields, func() []byte {
		return encoder.enveloped(errcode.Success.Message(language), object(), size, limit)
	})
}

// Encoded answers as Object does, with a body that Encode has returned.
func Encoded(c *gin.Context, etag ETag, body []byte, reserved *Reservation) {
	if tag := textOf(c, etag); !withoutBody(c, tag) {
		setTag(c, tag)
		writeEncoded(c, body, reserved)
	}
}

// Object is like the function Object, and writes what the Encoder encodes.
func (e Encoder[T]) Object(c *gin.Context, etag ETag, data T, reserved *Reservation) {
	if tag := textOf(c, etag); !withoutBody(c, tag) {
		setTag(c, tag)
		one := envelope(c, data)
		writeBy(c, http.StatusOK, reserved, func(to io.Writer) error { return e.envelope.encode(to, reflect.ValueOf(&one).Elem()) })
	}
}

func writeEncoded(c *gin.Context, body []byte, reserved *Reservation) {
	writeBy(c, http.StatusOK, reserved, inParts(c, body))
}

// inParts returns a function that writes a body in parts, and sets its length.
func inParts(c *gin.Context, body []byte) func(io.Writer) error {
	c.Header("Content-Length", strconv.Itoa(len(body)))
	return func(to io.Writer) error {
		for part := range slices.Chunk(body, bufferSize) {
			if _, err := to.Write(part); err != nil {
				return err
			}
		}
		return nil
	}
}

// OK answers 200 with data, without an entity tag.
func OK[T any](c *gin.Context, data T, reserved *Reservation) {
	write(c, http.StatusOK, envelope(c, data), reserved)
}

func envelope[T any](c *gin.Context, data T) Envelope[T] {
	return Envelope[T]{Msg: message(c, errcode.Success), Data: data}
}

// List answers 200 with a page of objects under the entity tag of the page, or as
// WithoutBody.
func (e Encoder[T]) List(c *gin.Context, etag ETag, list []T, pager Pager, reserved *Reservation) {
	SetLinks(c, pager)
	tag := textOf(c, etag)
	if withoutBody(c, tag) {
		return
	}
	setTag(c, tag)
	e.writeList(c, list, pager, reserved)
}

func (e Encoder[T]) writeList(c *gin.Context, list []T, pager Pager, reserved *Reservation) {
	if list == nil {
		list = []T{}
	}
	page := ListEnvelope[T]{Msg: message(c, errcode.Success), List: list, Pager: pager}
	writeBy(c, http.StatusOK, reserved, func(to io.Writer) error { return e.list.encode(to, reflect.ValueOf(&page).Elem()) })
}

// SharedList is like List, for a page that several share: encodings keeps its body for each
// language and cursor. list returns the objects, which have about size bytes in memory. A body that
// doesn't fit into limit bytes together with them is not kept.
func (e Encoder[T]) SharedList(c *gin.Context, etag ETag, encodings *coalesce.Memo[string, []byte], size, limit int64, list func() []T, pager Pager, reserved *Reservation) {
	SetLinks(c, pager)
	tag := textOf(c, etag)
	if withoutBody(c, tag) {
		return
	}
	setTag(c, tag)
	language := locale.FromContext(c.Request.Context())
	key := language + e.fields
	if pager.Next != "" { // may differ: requests that share a page may have other filters
		key += " " + pager.Next
	}
	body := encodings.Get(key, func() []byte {
		return e.page(errcode.Success.Message(language), list(), pager, int(size), int(limit-size))
	})
	reserved.Resize(size + int64(cap(body)))
	if body == nil {
		e.writeList(c, list(), pager, reserved)
		return
	}
	writeEncoded(c, body, reserved)
}

// MayLackBody reports whether WithoutBody may answer the request, so that it pays to call
// it before what only the body needs is read.
func MayLackBody(c *gin.Context) bool {
	return c.Request.Method == http.MethodHead || len(c.Request.Header["If-None-Match"]) > 0
}

// WithoutBody answers 304 if the client has the response with the entity tag
// already, and 200 without a body if the method is HEAD. It reports whether it has
// answered, so that what only the body needs is not read.
func WithoutBody(c *gin.Context, etag ETag) bool { return withoutBody(c, textOf(c, etag)) }

func withoutBody(c *gin.Context, tag string) bool { return withoutBodyAs(c, tag, jsonType) }

func withoutBodyAs(c *gin.Context, tag, contentType string) bool {
	status := http.StatusOK
	switch {
	case matches(c.Request, tag):
		status = http.StatusNotModified
	case c.Request.Method == http.MethodHead:
		c.Header("Content-Type", contentType)
	default:
		return false
	}
	setTag(c, tag)
	c.Status(status)
	c.Writer.WriteHeaderNow()
	return true
}

// textOf returns the entity tag in the language of the response.
func textOf(c *gin.Context, etag ETag) string {
	return etag.text(locale.FromContext(c.Request.Context()))
}

// setTag sets the header fields of a response with an entity tag.
func setTag(c *gin.Context, tag string) {
	c.Header("ETag", tag)
	if policy := optionsOf(c).caching; policy != "" {
		c.Header("Cache-Control", policy)
		c.Writer.Header().Add("Vary", "Accept-Language, Locale, Authorization, Token")
	}
}

func message(c *gin.Context, code errcode.Code) string {
	return code.Message(locale.FromContext(c.Request.Context()))
}
