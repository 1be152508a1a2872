// Package requests decodes and validates what clients send: bodies, queries, ids,
// paging and the Idempotency-Key. The same rules hold for JSON and forms. Errors
// name fields as the client wrote them, in each language.
package requests

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
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

// Normalizer is implemented by requests that normalize their fields, such as by
// trimming a name, before they are validated.
type Normalizer interface{ Normalize() }

// Body decodes the request's body, JSON or a form, into the struct that dst points
// to, by its json tags, and validates it by its validate tags. Errors carry the
// code InvalidParams, UnsupportedMediaType, TooLarge or SlowRequest.
func (b *Binder) Body(c *gin.Context, dst any) error {
	kind, err := mediaType(c.Request.Header)
	if err != nil {
		return err
	}
	body, err := readAll(c.Request.Body)
	if err != nil {
		return err
	}
	d := newDestination(dst)
	if kind == formType {
		err = d.decodeForm(string(body))
	} else {
		err = d.decodeJSON(body)
	}
	if err != nil {
		return err
	}
	return b.validate(d)
}

// Query decodes the request's query by the rules of a form.
func (b *Binder) Query(c *gin.Context, dst any) error {
	d := newDestination(dst)
	if err := d.decodeForm(c.Request.URL.RawQuery); err != nil {
		return err
	}
	return b.validate(d)
}

func (b *Binder) validate(d *destination) error {
	if n, ok := d.dst.(Normalizer); ok {
		n.Normalize()
	}
	return b.rules.check(d.dst, d.invalid)
}

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
)

func mediaType(header http.Header) (string, error) {
	kind, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	charset, encoding := params["charset"], header.Get("Content-Encoding")
	if err != nil || kind != jsonType && kind != formType || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", errcode.New(errcode.UnsupportedMediaType, otherMediaType)
	}
	if encoding != "" && !strings.EqualFold(encoding, "identity") {
		return "", errcode.New(errcode.UnsupportedMediaType, compressed)
	}
	return kind, nil
}

func readAll(body io.Reader) ([]byte, error) {
	read, err := io.ReadAll(body)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		return read, nil
	case errors.As(err, &tooLarge):
		return nil, errcode.Wrap(errcode.TooLarge, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errcode.Wrap(errcode.SlowRequest, err)
	default:
		// The connection broke or the chunks were malformed.
		return nil, &errcode.Error{Code: errcode.InvalidParams, Details: []errcode.Text{bodyUnreadable}, Cause: err}
	}
}
