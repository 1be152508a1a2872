package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// RequireServiceToken returns a middleware that rejects requests without the token that the
// services share; if that is empty, all requests. It compares hashes, so that the time
// doesn't depend on the token that was sent. Only rejected requests are limited.
func RequireServiceToken(token settings.Secret, limitGuesses gin.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		shown := Bearer(c.Request.Header)
		want, got := sha256.Sum256([]byte(token.Reveal())), sha256.Sum256([]byte(strings.Join(shown, "")))
		if len(shown) != 1 || token.Reveal() == "" || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			if limitGuesses(c); c.IsAborted() {
				return
			}
			c.Header("WWW-Authenticate", "Bearer")
			responses.Error(c, errcode.New(errcode.UnauthorizedInternal))
		}
	}
}
