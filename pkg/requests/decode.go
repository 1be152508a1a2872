package requests

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// destination is a struct that a request is decoded into.
type destination struct {
	dst   any
	value reflect.Value
	// invalid describes the fields that can't be decoded, by name.
	invalid map[string]errcode.Text
}

func newDestination(dst any) *destination {
	return &destination{dst: dst, value: reflect.ValueOf(dst).Elem(), invalid: map[string]errcode.Text{}}
}

// field returns the field that a client calls name. This is the one place that
// decides which names there are: all others are ignored.
func (d *destination) field(name string) (field reflect.Value, ok bool) {
	for f := range fields(d.value.Type()) {
		if jsonName(f) == name {
			return d.value.FieldByIndex(f.Index), true
		}
	}
	return reflect.Value{}, false
}

// decodeJSON decodes a JSON object. A value of the wrong type makes its field
// invalid; decoding goes on, so that an error can name all invalid fields. It is
// strict where encoding/json is lenient: text that isn't Unicode, which would be
// replaced, and data behind the object are errors.
func (d *destination) decodeJSON(body []byte) error {
	if !utf8.Valid(body) {
		return errcode.New(errcode.InvalidParams, notUTF8)
	}
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		return errcode.New(errcode.InvalidParams, notAnObject)
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	if _, err := decoder.Token(); err != nil {
		return errcode.New(errcode.InvalidParams, malformedJSON)
	}
	seen := map[string]bool{}
	for decoder.More() {
		if err := d.decodeMember(decoder, seen); err != nil {
			return errcode.New(errcode.InvalidParams, malformedJSON)
		}
	}
	_, end := decoder.Token()
	if _, after := decoder.Token(); end != nil || after != io.EOF {
		return errcode.New(errcode.InvalidParams, malformedJSON)
	}
	if loneSurrogate(body) {
		return errcode.New(errcode.InvalidParams, notUTF8)
	}
	return nil
}

func (d *destination) decodeMember(decoder *json.Decoder, seen map[string]bool) error {
	token, err := decoder.Token()
	name, ok := token.(string)
	if err != nil || !ok {
		return errors.Join(err, errNoName)
	}
	field, ok := d.field(name)
	if !ok || seen[name] {
		if ok {
			d.invalid[name] = onlyOnce(name)
		}
		return decoder.Decode(&skipped{})
	}
	seen[name] = true
	var wrong *json.UnmarshalTypeError
	if err := decoder.Decode(field.Addr().Interface()); !errors.As(err, &wrong) {
		return err
	}
	d.invalid[name] = wrongType(name, wrong.Type)
	return nil
}

var errNoName = errors.New("a member of an object needs a name")

// skipped is a value that is not decoded.
type skipped struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*skipped) UnmarshalJSON([]byte) error { return nil }

// decodeForm decodes a form or a query: each value as the JSON that a client could
// have sent instead, by the type of its field.
func (d *destination) decodeForm(encoded string) error {
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return errcode.New(errcode.InvalidParams, formMalformed)
	}
	for name, texts := range values {
		for _, text := range texts {
			if !utf8.ValidString(text) {
				return errcode.New(errcode.InvalidParams, notUTF8)
			}
		}
		if field, ok := d.field(name); ok {
			d.decodeTexts(name, texts, field)
		}
	}
	return nil
}

func (d *destination) decodeTexts(name string, texts []string, field reflect.Value) {
	kind := pointedTo(field.Type())
	var value json.RawMessage
	switch {
	case kind.Kind() == reflect.Slice:
		value = formList(texts, kind.Elem())
	case len(texts) > 1:
		d.invalid[name] = onlyOnce(name)
		return
	default:
		value = formScalar(texts[0], kind)
	}
	var wrong *json.UnmarshalTypeError
	if err := json.Unmarshal(value, field.Addr().Interface()); errors.As(err, &wrong) {
		d.invalid[name] = wrongType(name, wrong.Type)
	}
}

// integer matches the integers of a form. An empty value doesn't match, so
// "state=" is invalid.
var integer = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,19})$`)

// formList returns the values of a repeated field as a JSON array. A single empty
// value is the empty array, which a form can't express otherwise.
func formList(given []string, kind reflect.Type) json.RawMessage {
	if len(given) == 1 && given[0] == "" {
		given = nil
	}
	list := []byte{'['}
	for i, text := range given {
		if i > 0 {
			list = append(list, ',')
		}
		list = append(list, formScalar(text, kind)...)
	}
	return append(list, ']')
}

// formScalar returns a value as JSON: an integer if the field needs a number and
// the text is one, else a string.
func formScalar(text string, kind reflect.Type) json.RawMessage {
	if kind.Kind() != reflect.String && integer.MatchString(text) {
		return json.RawMessage(text)
	}
	quoted, err := json.Marshal(text)
	if err != nil { // a string always has a JSON form
		return json.RawMessage("null")
	}
	return quoted
}

// fields yields the exported fields of a struct type, or of a pointer to one, in
// order.
func fields(t reflect.Type) func(yield func(reflect.StructField) bool) {
	t = pointedTo(t)
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && !yield(f) {
				return
			}
		}
	}
}

// pointedTo returns t without its pointers.
func pointedTo(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// jsonName returns the name of the field in JSON and in forms.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// loneSurrogate reports whether valid JSON has one half of a surrogate pair
// without the other, such as "\ud800".
func loneSurrogate(body []byte) bool {
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

// escaped returns the rune of the four hexadecimal digits at the front.
func escaped(digits []byte) rune {
	number, err := strconv.ParseUint(string(digits[:4]), 16, 16)
	if err != nil {
		return utf8.RuneError
	}
	return rune(number)
}
