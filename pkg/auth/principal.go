// Package auth tells who is asking: tokens, the key set that signs and
// verifies them, and the middleware that admits or refuses.
package auth

import (
	"context"
	"regexp"
	"slices"
)

// ScopeWrite lets a principal create, change and delete.
const ScopeWrite = "write"

// Principal is who a request comes from, as its token says. The zero Principal is
// anybody.
type Principal struct {
	AppKey string
	Scopes []string
}

// Known tells whether the request had a valid token.
func (c Principal) Known() bool { return c.AppKey != "" }

// May tells whether the token has the scope.
func (c Principal) May(scope string) bool { return slices.Contains(c.Scopes, scope) }

type contextKey struct{}

// NewContext returns a context that carries the principal.
func NewContext(ctx context.Context, principal Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, principal)
}

// FromContext returns the principal that the context carries, else anybody.
func FromContext(ctx context.Context) Principal {
	principal, _ := ctx.Value(contextKey{}).(Principal)
	return principal
}

// names are those of apps and of keys: short enough for the column created_by,
// and without anything that a log, a header or a path would have to escape.
var names = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
