// Package idempotency identifies the requests that a client may repeat: a POST
// with an Idempotency-Key has its effect once, however often and to whichever
// replica it is sent. Package replay stores what such a request has created.
package idempotency

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
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

// NewKey returns the key of a request to a route. body is the struct that the
// request's body was decoded into. A value that is empty, too long or not
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
// repeat to another release. For this reason null counts as omitted.
func fingerprint(method, route string, body any) (sum [sha256.Size]byte, err error) {
	encoded, err := json.Marshal(body)
	var fields map[string]json.RawMessage
	if err == nil {
		err = json.Unmarshal(encoded, &fields)
	}
	if err != nil {
		return sum, fmt.Errorf("fingerprint of a request to %s %s: %w", method, route, err)
	}
	maps.DeleteFunc(fields, func(_ string, value json.RawMessage) bool { return string(value) == "null" })
	if encoded, err = json.Marshal([]any{method, route, fields}); err != nil {
		return sum, err
	}
	return sha256.Sum256(encoded), nil
}
