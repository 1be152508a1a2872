// Package idempotency identifies the requests that a client may repeat: a POST
// with an Idempotency-Key has its effect once, however often and to whichever
// replica it is sent. Package replay stores what such a request has created.
package idempotency

import (
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Header is the name of the header field that carries the key; see
// draft-ietf-httpapi-idempotency-key-header.
const Header = "Idempotency-Key"

// MaxKeyLength is the maximum length of a key in bytes.
const MaxKeyLength = 255

// Key identifies a request that may be repeated. The zero Key stands for a
// request without an Idempotency-Key.
type Key struct {
	// Client is the app key of the client; the keys of two clients are distinct.
	Client string
	// Value is the header's value as the client sent it, including quotes.
	Value string
	// Fingerprint distinguishes a repeat from another request under the same key.
	Fingerprint [sha256.Size]byte
}

// NewKey returns the key of a request to a route. body is a struct with what the
// request's body means: fields of strings, integers, booleans and slices of them, slices
// of such structs, or pointers to these, without those that have their default. A value that is empty, too long or not
// printable ASCII is an errcode.InvalidParams error.
func NewKey(client, value, method, route string, body any) (Key, error) {
	unprintable := func(r rune) bool { return r < ' ' || r > '~' }
	if value == "" || len(value) > MaxKeyLength || strings.ContainsFunc(value, unprintable) {
		return Key{}, ErrInvalid()
	}
	sum, err := fingerprint(method, route, body)
	return Key{Client: client, Value: value, Fingerprint: sum}, err
}

// IsZero reports whether the request has no Idempotency-Key.
func (k Key) IsZero() bool { return k.Value == "" }

// ID returns the SHA-256 of client and value. A value contains no NUL, so
// distinct pairs have distinct ids.
func (k Key) ID() [sha256.Size]byte { return sha256.Sum256([]byte(k.Client + "\x00" + k.Value)) }

// Item returns the key of an item of a batch: the zero Key if k is zero, and otherwise one
// that no request and no other item has.
func (k Key) Item(index int) Key {
	if !k.IsZero() {
		k.Value += fmt.Sprintf("\x00%d", index)
	}
	return k
}

// ErrInvalid returns the error for a header that doesn't hold exactly one valid key.
func ErrInvalid() error {
	return errcode.New(errcode.InvalidParams, errcode.Text{
		ZH:       "Idempotency-Key 只能出现一次, 且必须是 1 到 255 个可打印的 ASCII 字符, 例如 UUID",
		EN:       "Idempotency-Key must be given only once, as 1 to 255 printable ASCII characters, such as a UUID",
		ZHHantTW: "Idempotency-Key 只能出現一次, 且必須是 1 到 255 個可列印的 ASCII 字元, 例如 UUID",
	})
}

// fingerprint is the same for JSON and forms, and for releases whose structs
// have more optional fields or another order, because a rollout may send the
// repeat to another release. For this reason nil counts as omitted.
func fingerprint(method, route string, body any) (sum [sha256.Size]byte, err error) {
	hash := sha256.New()
	_, _ = fmt.Fprintf(hash, "%q %q", method, route) // a hash never fails
	request := reflect.ValueOf(body)
	if request.Kind() != reflect.Struct {
		return sum, fmt.Errorf("fingerprint of a request to %s %s: %T is not a struct", method, route, body)
	}
	writeStruct(hash, request)
	return [sha256.Size]byte(hash.Sum(nil)), nil
}

// writeStruct writes the fields of a struct, by their names.
func writeStruct(hash io.Writer, s reflect.Value) {
	fields := map[string]reflect.Value{}
	for i := range s.NumField() {
		name, _, _ := strings.Cut(s.Type().Field(i).Tag.Get("json"), ",")
		if field := reflect.Indirect(s.Field(i)); field.IsValid() {
			fields[name] = field
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if field := fields[name]; field.Kind() == reflect.Slice && field.Type().Elem().Kind() == reflect.Struct {
			_, _ = fmt.Fprintf(hash, " %q [%d]", name, field.Len())
			for i := range field.Len() {
				_, _ = io.WriteString(hash, " {")
				writeStruct(hash, field.Index(i))
				_, _ = io.WriteString(hash, " }")
			}
			continue
		}
		text := fields[name].String() // without a copy: contents are large
		if fields[name].Kind() != reflect.String {
			text = fmt.Sprint(fields[name])
		}
		_, _ = fmt.Fprintf(hash, " %q %d ", name, len(text))
		_, _ = io.WriteString(hash, text)
	}
}
