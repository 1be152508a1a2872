package settings

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// kindOf returns the type's name in --help, or "" if settings of this type are not supported.
func kindOf(t reflect.Type) string {
	switch t {
	case durationType:
		return "duration"
	case listType:
		return "list"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "bool"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "int"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "uint"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.String:
		return "string"
	}
	return ""
}

// set converts and stores the value of a source: a string, or a value decoded from YAML.
func (f field) set(raw any) error {
	switch kindOf(f.value.Type()) {
	case "string":
		return f.setString(raw)
	case "list":
		return f.setList(raw)
	}
	text, ok := scalar(raw)
	if !ok {
		return f.invalid(raw)
	}
	return f.parse(raw, text)
}

// setString accepts strings only: YAML decodes 0123, 1e5 or a date to values that differ from their text.
func (f field) setString(raw any) error {
	text, ok := raw.(string)
	if !ok {
		return f.invalid(raw)
	}
	f.value.SetString(text)
	return nil
}

func (f field) setList(raw any) error {
	list := []string{}
	switch raw := raw.(type) {
	case string:
		list = strings.Split(raw, ",")
	case []any:
		for _, item := range raw {
			text, ok := item.(string)
			if !ok {
				return f.invalid(item)
			}
			list = append(list, text)
		}
	default:
		return f.invalid(raw)
	}
	kept := []string{}
	for _, item := range list {
		if item = strings.TrimSpace(item); item != "" {
			kept = append(kept, item)
		}
	}
	f.value.Set(reflect.ValueOf(kept))
	return nil
}

func (f field) parse(raw any, text string) error {
	var err error
	bits := 0
	if f.value.CanInt() || f.value.CanUint() || f.value.CanFloat() {
		bits = f.value.Type().Bits()
	}
	switch kindOf(f.value.Type()) {
	case "duration":
		var d time.Duration
		if d, err = duration(text); err == nil && d < 0 && !f.negative {
			err = strconv.ErrRange
		}
		f.value.SetInt(int64(d))
	case "bool":
		var b bool
		b, err = strconv.ParseBool(text)
		f.value.SetBool(b)
	case "int":
		var i int64
		i, err = strconv.ParseInt(text, 10, bits)
		f.value.SetInt(i)
	case "uint":
		var u uint64
		u, err = strconv.ParseUint(text, 10, bits)
		f.value.SetUint(u)
	case "number":
		var n float64
		if n, err = strconv.ParseFloat(text, bits); math.IsNaN(n) || math.IsInf(n, 0) {
			err = strconv.ErrRange
		}
		f.value.SetFloat(n)
	}
	if err != nil {
		return f.invalid(raw)
	}
	return nil
}

// duration parses a duration such as "1m30s". A bare number is seconds.
func duration(text string) (time.Duration, error) {
	if last := text[max(0, len(text)-1):]; last != "" && strings.Contains("0123456789.", last) {
		text += "s"
	}
	return time.ParseDuration(text)
}

// scalar returns the text of a number, bool or string, and false for a list or map.
func scalar(raw any) (string, bool) {
	switch raw := raw.(type) {
	case string:
		return raw, true
	case float64:
		return strconv.FormatFloat(raw, 'f', -1, 64), true
	case bool, int, int64, uint64:
		return fmt.Sprint(raw), true
	}
	return "", false
}

// allowedByType describes the values of the setting's type.
func (f field) allowedByType() string {
	t := f.value.Type()
	switch kindOf(t) {
	case "duration":
		if f.negative {
			return "a duration such as 1m30s or -5s; a bare number is seconds"
		}
		return "a duration such as 1m30s, not negative; a bare number is seconds"
	case "list":
		return "a list of texts, or one text separated by commas; numbers and the like in quotes"
	case "bool":
		return "true or false"
	case "int":
		if t.Bits() == 64 {
			return "a whole number"
		}
		return fmt.Sprintf("a whole number from %d to %d", -1<<(t.Bits()-1), 1<<(t.Bits()-1)-1)
	case "uint":
		if t.Bits() == 64 {
			return "a whole number, not negative"
		}
		return fmt.Sprintf("a whole number from 0 to %d", 1<<t.Bits()-1)
	case "number":
		return "a number"
	}
	return "a text; numbers, dates and the like in quotes"
}

// invalid returns the error for a value that does not have the setting's type.
func (f field) invalid(raw any) error {
	return &problem{key: f.key, got: show(raw), allowed: f.allowedByType()}
}

// show returns the text of a value in an error. locate masks secrets.
func show(raw any) string {
	switch raw := raw.(type) {
	case string:
		return strconv.Quote(raw)
	case map[string]any, map[any]any:
		return "a section"
	case []any:
		return "a list"
	}
	return fmt.Sprint(raw)
}

// text returns the setting's value for --help.
func (f field) text() string {
	if list, ok := f.value.Interface().([]string); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(f.value.Interface())
}
