// Package access is the domain of credentials: which apps there are, and how
// they prove to be themselves. It knows neither HTTP nor SQL, nor tokens.
package access

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// App is one client of the API that may get tokens.
type App struct {
	Key       string
	Scopes    []string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Hash is a bcrypt hash of a secret. Nothing prints it.
type Hash string

// Format implements fmt.Formatter.
func (Hash) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte("******")) }

// keys fit into the columns created_by and updated_by, and into logs and headers
// as they are.
var keys = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// What is wrong with an app that is to be made, changed or removed.
var (
	ErrExists    = errors.New("an app with this key exists already")
	ErrUnknown   = errors.New("there is no app with this key")
	ErrBadKey    = errors.New("an app key is 1 to 64 letters, digits, '.', '_' or '-'")
	ErrBadSecret = errors.New("an app secret has 16 to 72 bytes of UTF-8 without control characters")
)

// Store keeps apps. Besides ErrExists and ErrUnknown, every error it returns
// has the code Unavailable, or is that of the context.
type Store interface {
	// Add inserts an app; its times are the store's.
	Add(ctx context.Context, app App, secret Hash) error
	// Find returns the app and the hash of its secret.
	Find(ctx context.Context, key string) (App, Hash, error)
	// List returns all apps by their keys.
	List(ctx context.Context) ([]App, error)
	// Rotate replaces the secret.
	Rotate(ctx context.Context, key string, secret Hash) error
	// Remove forgets the app.
	Remove(ctx context.Context, key string) error
}
