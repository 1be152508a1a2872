package requests

import (
	"encoding/json"
	"net/url"
	"reflect"
	"regexp"
	"strings"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// integer is what a form field of an integer kind may hold. An empty value is
// not one: "state=" says something was meant and nothing was said.
var integer = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,19})$`)

// formToJSON rewrites form values as the JSON object a client could have sent
// instead, by the json names and kinds of the fields of dst. So a form is held
// to the very rules of JSON. Fields that dst does not have are dropped, as
// they are in JSON.
func formToJSON(values url.Values, dst reflect.Type) ([]byte, error) {
	object := map[string]json.RawMessage{}
	var details []errcode.Text
	for field := range fields(dst) {
		name := jsonName(field)
		given, ok := values[name]
		if !ok {
			continue
		}
		raw, problem := formValue(name, given, field.Type)
		if problem != nil {
			details = append(details, *problem)
			continue
		}
		object[name] = raw
	}
	if len(details) > 0 {
		return nil, errcode.New(errcode.InvalidParams, details...)
	}
	return json.Marshal(object)
}

func formValue(name string, given []string, kind reflect.Type) (json.RawMessage, *errcode.Text) {
	for kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	if kind.Kind() == reflect.Slice {
		return formList(name, given, kind.Elem())
	}
	if len(given) > 1 {
		return nil, onlyOnce(name)
	}
	return formScalar(name, given[0], kind)
}

// formList reads a repeated field. One empty value is the empty list, which a
// form could not express otherwise.
func formList(name string, given []string, kind reflect.Type) (json.RawMessage, *errcode.Text) {
	list := []json.RawMessage{}
	if len(given) == 1 && given[0] == "" {
		given = nil
	}
	for _, text := range given {
		raw, problem := formScalar(name, text, kind)
		if problem != nil {
			return nil, problem
		}
		list = append(list, raw)
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return nil, wrongType(name, kind)
	}
	return raw, nil
}

func formScalar(name, text string, kind reflect.Type) (json.RawMessage, *errcode.Text) {
	if kind.Kind() == reflect.String {
		raw, err := json.Marshal(text)
		if err != nil {
			return nil, wrongType(name, kind)
		}
		return raw, nil
	}
	if !integer.MatchString(text) {
		return nil, wrongType(name, kind)
	}
	return json.RawMessage(text), nil
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
