// Package api serves the HTTP API of tokens: its route, its handler, and the types of requests and
// responses.
package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/issuer/access"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/responses"
)

// Tokens serves POST /auth.
type Tokens struct {
	Clients *access.Service
	KeySet  *auth.KeySet
	Binder  *requests.Binder
}

// Register adds the route.
func (t *Tokens) Register(routes gin.IRouter) { routes.POST("/auth", t.createToken) }

// TokenRequest is the body that requests a token.
type TokenRequest struct {
	AppKey    *string `json:"app_key" validate:"required" example:"demo"`
	AppSecret *string `json:"app_secret" validate:"required" format:"password" example:"what the command client add printed"`
}

// Token is a token in a response.
type Token struct {
	Token     string `json:"token" example:"eyJhbGciOiJIUzI1NiIsImtpZCI6IjIwMjYtMTEtMjEiLCJ0eXAiOiJKV1QifQ.…"`
	TokenType string `json:"token_type" enums:"Bearer" example:"Bearer"`
	// seconds for which the token is valid
	ExpiresIn int64 `json:"expires_in" example:"3600"`
}

// createToken returns a token for an app key and its secret.
//
//	@Summary		Get a token
//	@ID				createToken
//	@Description	Send the token as `Authorization: Bearer TOKEN` or in the header `token`.
//	@Tags			auth
//	@Accept			json,x-www-form-urlencoded
//	@Produce		json
//	@Param			credentials		body		TokenRequest					true	"as the command client add printed them"
//	@Success		200				{object}	responses.Envelope[Token]	"the token"
//	@Failure		400	{object}	responses.Problem	"invalid (10000001)"
//	@Failure		401	{object}	responses.Problem	"no such pair (10000003), no key to sign with (10000006)"
//	@Router			/auth [post]
func (t *Tokens) createToken(c *gin.Context) {
	c.Header("Cache-Control", "no-store") // RFC 6749, 5.1
	var shown TokenRequest
	if err := t.Binder.Body(c, &shown); err != nil {
		responses.Error(c, err)
		return
	}
	client, err := t.Clients.Authenticate(c.Request.Context(), *shown.AppKey, *shown.AppSecret)
	if err != nil {
		t.refuse(c, err)
		return
	}
	token, err := t.KeySet.Sign(client.Key, client.Scopes, time.Now())
	if err != nil {
		t.refuse(c, err)
		return
	}
	responses.OK(c, Token{Token: token, TokenType: "Bearer", ExpiresIn: int64(t.KeySet.Lifetime() / time.Second)}, nil)
}

// refuse answers an error, with a challenge if it is a 401 (RFC 9110, 15.5.2).
func (t *Tokens) refuse(c *gin.Context, err error) {
	var coded *errcode.Error
	if errors.As(err, &coded) && coded.Code.Status() == http.StatusUnauthorized {
		c.Header("WWW-Authenticate", auth.Challenge)
	}
	responses.Error(c, err)
}
