package auth

import (
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// maxToken is the longest token that is looked at, in bytes; ours have a tenth.
const maxToken = 4 << 10

// algorithm is the only one there is. A token that names another, such as none
// or one that would take the secret for a public key, is refused (RFC 8725, 3.1).
const algorithm = "HS256"

// claims are what a token says (RFC 7519; scope as in RFC 8693, 4.2).
type claims struct {
	jwt.RegisteredClaims
	Scope string `json:"scope"`
}

// Validate implements jwt.ClaimsValidator.
func (c claims) Validate() error {
	if !validName.MatchString(c.Subject) {
		return errors.New("sub is no app key")
	}
	return nil
}

var (
	errKeyUnknown = errors.New("no such key in the key set")
	errCritical   = errors.New("extensions that must be understood are not")
)

// Sign returns a token for the app, valid from now on for Lifetime. Without a
// key that signs the error is errcode.UnauthorizedGenerate.
func (r *KeySet) Sign(appKey string, scopes []string, now time.Time) (string, error) {
	signing, ok := r.keys.Load().signing(now)
	if !ok {
		return "", errcode.New(errcode.UnauthorizedGenerate, noKeySigns)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: r.config.Issuer, Audience: jwt.ClaimStrings{r.config.Audience}, Subject: appKey,
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(r.config.Lifetime)),
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

// Verify returns whom the token stands for. The error is
// errcode.UnauthorizedExpired when nothing is wrong but that its time is over,
// else errcode.UnauthorizedToken; it holds nothing of the token.
func (r *KeySet) Verify(token string, now time.Time) (Principal, error) {
	if len(token) > maxToken || strings.ContainsAny(token, "\r\n") { // which base64 would overlook
		return Principal{}, errcode.New(errcode.UnauthorizedToken, newToken)
	}
	var said claims
	_, err := jwt.ParseWithClaims(token, &said, r.key,
		jwt.WithValidMethods([]string{algorithm}), jwt.WithStrictDecoding(),
		jwt.WithIssuer(r.config.Issuer), jwt.WithAudience(r.config.Audience),
		jwt.WithExpirationRequired(), jwt.WithNotBeforeRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(r.config.ClockSkew), jwt.WithTimeFunc(func() time.Time { return now }))
	switch {
	case err == nil:
		return Principal{AppKey: said.Subject, Scopes: strings.Fields(said.Scope)}, nil
	case onlyExpired(err):
		return Principal{}, errcode.New(errcode.UnauthorizedExpired, newToken)
	}
	return Principal{}, errcode.New(errcode.UnauthorizedToken, newToken)
}

// key is the one that the token names (RFC 7515, 4.1.4).
func (r *KeySet) key(token *jwt.Token) (any, error) {
	if _, critical := token.Header["crit"]; critical { // RFC 7515, 4.1.11
		return nil, errCritical
	}
	id, _ := token.Header["kid"].(string)
	found, ok := r.keys.Load().find(id)
	if !ok {
		return nil, errKeyUnknown
	}
	return found.secret(), nil
}

// onlyExpired is true of a token that was a good one in its time.
func onlyExpired(err error) bool {
	for _, other := range []error{jwt.ErrTokenInvalidIssuer, jwt.ErrTokenInvalidAudience, jwt.ErrTokenNotValidYet, jwt.ErrTokenUsedBeforeIssued} {
		if errors.Is(err, other) {
			return false
		}
	}
	return errors.Is(err, jwt.ErrTokenExpired)
}
