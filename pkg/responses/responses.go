// Package responses writes HTTP responses: objects, lists and errors in their
// envelopes, with entity tags.
package responses

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

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
	Page      int   `json:"page" example:"1"`
	PageSize  int   `json:"page_size" example:"10"`
	TotalRows int64 `json:"total_rows" example:"42"`
}

// Problem is the response to a request that failed. Code is for programs, Msg and
// Details are for people.
type Problem struct {
	Code    int      `json:"code" example:"10000001"`
	Msg     string   `json:"msg" example:"入参错误"`
	Details []string `json:"details" example:"title is a required field"`
}

// Empty is the data of a response without data.
type Empty struct{}

// Created answers 201 with an object that was created, now or, if replayed, by an
// earlier request with the same Idempotency-Key. location is its address.
func Created[T any](c *gin.Context, location string, etag ETag, data T, replayed bool) {
	c.Header("Location", location)
	c.Header("ETag", etag.text(locale.FromContext(c.Request.Context())))
	if replayed {
		c.Header("Idempotency-Replayed", "true")
	}
	c.JSON(http.StatusCreated, envelope(c, data))
}

// Object answers 200 with an object under a strong entity tag, or 304 if the client
// has it already.
func Object[T any](c *gin.Context, etag ETag, data T) {
	switch {
	case unchanged(c, etag.text(locale.FromContext(c.Request.Context()))):
	case c.Request.Method == http.MethodHead:
		c.Header("Content-Type", jsonType)
		c.Status(http.StatusOK)
	default:
		c.JSON(http.StatusOK, envelope(c, data))
	}
}

// OK answers 200 with data, without an entity tag.
func OK[T any](c *gin.Context, data T) {
	c.JSON(http.StatusOK, envelope(c, data))
}

func envelope[T any](c *gin.Context, data T) Envelope[T] {
	return Envelope[T]{Msg: message(c, errcode.Success), Data: data}
}

// List answers 200 with a page of objects under a weak entity tag, or 304 if the
// client has it already.
func List[T any](c *gin.Context, list []T, pager Pager) {
	if list == nil {
		list = []T{}
	}
	answer := ListEnvelope[T]{Msg: message(c, errcode.Success), List: list, Pager: pager}
	body, err := json.Marshal(answer)
	if err != nil {
		Error(c, err)
		return
	}
	if !unchanged(c, `W/"`+digest(body)+`"`) {
		c.Data(http.StatusOK, jsonType, body)
	}
}

type cachingKey struct{}

// AllowCaching sets the Cache-Control of the responses of Object and List.
func AllowCaching(c *gin.Context, policy string) { c.Set(cachingKey{}, policy) }

// unchanged sets the header fields of a response with an entity tag. If the client
// has that response already, it answers 304 and reports true.
func unchanged(c *gin.Context, tag string) bool {
	c.Header("ETag", tag)
	if policy, allowed := c.Get(cachingKey{}); allowed {
		c.Header("Cache-Control", policy.(string))
		c.Writer.Header().Add("Vary", "Accept-Language, Locale, Authorization, Token")
	}
	if !matches(c.Request, tag) {
		return false
	}
	c.Status(http.StatusNotModified)
	c.Writer.WriteHeaderNow()
	return true
}

// Error ends the request with the response for err, and adds err to c.Errors for the
// access log. An error without a code is an internal error, whose text is not
// shown to the client.
func Error(c *gin.Context, err error) {
	ErrorOr(c, err, errcode.Internal)
}

// ErrorOr is like Error, but an error without a code gets the fallback, such as
// errcode.CreateTagFailed.
func ErrorOr(c *gin.Context, err error, fallback errcode.Code) {
	_ = c.Error(err)
	c.Abort()
	if c.Writer.Written() {
		return
	}
	coded := coded(err, fallback)
	if coded.RetryAfter > 0 {
		seconds := math.Ceil(coded.RetryAfter.Seconds())
		c.Header("Retry-After", strconv.Itoa(int(seconds)))
	}
	language := locale.FromContext(c.Request.Context())
	details := make([]string, 0, len(coded.Details))
	for _, d := range coded.Details {
		details = append(details, d.In(language))
	}
	c.JSON(coded.Code.Status(), Problem{
		Code:    int(coded.Code),
		Msg:     coded.Code.Message(language),
		Details: details,
	})
}

// coded returns the coded error in err's chain. Else a deadline becomes Timeout, a
// cancellation ClientClosedRequest, a body over the limit TooLarge, and any other
// error the fallback.
func coded(err error, fallback errcode.Code) *errcode.Error {
	var coded *errcode.Error
	if errors.As(err, &coded) {
		return coded
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errcode.Wrap(errcode.TooLarge, err)
	case errors.Is(err, context.DeadlineExceeded):
		return &errcode.Error{Code: errcode.Timeout, RetryAfter: time.Second, Cause: err}
	case errors.Is(err, context.Canceled):
		return errcode.Wrap(errcode.ClientClosedRequest, err)
	default:
		return errcode.Wrap(fallback, err)
	}
}

func message(c *gin.Context, code errcode.Code) string {
	return code.Message(locale.FromContext(c.Request.Context()))
}
