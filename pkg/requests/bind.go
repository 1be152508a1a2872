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
	"strconv"
	"strings"
	"unicode/utf16"
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
	kind, err := mediaType(c.Request.Header)
	if err != nil {
		return err
	}
	body, err := readAll(c.Request.Body)
	if err != nil {
		return err
	}
	if kind == formType {
		return b.form(string(body), dst)
	}
	sent, err := parseJSON(body)
	if err != nil {
		return err
	}
	return b.bind(sent, problems{}, dst)
}

// Query reads the request's query by the same rules as a form.
func (b *Binder) Query(c *gin.Context, dst any) error {
	return b.form(c.Request.URL.RawQuery, dst)
}

func (b *Binder) form(encoded string, dst any) error {
	values, err := parseForm(encoded)
	if err != nil {
		return err
	}
	sent, found := formToJSON(values, reflect.TypeOf(dst))
	return b.bind(sent, found, dst)
}

// object are the fields that a client sent, each as JSON.
type object map[string]json.RawMessage

// problems are what is wrong with fields, by their names.
type problems map[string]errcode.Text

// bind decodes each field by itself, so that every wrong one can be told of.
func (b *Binder) bind(sent object, found problems, dst any) error {
	value := reflect.ValueOf(dst).Elem()
	for field := range fields(value.Type()) {
		name := jsonName(field)
		raw, ok := sent[name]
		if !ok {
			continue
		}
		err := json.Unmarshal(raw, value.FieldByIndex(field.Index).Addr().Interface())
		var wrong *json.UnmarshalTypeError
		switch {
		case errors.As(err, &wrong):
			found[name] = wrongType(name, wrong.Type)
		case err != nil:
			found[name] = wrongType(name, field.Type)
		}
	}
	if n, ok := dst.(Normalizer); ok {
		n.Normalize()
	}
	return b.rules.check(dst, found)
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

func parseForm(encoded string) (url.Values, error) {
	values, err := url.ParseQuery(encoded)
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
	return values, nil
}

// parseJSON is strict where encoding/json is lenient: one object, nothing
// behind it, and no text that is not Unicode, which would be replaced in
// silence.
func parseJSON(body []byte) (object, error) {
	body = bytes.TrimSpace(body)
	if !utf8.Valid(body) {
		return nil, errcode.New(errcode.InvalidParams, notUTF8)
	}
	if len(body) == 0 || body[0] != '{' {
		return nil, errcode.New(errcode.InvalidParams, notAnObject)
	}
	var sent object
	if err := json.Unmarshal(body, &sent); err != nil {
		return nil, errcode.New(errcode.InvalidParams, malformedJSON)
	}
	if halfCharacter(body) {
		return nil, errcode.New(errcode.InvalidParams, notUTF8)
	}
	return sent, nil
}

// halfCharacter tells whether valid JSON has one half of a surrogate pair
// without the other, such as "\ud800".
func halfCharacter(body []byte) bool {
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		i++ // what is escaped
		if body[i] != 'u' {
			continue
		}
		first := escaped(body[i+1:])
		i += 4
		if !utf16.IsSurrogate(first) {
			continue
		}
		rest, paired := bytes.CutPrefix(body[i+1:], []byte(`\u`))
		if !paired || utf16.DecodeRune(first, escaped(rest)) == utf8.RuneError {
			return true
		}
		i += 6
	}
	return false
}

// escaped is the number that the four hexadecimal digits at the front mean.
func escaped(digits []byte) rune {
	number, err := strconv.ParseUint(string(digits[:4]), 16, 16)
	if err != nil {
		return utf8.RuneError
	}
	return rune(number)
}
