package server

import (
	"context"
	"encoding/binary"
	"math/rand/v2"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/achilles-blog/achilles/pkg/locale"
	"github.com/achilles-blog/achilles/pkg/settings"
)

const (
	requestIDHeader    = "X-Request-Id" // in its canonical form
	maxRequestIDLength = 128
)

type requestIDKey struct{}

// RequestID returns the id of the request in ctx, or "".
func RequestID(ctx context.Context) string {
	if id, found := ctx.Value(requestIDKey{}).(*string); found {
		return *id
	}
	return ""
}

// requestContext is a context with the id and the language of a request, and with the
// settings that it sees, in one allocation.
type requestContext struct {
	context.Context
	id       string
	language any // of locale.Key
	settings *settings.Snapshot
}

// Value implements context.Context.
func (r *requestContext) Value(key any) any {
	switch key.(type) {
	case requestIDKey:
		return &r.id
	case locale.Key:
		return r.language
	case settings.SnapshotKey:
		return r.settings
	default:
		return r.Context.Value(key)
	}
}

// describe puts the id of the request and the language of its response into its context
// and into the response, and the present settings into its context. It takes the id from the client, or generates one if it is
// missing or not safe for headers and logs. It comes before middleware that may reject the
// request, so that errors are translated.
func describe(negotiator *locale.Negotiator, cfg *settings.Live[Config]) gin.HandlerFunc {
	type language struct {
		header []string // Content-Language, which responses share
		value  any
	}
	languages := map[string]language{}
	for _, name := range locale.All() {
		languages[name] = language{[]string{locale.Tag(name)}, name}
	}
	return func(c *gin.Context) {
		id := c.GetHeader(requestIDHeader)
		if !validRequestID(id) {
			id = newRequestID()
		}
		language := languages[negotiator.Negotiate(c.GetHeader("Locale"), c.GetHeader("Accept-Language"))]
		header := c.Writer.Header()
		header[requestIDHeader], header["Content-Language"] = []string{id}, language.header
		c.Request = c.Request.WithContext(&requestContext{c.Request.Context(), id, language.value, cfg.Snapshot()})
	}
}

// newRequestID returns a random UUID (RFC 9562, version 4).
func newRequestID() string {
	var id uuid.UUID
	binary.NativeEndian.PutUint64(id[:8], rand.Uint64()) // #nosec G404 -- ids of requests are no secret
	binary.NativeEndian.PutUint64(id[8:], rand.Uint64()) // #nosec G404
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	return id.String()
}

func validRequestID(id string) bool {
	for i := range len(id) {
		switch b := id[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '.', b == '_', b == '-':
		default:
			return false
		}
	}
	return id != "" && len(id) <= maxRequestIDLength
}
