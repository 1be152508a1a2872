package responses

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// bufferSize is the size in bytes from which a part of a response is written. A
	// client that does not read keeps one of them in memory.
	bufferSize = 8 << 10
	// partSize is the size in bytes of the part of a string that is encoded at once. An
	// escaped byte takes up to six.
	partSize = 4 << 10
	// firstSize is the size in bytes of the buffer at first. It grows with the response.
	firstSize = 2 << 10
	// timeFormat is RFC 3339 with exactly three fractional digits.
	timeFormat = "2006-01-02T15:04:05.000Z07:00"
)

// encode writes v as JSON, in parts, and stops at the first error of w. It differs
// from json.Marshal in three ways: memory does not depend on the length of strings,
// times have exactly three fractional digits, and <, > and & are not escaped
// (X-Content-Type-Options keeps browsers from reading JSON as HTML).
func encode(w io.Writer, v any) error {
	return (&format{formats{}.appendAny}).encode(w, reflect.ValueOf(v))
}

func (f *format) encode(w io.Writer, v reflect.Value) error {
	e := encoding{to: w, text: make([]byte, 0, firstSize)}
	if err := f.append(&e, v); err != nil {
		return err
	}
	_, err := w.Write(e.text)
	return err
}

// An Encoder encodes objects and lists of them as encode does. It knows the fields of
// their type, so it is faster. It is safe for concurrent use.
type Encoder[T any] struct {
	object, envelope, list *format
	// fields are those that it encodes, "" for all.
	fields string
}

// NewEncoder returns an Encoder.
func NewEncoder[T any]() Encoder[T] {
	return newEncoder[T](formats{}, "")
}

func newEncoder[T any](all formats, fields string) Encoder[T] {
	return Encoder[T]{all.of(reflect.TypeFor[T]()), all.of(reflect.TypeFor[Envelope[T]]()), all.of(reflect.TypeFor[ListEnvelope[T]]()), fields}
}

// Only returns an Encoder that encodes only the fields of objects that have these names in
// JSON. T must be a struct.
func (e Encoder[T]) Only(names []string) Encoder[T] {
	all := formats{}
	all[reflect.TypeFor[T]()] = &format{all.object(reflect.TypeFor[T](), names)}
	return newEncoder[T](all, " "+strings.Join(names, ","))
}

var errTooLong = errors.New("the encoding is too long")

// enveloped returns the object in an Envelope, or nil if that has more than about limit
// bytes. size is about the size of the result in bytes.
func (e Encoder[T]) enveloped(msg string, object T, size, limit int) []byte {
	to := encoding{text: make([]byte, 0, size), limit: limit}
	to.raw(`{"code":0,"msg":`)
	_ = to.string(msg) // is short
	to.raw(`,"data":`)
	if !to.add(e.object, reflect.ValueOf(&object).Elem()) {
		return nil
	}
	to.raw("}")
	return to.text
}

// page is like enveloped, for a ListEnvelope.
func (e Encoder[T]) page(msg string, list []T, pager Pager, size, limit int) []byte {
	to := encoding{text: make([]byte, 0, size), limit: limit}
	if !to.add(e.list, reflect.ValueOf(&ListEnvelope[T]{Msg: msg, List: list, Pager: pager}).Elem()) {
		return nil
	}
	return to.text
}

// encoding is JSON that is being written.
type encoding struct {
	to    io.Writer // nil to keep all of the text
	text  []byte    // not written yet
	limit int       // of the text that is kept, in bytes
}

// add appends a value, and reports whether the text is not too long to be kept.
func (e *encoding) add(f *format, v reflect.Value) bool {
	err := f.append(e, v)
	if err != nil && !errors.Is(err, errTooLong) {
		panic(err) // the types of responses can be encoded
	}
	return err == nil
}

func (e *encoding) raw(text string) { e.text = append(e.text, text...) }

// flush writes the text if it is long enough, or reports that it is too long to be kept.
func (e *encoding) flush() error {
	switch {
	case e.to == nil && len(e.text) > e.limit:
		return errTooLong
	case e.to == nil || len(e.text) < bufferSize:
		return nil
	}
	_, err := e.to.Write(e.text)
	e.text = e.text[:0]
	return err
}

// A format encodes the values of a type.
type format struct {
	append func(*encoding, reflect.Value) error
}

// formats are those of the types that a type consists of. A type may contain itself.
type formats map[reflect.Type]*format

// of returns the format of a type.
func (f formats) of(t reflect.Type) *format {
	if known, found := f[t]; found {
		return known
	}
	one := &format{}
	f[t] = one
	switch {
	case t == reflect.TypeFor[time.Time]():
		one.append = appendTime
	case t == reflect.TypeFor[*time.Time]():
		one.append = f.pointer(t)
	case t.Implements(reflect.TypeFor[json.Marshaler]()):
		one.append = appendOther
	default:
		one.append = f.ofKind(t)
	}
	return one
}

func (f formats) ofKind(t reflect.Type) func(*encoding, reflect.Value) error {
	switch t.Kind() {
	case reflect.Pointer:
		return f.pointer(t)
	case reflect.Interface:
		return func(e *encoding, v reflect.Value) error { return f.appendAny(e, v.Elem()) }
	case reflect.Struct:
		return f.object(t, nil)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() != reflect.Uint8 {
			return f.array(t)
		}
	case reflect.String:
		return func(e *encoding, v reflect.Value) error { return e.string(v.String()) }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(e *encoding, v reflect.Value) error {
			e.text = strconv.AppendInt(e.text, v.Int(), 10)
			return nil
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(e *encoding, v reflect.Value) error {
			e.text = strconv.AppendUint(e.text, v.Uint(), 10)
			return nil
		}
	}
	return appendOther
}

// appendAny appends a value of a type that only the value knows.
func (f formats) appendAny(e *encoding, v reflect.Value) error {
	if !v.IsValid() {
		e.raw("null")
		return nil
	}
	return formats{}.of(v.Type()).append(e, v) // a new one, because f may be in use by others
}

func (f formats) pointer(t reflect.Type) func(*encoding, reflect.Value) error {
	to := f.of(t.Elem())
	return func(e *encoding, v reflect.Value) error {
		if v.IsNil() {
			e.raw("null")
			return nil
		}
		return to.append(e, v.Elem())
	}
}

// field is a field of an object.
type field struct {
	index     int
	name      string // with what is before and after it
	omitEmpty bool
	format    *format
}

// object encodes the fields with the given names, nil for all.
func (f formats) object(t reflect.Type, names []string) func(*encoding, reflect.Value) error {
	var fields []field
	for i := range t.NumField() {
		one := t.Field(i)
		name, options, _ := strings.Cut(one.Tag.Get("json"), ",")
		if !one.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			name = one.Name
		}
		if names != nil && !slices.Contains(names, name) {
			continue
		}
		fields = append(fields, field{i, `"` + name + `":`, options == "omitempty", f.of(one.Type)})
	}
	return func(e *encoding, v reflect.Value) error {
		separator := "{"
		for _, one := range fields {
			value := v.Field(one.index)
			if one.omitEmpty && value.IsZero() {
				continue
			}
			e.raw(separator)
			e.raw(one.name)
			if err := one.format.append(e, value); err != nil {
				return err
			}
			separator = ","
		}
		if separator == "{" {
			e.raw(separator)
		}
		e.raw("}")
		return nil
	}
}

func (f formats) array(t reflect.Type) func(*encoding, reflect.Value) error {
	element := f.of(t.Elem())
	return func(e *encoding, v reflect.Value) error {
		if v.Kind() == reflect.Slice && v.IsNil() {
			e.raw("null")
			return nil
		}
		e.raw("[")
		for i := range v.Len() {
			if i > 0 {
				e.raw(",")
			}
			if err := element.append(e, v.Index(i)); err != nil {
				return err
			}
			if err := e.flush(); err != nil {
				return err
			}
		}
		e.raw("]")
		return nil
	}
}

func appendTime(e *encoding, v reflect.Value) error {
	var at time.Time
	if v.CanAddr() { // without an allocation
		at = *v.Addr().Interface().(*time.Time)
	} else {
		at = v.Interface().(time.Time)
	}
	e.raw(`"`)
	e.text = at.AppendFormat(e.text, timeFormat)
	e.raw(`"`)
	return nil
}

// appendOther appends a value whose encoding is short.
func appendOther(e *encoding, v reflect.Value) error {
	var one bytes.Buffer
	encoder := json.NewEncoder(&one)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v.Interface()); err != nil {
		return err
	}
	e.text = append(e.text, one.Bytes()[:one.Len()-1]...)
	return nil
}

// string appends a string as encoding/json does, in parts of partSize.
func (e *encoding) string(s string) error {
	e.raw(`"`)
	for len(s) > partSize {
		end := partSize
		for end > partSize-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		e.escape(s[:end])
		s = s[end:]
		if err := e.flush(); err != nil {
			return err
		}
	}
	e.escape(s)
	e.raw(`"`)
	return e.flush()
}

// escape appends what is between the quotes of a string.
func (e *encoding) escape(s string) {
	start := 0 // of what is not appended yet
	for i := 0; i < len(s); {
		b := s[i]
		if b-' ' < utf8.RuneSelf-' ' && b != '"' && b != '\\' {
			i++
			continue
		}
		size, escaped := 1, ""
		if b < utf8.RuneSelf {
			escaped = escapedByte(b)
		} else {
			size, escaped = escapedRune(s[i:])
		}
		if escaped != "" {
			e.raw(s[start:i])
			e.raw(escaped)
			start = i + size
		}
		i += size
	}
	e.raw(s[start:])
}

// escapedByte returns the escape of a byte that can't stand in a string.
func escapedByte(b byte) string {
	switch b {
	case '"':
		return `\"`
	case '\\':
		return `\\`
	case '\b':
		return `\b`
	case '\f':
		return `\f`
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	}
	const hex = "0123456789abcdef"
	return `\u00` + string(hex[b>>4]) + string(hex[b&15])
}

// escapedRune returns the size of the first character, and its escape if it can't stand
// in a string or would end a line of JavaScript.
func escapedRune(s string) (size int, escaped string) {
	switch r, size := utf8.DecodeRuneInString(s); {
	case r == utf8.RuneError && size == 1:
		return size, "\ufffd"
	case r == '\u2028':
		return size, `\u2028`
	case r == '\u2029':
		return size, `\u2029`
	default:
		return size, ""
	}
}
