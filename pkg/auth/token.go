package auth

import (
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// maxTokenLength is the maximum length of a token in bytes. Tokens made by Sign are
// about a tenth as long.
const maxTokenLength = 4 << 10

// algorithm is the only allowed algorithm. Allowing others, such as none, would
// allow forged tokens (RFC 8725, 3.1).
const algorithm = "HS256"

// claims are the claims of a token (RFC 7519; scope: RFC 8693, 4.2).
type claims struct {
	jwt.RegisteredClaims
	Scope string `json:"scope"`
}

// Validate implements jwt.ClaimsValidator.
func (c claims) Validate() error {
	if !validName.MatchString(c.Subject) {
		return errors.New("sub is not an app key")
	}
	return nil
}

var (
	errKeyUnknown = errors.New("no such key in the key set")
	errCritical   = errors.New("unknown critical extension")
)

// Sign returns a token for the client, valid from now for Lifetime. Without an
// active key the error has the code errcode.UnauthorizedGenerate.
func (k *KeySet) Sign(appKey string, scopes []string, now time.Time) (string, error) {
	signing, ok := k.keys.Load().signing(now)
	if !ok {
		return "", errcode.New(errcode.UnauthorizedGenerate, noSigningKey)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: k.config.Issuer, Audience: jwt.ClaimStrings{k.config.Audience}, Subject: appKey,
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(k.config.Lifetime)),
		},
		Scope: strings.Join(scopes, " "),
	})
	token.Header["kid"] = signing.id
	signed, err := token.SignedString(signing.secret())
	if err != nil {
		return "", errcode.Wrap(errcode.UnauthorizedGenerate, err)
	}
	return signed, nil
}

// Verify returns the principal of the token. The error has the code
// errcode.UnauthorizedExpired if the token is valid except that it has expired, and
// errcode.UnauthorizedToken otherwise. It never contains the token.
func (k *KeySet) Verify(token string, now time.Time) (Principal, error) {
	if len(token) > maxTokenLength || strings.ContainsAny(token, "\r\n") { // which base64 ignores
		return Principal{}, errcode.New(errcode.UnauthorizedToken, newToken)
	}
	var parsed claims
	_, err := jwt.ParseWithClaims(token, &parsed, k.key,
		jwt.WithValidMethods([]string{algorithm}), jwt.WithStrictDecoding(),
		jwt.WithIssuer(k.config.Issuer), jwt.WithAudience(k.config.Audience),
		jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(k.config.ClockSkew), jwt.WithTimeFunc(func() time.Time { return now }))
	switch {
	case err == nil:
		return Principal{AppKey: parsed.Subject, Scopes: strings.Fields(parsed.Scope)}, nil
	case onlyExpired(err):
		return Principal{}, errcode.New(errcode.UnauthorizedExpired, newToken)
	}
	return Principal{}, errcode.New(errcode.UnauthorizedToken, newToken)
}

// key returns the key that the token names (RFC 7515, 4.1.4).
func (k *KeySet) key(token *jwt.Token) (any, error) {
	if _, critical := token.Header["crit"]; critical { // RFC 7515, 4.1.11
		return nil, errCritical
	}
	id, _ := token.Header["kid"].(string)
	found, ok := k.keys.Load().find(id)
	if !ok {
		return nil, errKeyUnknown
	}
	return found.secret(), nil
}

// onlyExpired reports whether the token is invalid only because it has expired.
func onlyExpired(err error) bool {
	for _, other := range []error{jwt.ErrTokenInvalidIssuer, jwt.ErrTokenInvalidAudience, jwt.ErrTokenNotValidYet, jwt.ErrTokenUsedBeforeIssued} {
		if errors.Is(err, other) {
			return false
		}
	}
	return errors.Is(err, jwt.ErrTokenExpired)
}
