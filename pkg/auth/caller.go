// Package auth tells who is asking: tokens, the ring of keys that signs and
// verifies them, and the middleware that admits or refuses.
package auth

import (
	"context"
	"regexp"
	"slices"
)

// ScopeWrite lets a caller create, change and delete.
const ScopeWrite = "write"

// Caller is who a request comes from, as its token says. The zero Caller is
// anybody.
type Caller struct {
	AppKey string
	Scopes []string
}

// Known tells whether the request had a valid token.
func (c Caller) Known() bool { return c.AppKey != "" }

// May tells whether the token has the scope.
func (c Caller) May(scope string) bool { return slices.Contains(c.Scopes, scope) }

type contextKey struct{}

// NewContext returns a context that carries the caller.
func NewContext(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, contextKey{}, caller)
}

// FromContext returns the caller that the context carries, else anybody.
func FromContext(ctx context.Context) Caller {
	caller, _ := ctx.Value(contextKey{}).(Caller)
	return caller
}

// names are those of apps and of keys: short enough for the column created_by,
// and without anything that a log, a header or a path would have to escape.
var names = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
