// Package idempotency makes a POST that carries an Idempotency-Key count once,
// however often it is sent, to whichever replica, and wherever a crash falls:
// the key and the answer are written in the transaction of the write itself.
package idempotency

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/failpoint"
)

// Header is the field that carries the key; see
// draft-ietf-httpapi-idempotency-key-header.
const Header = "Idempotency-Key"

// longestKey is that of a key, in bytes.
const longestKey = 255

// Request is one POST that carries an Idempotency-Key.
type Request struct {
	// AppKey is whose request it is: the keys of two clients are two keys.
	AppKey string
	// Key is the client's, as it was sent: its quotes, if any, are part of it.
	Key string
	// Fingerprint tells a repeat from another request under the same key.
	Fingerprint [sha256.Size]byte
}

// FromHeader returns the request with the key that header carries; ok is false
// when there is none. A header that is no key, or several of them, is refused
// with errcode.InvalidParams. method and path are those of the route; bound is
// the struct that the body was read into.
func FromHeader(header http.Header, appKey, method, path string, bound any) (request Request, ok bool, err error) {
	if failpoint.Enabled(failpoint.ForgetKeys) {
		return Request{}, false, nil
	}
	sent := header.Values(Header)
	if len(sent) == 0 {
		return Request{}, false, nil
	}
	key := textproto.TrimString(sent[0]) // no part of the value, by RFC 9110, 5.5
	if len(sent) > 1 || !valid(key) {
		return Request{}, false, errcode.New(errcode.InvalidParams, invalidKey)
	}
	sum, err := fingerprint(method, path, bound)
	return Request{AppKey: appKey, Key: key, Fingerprint: sum}, err == nil, err
}

func valid(key string) bool {
	unprintable := func(r rune) bool { return r < ' ' || r > '~' }
	return key != "" && len(key) <= longestKey && !strings.ContainsFunc(key, unprintable)
}

// fingerprint is the same for JSON and form, and for releases whose bound
// struct has more optional fields or another order: a repeat may arrive at the
// next one. So what is null counts as left out.
func fingerprint(method, path string, bound any) (sum [sha256.Size]byte, err error) {
	encoded, err := json.Marshal(bound)
	var fields map[string]json.RawMessage
	if err == nil {
		err = json.Unmarshal(encoded, &fields)
	}
	if err != nil {
		return sum, fmt.Errorf("take the fingerprint of a request to %s %s: %w", method, path, err)
	}
	maps.DeleteFunc(fields, func(_ string, value json.RawMessage) bool { return string(value) == "null" })
	if encoded, err = json.Marshal([]any{method, path, fields}); err != nil {
		return sum, err
	}
	return sha256.Sum256(encoded), nil
}

// Answer is what a client got.
type Answer struct {
	Status int
	// Header are the fields that belong to the answer, such as Location.
	Header map[string]string
	Body   []byte
}

// Replayed is the error with which InTx ends when the write was done before.
type Replayed struct {
	// Answer is the first one; it is to be given again.
	Answer Answer
}

// Error is the text for the log.
func (*Replayed) Error() string {
	return "a request with this Idempotency-Key was answered before"
}

// NewContext returns a context under which InTx does the write of the request
// once. render makes the answer of what the write returned. It runs within the
// transaction, again with each try of it, and its error undoes the write.
func NewContext(ctx context.Context, request Request, render func(written any) (Answer, error)) context.Context {
	return context.WithValue(ctx, contextKey{}, keyed{request: request, render: render})
}

type contextKey struct{}

type keyed struct {
	request Request
	render  func(written any) (Answer, error)
}

var (
	invalidKey = errcode.Text{
		ZH:       "Idempotency-Key 只能出现一次, 且必须是 1 到 255 个可打印的 ASCII 字符, 例如 UUID",
		EN:       "Idempotency-Key must be given only once, as 1 to 255 printable ASCII characters, such as a UUID",
		ZHHantTW: "Idempotency-Key 只能出現一次, 且必須是 1 到 255 個可列印的 ASCII 字元, 例如 UUID",
	}
	otherRequest = errcode.Text{
		ZH:       "请原样重发第一个请求, 或为新的请求使用新的 Idempotency-Key",
		EN:       "send the first request as it was, or take a new Idempotency-Key for a new request",
		ZHHantTW: "請原樣重送第一個請求, 或為新的請求使用新的 Idempotency-Key",
	}
)
