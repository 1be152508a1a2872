package requests

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// destination is a struct that a request is decoded into. Its fields are pointers to,
// or values of, strings, integers, booleans and slices of integers, or, of a batch, a slice
// of such structs. Their tags are:
//
//	json:"name"    the name
//	null:"clear"   the JSON null empties the field, which is 0 for an integer; without the tag it is invalid
//	element:"id"   the slice is an array of objects in JSON, of which only the
//	               member id counts; forms lack the field
//	text:"…"       see normalizeText
type destination struct {
	dst   any
	value reflect.Value
	form  bool
	// invalid describes the fields that can't be decoded, by name.
	invalid map[string]errcode.Detail
	// ignored has the names that mean nothing, at most maxIgnored and one more.
	ignored []string
	// items has the destination of each object of a batch.
	items []*destination
	// failed, if not nil, says why an object of a batch was not decoded.
	failed error
}

func newDestination(dst any) *destination {
	return &destination{dst: dst, value: reflect.ValueOf(dst).Elem(), invalid: map[string]errcode.Detail{}}
}

// reject makes a field invalid, unless it is already.
func (d *destination) reject(name string, problem errcode.Detail) {
	if _, ok := d.invalid[name]; !ok {
		d.invalid[name] = problem
	}
}

// decodeJSON decodes a JSON object. A value of the wrong type makes its field
// invalid; decoding goes on, so that an error can name all invalid fields. It is
// strict where encoding/json is lenient: text that isn't Unicode, which would be
// replaced, data behind the object and fields that are given twice are errors. Beside
// the fields it builds nothing, so it needs no more memory than the body has.
func (d *destination) decodeJSON(body []byte) error {
	if err := checkJSON(body, maxValues); err != nil {
		return err
	}
	d.decodeMembers(bytes.TrimLeft(body, " \t\r\n"))
	return nil
}

// decodeMembers decodes the members of an object, in valid JSON.
func (d *destination) decodeMembers(object []byte) {
	seen := map[string]bool{}
	for name, value := range members(object) {
		field, ok := d.field(name)
		switch {
		case !ok:
		case seen[name]:
			d.reject(name, onlyOnce(name))
		default:
			seen[name] = true
			d.decodeMember(field, value)
		}
	}
}

func (d *destination) decodeMember(field reflect.StructField, value []byte) {
	name, to := jsonName(field), d.value.FieldByIndex(field.Index)
	if string(value) == "null" {
		if field.Tag.Get("null") != "clear" {
			d.reject(name, notNull(name))
			return
		}
		value = emptyValue(field)
	}
	if isObjects(field) {
		d.decodeObjects(name, value, to)
		return
	}
	if problem, ok := decodeValue(name, value, to, field.Tag.Get("element")); !ok {
		d.reject(name, problem)
	}
}

// emptyValue returns the JSON that empties a field.
func emptyValue(field reflect.StructField) []byte {
	switch {
	case isList(field):
		return []byte("[]")
	case pointedTo(field.Type).Kind() == reflect.String:
		return []byte(`""`)
	default:
		return []byte("0")
	}
}

// decodeValue decodes valid JSON. If it can't, it returns what is wrong with the
// value of the given name. element is the member of each element of an array that
// is decoded, or "".
func decodeValue(name string, value []byte, to reflect.Value, element string) (problem errcode.Detail, ok bool) {
	switch kind := to.Kind(); {
	case kind == reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		return decodeValue(name, value, to.Elem(), element)
	case kind == reflect.Slice && value[0] == '[':
		return decodeList(name, value, to, element)
	case kind == reflect.String && value[0] == '"':
		to.SetString(unquote(value))
		return errcode.Detail{}, true
	case kind == reflect.Bool && (string(value) == "true" || string(value) == "false"):
		to.SetBool(value[0] == 't')
		return errcode.Detail{}, true
	case kind == reflect.Slice || kind == reflect.String || kind == reflect.Bool:
		return wrongType(name, to.Type()), false
	default:
		return setInteger(name, string(value), to)
	}
}

func decodeList(name string, array []byte, to reflect.Value, element string) (problem errcode.Detail, ok bool) {
	to.Set(reflect.MakeSlice(to.Type(), 0, 0))
	for i, value := range elements(array) {
		at := indexed(name, i)
		if element != "" {
			at += "." + element
			member, twice := memberOf(value, element)
			if twice {
				return onlyOnce(at), false
			}
			value = member
		}
		one := reflect.New(to.Type().Elem()).Elem()
		if problem, ok := decodeValue(at, value, one, ""); !ok {
			return problem, false
		}
		to.Set(reflect.Append(to, one))
	}
	return errcode.Detail{}, true
}

func indexed(name string, i int) string { return fmt.Sprintf("%s[%d]", name, i) }

// memberOf returns the value of a member, null if value is no object that has it, and
// whether the object has it more than once.
func memberOf(value []byte, wanted string) (found []byte, twice bool) {
	if value[0] == '{' {
		for name, value := range members(value) {
			if name == wanted {
				found, twice = value, found != nil
			}
		}
	}
	if found == nil {
		found = []byte("null")
	}
	return found, twice
}

// decodeForm decodes a form or a query as browsers do (URLSearchParams): only &
// separates, and a % that isn't followed by two hexadecimal digits stands for itself.
func (d *destination) decodeForm(encoded []byte) error {
	d.form = true
	if bytes.Count(encoded, []byte("&")) >= maxValues {
		return errcode.New(errcode.InvalidParams, tooManyValues(maxValues))
	}
	lists := map[string][]string{}
	seen := map[string]bool{}
	for pair := range bytes.SplitSeq(encoded, []byte("&")) {
		if len(pair) == 0 {
			continue
		}
		left, right, _ := bytes.Cut(pair, []byte("="))
		name, text := unescape(left), unescape(right)
		if !utf8.ValidString(name) || !utf8.ValidString(text) {
			return errcode.New(errcode.InvalidParams, notUTF8)
		}
		field, ok := d.field(name)
		if !ok {
			continue
		}
		name = jsonName(field)
		switch {
		case isList(field):
			lists[name] = append(lists[name], text)
		case seen[name]:
			d.reject(name, onlyOnce(name))
		default:
			d.decodeTexts(field, text)
		}
		seen[name] = true
	}
	for field := range fields(d.value.Type()) {
		if texts, ok := lists[jsonName(field)]; ok {
			d.decodeTexts(field, texts...)
		}
	}
	return nil
}

// decodeTexts sets a field to the values of a form. A single empty value is the empty
// list, which a form can't express otherwise.
func (d *destination) decodeTexts(field reflect.StructField, texts ...string) {
	name, to := jsonName(field), d.value.FieldByIndex(field.Index)
	if to.Kind() == reflect.Pointer {
		to.Set(reflect.New(to.Type().Elem()))
		to = to.Elem()
	}
	if to.Kind() != reflect.Slice {
		if problem, ok := setText(name, texts[0], to); !ok {
			d.reject(name, problem)
		}
		return
	}
	to.Set(reflect.MakeSlice(to.Type(), 0, 0))
	if len(texts) == 1 && texts[0] == "" {
		return
	}
	for i, text := range texts {
		one := reflect.New(to.Type().Elem()).Elem()
		if problem, ok := setText(indexed(name, i), text, one); !ok {
			d.reject(name, problem)
		}
		to.Set(reflect.Append(to, one))
	}
}

func setText(name, text string, to reflect.Value) (problem errcode.Detail, ok bool) {
	switch {
	case to.Kind() == reflect.String:
		to.SetString(text)
		return errcode.Detail{}, true
	case to.Kind() == reflect.Bool && (text == "true" || text == "false"):
		to.SetBool(text == "true")
		return errcode.Detail{}, true
	case to.Kind() == reflect.Bool:
		return wrongType(name, to.Type()), false
	}
	return setInteger(name, text, to)
}

// unescape decodes a name or a value of a form.
func unescape(text []byte) string {
	var decoded strings.Builder
	decoded.Grow(len(text)) // at most as long
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '+':
			decoded.WriteByte(' ')
		case '%':
			var code [1]byte
			if n, err := hex.Decode(code[:], text[i+1:min(i+3, len(text))]); err == nil && n == 1 {
				decoded.WriteByte(code[0])
				i += 2
				continue
			}
			decoded.WriteByte('%')
		default:
			decoded.WriteByte(text[i])
		}
	}
	return decoded.String()
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
