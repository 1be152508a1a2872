// Package requests decodes and validates what clients send: bodies, queries, ids,
// paging and the Idempotency-Key. The same rules hold for JSON and forms. Errors
// name fields as the client wrote them, in each language.
package requests

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Binder decodes and validates requests. It is safe for concurrent use, and
// expensive to make.
type Binder struct {
	rules *rules
}

// NewBinder returns a Binder.
func NewBinder() (*Binder, error) {
	rules, err := newRules()
	if err != nil {
		return nil, err
	}
	return &Binder{rules: rules}, nil
}

// Body decodes the request's body, JSON or a form, into the struct that dst points
// to, by its tags (see destination), and validates it by its validate tags. Errors
// carry the code InvalidParams, UnsupportedMediaType, TooLarge, SlowRequest or
// Unavailable. Names that mean nothing are reported in IgnoredHeader.
func (b *Binder) Body(c *gin.Context, dst any) error {
	kind, err := mediaType(c.Request.Header, otherMediaType, jsonType, formType)
	if err != nil {
		return err
	}
	return b.decode(c, kind, dst)
}

// MergePatch decodes a JSON Merge Patch (RFC 7396) as Body decodes JSON. It doesn't accept
// forms, and names what it accepts in the header Accept-Patch (RFC 5789) otherwise.
func (b *Binder) MergePatch(c *gin.Context, dst any) error {
	kind, err := mediaType(c.Request.Header, noMergePatch, mergePatchType, jsonType)
	if err != nil {
		c.Header("Accept-Patch", mergePatchType+", "+jsonType)
		return err
	}
	return b.decode(c, kind, dst)
}

// decode decodes and validates a body of a media type.
func (b *Binder) decode(c *gin.Context, kind string, dst any) error {
	body, err := readBody(c)
	if err != nil {
		return err
	}
	body = bytes.TrimPrefix(body, []byte("\ufeff")) // a byte order mark, as of Windows
	d := newDestination(dst)
	if kind == formType {
		err = d.decodeForm(body)
	} else {
		err = d.decodeJSON(body)
	}
	if err != nil {
		return err
	}
	return b.validate(c, d)
}

// Query decodes the request's query by the rules of a form.
func (b *Binder) Query(c *gin.Context, dst any) error {
	d := newDestination(dst)
	if err := d.decodeForm([]byte(c.Request.URL.RawQuery)); err != nil {
		return err
	}
	return b.validate(c, d)
}

// Check normalizes and validates the struct that dst points to, as if a client had sent its values.
func (b *Binder) Check(dst any) error {
	d := newDestination(dst)
	d.normalizeText()
	d.parse()
	return b.rules.check(d.dst, d.invalid)
}

func (b *Binder) validate(c *gin.Context, d *destination) error {
	d.reportIgnored(c)
	return b.check(d)
}

// check normalizes and validates what was decoded.
func (b *Binder) check(d *destination) error {
	if d.failed != nil {
		return d.failed
	}
	d.normalizeText()
	d.parse()
	return b.rules.check(d.dst, d.invalid)
}

const (
	jsonType       = "application/json"
	formType       = "application/x-www-form-urlencoded"
	mergePatchType = "application/merge-patch+json"
)

// mediaType returns the media type of a body. The error of one that isn't among accepted
// has the text other.
func mediaType(header http.Header, other errcode.Text, accepted ...string) (string, error) {
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	encoding := header.Get("Content-Encoding")
	if err != nil || !slices.Contains(accepted, kind) || !isUTF8(params["charset"]) {
		return "", errcode.New(errcode.UnsupportedMediaType, other)
	}
	if encoding != "" && !strings.EqualFold(encoding, "identity") {
		return "", errcode.New(errcode.UnsupportedMediaType, compressed)
	}
	return kind, nil
}

func isUTF8(charset string) bool {
	return charset == "" || strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8")
}

// readBody returns the body of a request, of at most smallBody unless its route has
// Bodies.Large.
func readBody(c *gin.Context) (read []byte, err error) {
	large, ok := c.Request.Body.(*largeBody)
	switch {
	case ok:
		read, err = large.readAll()
	case c.Request.ContentLength > smallBody:
		return nil, TooLarge(smallBody)
	default:
		read, err = io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, smallBody))
	}
	var coded *errcode.Error
	var over *http.MaxBytesError
	switch {
	case err == nil:
		return read, nil
	case errors.As(err, &coded), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil, err // see largeBody
	case errors.As(err, &over):
		return nil, TooLarge(over.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errcode.Wrap(errcode.SlowRequest, err)
	default:
		// The connection broke or the chunks were malformed.
		return nil, &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Detail{{Text: bodyUnreadable}}, Cause: err}
	}
}
