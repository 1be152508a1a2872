// Package requests reads what clients send: bodies, filters, ids and paging.
// JSON and forms obey the same rules; every refusal names the field as the
// client wrote it, in each language.
package requests

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Binder decodes and validates requests. It is built once, because building
// its translators writes to maps that requests would race on.
type Binder struct {
	rules *rules
}

// NewBinder returns a binder that knows the rules of the validate tags.
func NewBinder() (*Binder, error) {
	rules, err := newRules()
	if err != nil {
		return nil, err
	}
	return &Binder{rules: rules}, nil
}

// Normalizer is implemented by requests that put their fields into shape, such
// as trimming a name, before the rules are applied.
type Normalizer interface{ Normalize() }

// Body reads the request's body, JSON or form, into the struct that dst points
// to, by its json tags, and applies the rules of its validate tags. Fields the
// struct does not have are ignored. Errors carry the code InvalidParams,
// UnsupportedMediaType, TooLarge or SlowRequest.
func (b *Binder) Body(c *gin.Context, dst any) error {
	kind, err := mediaType(c.GetHeader("Content-Type"))
	if err != nil {
		return err
	}
	body, err := readAll(c.Request.Body)
	if err != nil {
		return err
	}
	if kind == formType {
		if body, err = parseForm(body, dst); err != nil {
			return err
		}
	}
	if err := decode(body, dst); err != nil {
		return err
	}
	return b.check(dst)
}

// Query reads the request's query by the same rules as a form.
func (b *Binder) Query(c *gin.Context, dst any) error {
	body, err := parseForm([]byte(c.Request.URL.RawQuery), dst)
	if err != nil {
		return err
	}
	if err := decode(body, dst); err != nil {
		return err
	}
	return b.check(dst)
}

func (b *Binder) check(dst any) error {
	if n, ok := dst.(Normalizer); ok {
		n.Normalize()
	}
	return b.rules.check(dst)
}

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
)

func mediaType(header string) (string, error) {
	kind, params, err := mime.ParseMediaType(header)
	charset := params["charset"]
	if err != nil || kind != jsonType && kind != formType || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", errcode.New(errcode.UnsupportedMediaType, errcode.Text{
			ZH:       "Content-Type 必须是 application/json 或 application/x-www-form-urlencoded, 字符集为 UTF-8",
			EN:       "Content-Type must be application/json or application/x-www-form-urlencoded, in UTF-8",
			ZHHantTW: "Content-Type 必須是 application/json 或 application/x-www-form-urlencoded, 字元集為 UTF-8",
		})
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

func parseForm(body []byte, dst any) ([]byte, error) {
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errcode.New(errcode.InvalidParams, formMalformed)
	}
	for _, list := range values {
		for _, text := range list {
			if !utf8.ValidString(text) {
				return nil, errcode.New(errcode.InvalidParams, notUTF8)
			}
		}
	}
	return formToJSON(values, reflect.TypeOf(dst))
}

// decode is strict where encoding/json is lenient: one object, nothing behind
// it, and no invalid UTF-8, which would be replaced in silence.
func decode(body []byte, dst any) error {
	body = bytes.TrimSpace(body)
	if !utf8.Valid(body) {
		return errcode.New(errcode.InvalidParams, notUTF8)
	}
	if len(body) == 0 || body[0] != '{' {
		return errcode.New(errcode.InvalidParams, notAnObject)
	}
	err := json.Unmarshal(body, dst)
	var wrong *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		return errcode.New(errcode.InvalidParams, *wrongType(wrong.Field, wrong.Type))
	default:
		return errcode.New(errcode.InvalidParams, malformedJSON)
	}
}
