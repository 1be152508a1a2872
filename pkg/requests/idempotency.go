package requests

import (
	"net/textproto"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/failpoint"
	"github.com/achilles-blog/achilles/pkg/idempotency"
)

// IdempotencyKey returns the key of a request that the client with the given
// app key sent, or the zero Key if it has none. body is what the request means, see
// idempotency.NewKey. A header that is invalid or repeated is an
// errcode.InvalidParams error.
func IdempotencyKey(c *gin.Context, client string, body any) (idempotency.Key, error) {
	values := c.Request.Header.Values(idempotency.Header)
	switch {
	case len(values) == 0 || failpoint.Enabled(failpoint.ForgetKeys):
		return idempotency.Key{}, nil
	case len(values) > 1:
		return idempotency.Key{}, idempotency.ErrInvalid()
	}
	value := textproto.TrimString(values[0]) // RFC 9110, 5.5
	return idempotency.NewKey(client, value, c.Request.Method, c.FullPath(), body)
}
