package auth

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
)

// Challenge is the header WWW-Authenticate of a 401 response to a request without a
// token (RFC 6750, 3).
const Challenge = `Bearer realm="achilles"`

const (
	invalidRequest    = Challenge + `, error="invalid_request"`
	invalidToken      = Challenge + `, error="invalid_token"`
	insufficientScope = Challenge + `, error="insufficient_scope"`
)

// Authenticate verifies the token in the header Authorization (scheme Bearer,
// RFC 6750, 2.1) or in the header token, and stores the principal in the context of
// the request. A request must have one credential: several lines of these headers,
// even if they are equal or empty, are invalid. An Authorization with another scheme
// is ignored, also beside a header token: it may be meant for a proxy. Tokens in
// the query are ignored because URLs are logged. A request with an invalid token
// is anonymous until RejectInvalidToken ends it, so that middleware between the
// two, such as a rate limit by address, applies to it.
func Authenticate(keySet *KeySet) gin.HandlerFunc {
	return func(c *gin.Context) {
		var principal Principal
		var err error
		switch tokens := tokensOf(c.Request.Header); {
		case len(tokens) > 1, len(c.Request.Header.Values("Authorization")) > 1:
			err = errSeveral
		case len(tokens) == 0:
			return
		default:
			principal, err = keySet.Verify(tokens[0], time.Now())
		}
		if err != nil {
			c.Set(invalid{}, err)
			return
		}
		c.Request = c.Request.WithContext(NewContext(c.Request.Context(), principal))
	}
}

type invalid struct{}

var errSeveral = errcode.New(errcode.InvalidParams, oneToken)

// RejectInvalidToken answers requests with an invalid token with 401, and those with
// several credentials with 400 (RFC 6750, 3.1), even on routes that need no token: the
// client expects to be authenticated. It must run after Authenticate.
func RejectInvalidToken() gin.HandlerFunc {
	return func(c *gin.Context) {
		value, found := c.Get(invalid{})
		if !found {
			return
		}
		err, challenge := value.(error), invalidToken
		if errors.Is(err, errSeveral) {
			challenge = invalidRequest
		}
		reject(c, challenge, err)
	}
}

// PrincipalOf returns the principal of a request after Authenticate.
func PrincipalOf(c *gin.Context) Principal { return FromContext(c.Request.Context()) }

func tokensOf(header http.Header) []string {
	return append(slices.Clone(header["Token"]), Bearer(header)...)
}

// Bearer returns the tokens in the headers Authorization, an empty one for an empty
// header. The scheme Bearer is case-insensitive (RFC 9110, 11.1). A tab after it
// becomes part of the token, which is then invalid.
func Bearer(header http.Header) (tokens []string) {
	for _, credentials := range header.Values("Authorization") {
		scheme, token := credentials, ""
		if end := strings.IndexAny(credentials, " \t"); end >= 0 {
			scheme, token = credentials[:end], strings.TrimLeft(credentials[end:], " ")
		}
		if scheme == "" || strings.EqualFold(scheme, "Bearer") {
			tokens = append(tokens, token)
		}
	}
	return tokens
}

// RequireScope answers requests without a token with 401, and requests whose token
// lacks the scope with 403. It must run after Authenticate.
func RequireScope(scope string) gin.HandlerFunc {
	return func(c *gin.Context) {
		switch principal := FromContext(c.Request.Context()); {
		case !principal.Authenticated():
			Unauthorized(c)
		case !principal.HasScope(scope):
			reject(c, insufficientScope+`, scope="`+scope+`"`, errcode.New(errcode.Forbidden, lacksScope(scope)))
		}
	}
}

// Unauthorized answers a request without a token with 401.
func Unauthorized(c *gin.Context) {
	reject(c, Challenge, errcode.New(errcode.UnauthorizedToken, newToken))
}

func reject(c *gin.Context, challenge string, err error) {
	c.Header("WWW-Authenticate", challenge)
	responses.Error(c, err)
}
