package requests

import (
	"encoding/json"
	"net/url"
	"reflect"
	"regexp"
	"strings"
)

// integer is what a form field of an integer kind may hold. An empty value is
// not one: "state=" says something was meant and nothing was said.
var integer = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,19})$`)

// formToJSON rewrites form values as the JSON a client could have sent instead,
// by the json names and kinds of the fields of dst. So a form is held to the
// very rules of JSON. Fields that dst does not have are dropped, as they are in
// JSON.
func formToJSON(values url.Values, dst reflect.Type) (object, problems) {
	sent, found := object{}, problems{}
	for field := range fields(dst) {
		name := jsonName(field)
		given, ok := values[name]
		if !ok {
			continue
		}
		kind := field.Type
		for kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		switch {
		case kind.Kind() == reflect.Slice:
			sent[name] = formList(given, kind.Elem())
		case len(given) > 1:
			found[name] = onlyOnce(name)
		default:
			sent[name] = formScalar(given[0], kind)
		}
	}
	return sent, found
}

// formList writes a repeated field. One empty value is the empty list, which a
// form could not express otherwise.
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

// formScalar writes what is no number as a string, which is then of the wrong
// type where a number is wanted.
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

// fields yields the exported fields of a struct type, or of the type a pointer
// points to, in their order.
func fields(t reflect.Type) func(yield func(reflect.StructField) bool) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && !yield(f) {
				return
			}
		}
	}
}

// jsonName is the field's name as clients write it, in JSON and in forms.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
