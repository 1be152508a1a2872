package auth

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
)

// Challenge is the header WWW-Authenticate of an answer with the status 401 to
// who has shown no token (RFC 6750, 3).
const Challenge = `Bearer realm="achilles"`

const (
	invalidToken      = Challenge + `, error="invalid_token"`
	insufficientScope = Challenge + `, error="insufficient_scope"`
)

// Authenticate finds out who is asking, by the token in the header Authorization
// (scheme Bearer, RFC 6750, 2.1) or in the header token, and leaves it in the
// request's context. Without a token it is anybody; another scheme is for
// somebody else, such as a proxy. The query is never looked at, because
// addresses end in logs. Who shows a token that is not valid is anybody until
// RejectInvalidToken refuses the request, so that what comes between the two, such as a
// limit by address, applies to it.
func Authenticate(keySet *KeySet) gin.HandlerFunc {
	return func(c *gin.Context) {
		var principal Principal
		var err error
		switch tokens := slices.Compact(shown(c.Request.Header)); len(tokens) {
		case 0:
			return
		case 1:
			principal, err = keySet.Verify(tokens[0], time.Now())
		default: // either may be the one that is meant
			err = errcode.New(errcode.UnauthorizedToken, oneToken)
		}
		if err != nil {
			c.Set(invalid{}, err)
			return
		}
		c.Request = c.Request.WithContext(NewContext(c.Request.Context(), principal))
	}
}

type invalid struct{}

// RejectInvalidToken ends a request with a token that is not valid with 401, also where none
// is needed: the client believes to be known. It goes behind Authenticate.
func RejectInvalidToken() gin.HandlerFunc {
	return func(c *gin.Context) {
		if err, found := c.Get(invalid{}); found {
			refuse(c, invalidToken, err.(error))
		}
	}
}

// PrincipalOf returns who asks, behind Authenticate.
func PrincipalOf(c *gin.Context) Principal { return FromContext(c.Request.Context()) }

// shown returns the tokens that the headers hold.
func shown(header http.Header) []string {
	return append(slices.Clone(header.Values("token")), Bearer(header)...)
}

// Bearer returns the tokens of the headers Authorization, as they were sent. The
// scheme is Bearer in any case (RFC 9110, 11.1); a tab behind it, which is an
// error, does not make the token another scheme's.
func Bearer(header http.Header) (tokens []string) {
	for _, credentials := range header.Values("Authorization") {
		scheme, token := credentials, ""
		if end := strings.IndexAny(credentials, " \t"); end >= 0 {
			scheme, token = credentials[:end], strings.TrimLeft(credentials[end:], " ")
		}
		if strings.EqualFold(scheme, "Bearer") {
			tokens = append(tokens, token)
		}
	}
	return tokens
}

// RequireScope admits who has the scope. Anybody else gets 401 without a token and
// 403 with one. It goes behind Authenticate.
func RequireScope(scope string) gin.HandlerFunc {
	return func(c *gin.Context) {
		switch principal := FromContext(c.Request.Context()); {
		case !principal.Authenticated():
			Unauthorized(c)
		case !principal.HasScope(scope):
			refuse(c, insufficientScope+`, scope="`+scope+`"`, errcode.New(errcode.Forbidden, lacksScope(scope)))
		}
	}
}

// Unauthorized ends a request that needs a token and has none with 401.
func Unauthorized(c *gin.Context) {
	refuse(c, Challenge, errcode.New(errcode.UnauthorizedToken, newToken))
}

func refuse(c *gin.Context, challenge string, err error) {
	c.Header("WWW-Authenticate", challenge)
	responses.Error(c, err)
}
