// Package auth authenticates requests: it signs and verifies tokens with a key
// set, and provides the middleware.
package auth

import (
	"context"
	"regexp"
	"slices"
)

// ScopeWrite allows a principal to create, change and delete objects.
const ScopeWrite = "write"

// Principal is the authenticated client of a request. The zero Principal is an
// anonymous client.
type Principal struct {
	AppKey string
	Scopes []string
}

// Authenticated reports whether the request had a valid token.
func (p Principal) Authenticated() bool { return p.AppKey != "" }

// HasScope reports whether the token has the scope.
func (p Principal) HasScope(scope string) bool { return slices.Contains(p.Scopes, scope) }

type contextKey struct{}

// NewContext returns a context with the principal.
func NewContext(ctx context.Context, principal Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, principal)
}

// FromContext returns the principal of the context, or the zero Principal.
func FromContext(ctx context.Context) Principal {
	principal, _ := ctx.Value(contextKey{}).(Principal)
	return principal
}

// validName matches app keys and key ids. They fit into the column created_by
// and need no escaping in logs, headers and paths.
var validName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
