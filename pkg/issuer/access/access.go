// Package access is the domain of API clients and their credentials. It knows
// neither HTTP nor SQL, nor tokens.
package access

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// Client is an API client that may get tokens.
type Client struct {
	Key       string
	Scopes    []string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Hash is a bcrypt hash of a secret. It prints as asterisks.
type Hash string

// Format implements fmt.Formatter.
func (Hash) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte("******")) }

// validKey matches app keys. They fit into the columns created_by and updated_by
// and need no escaping in logs and headers.
var validKey = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Errors of adding, changing and removing a client.
var (
	ErrExists    = errors.New("a client with this key already exists")
	ErrUnknown   = errors.New("there is no client with this key")
	ErrBadKey    = errors.New("an app key consists of 1 to 64 letters, digits, '.', '_' or '-'")
	ErrBadSecret = errors.New("an app secret consists of 16 to 72 bytes of UTF-8 without control characters")
)

// Store stores clients. Apart from ErrExists and ErrUnknown, its errors have the
// code errcode.Unavailable or are the context's.
type Store interface {
	// Add inserts a client and sets its times.
	Add(ctx context.Context, client Client, secret Hash) error
	// Find returns the client and the hash of its secret, followed by that of its
	// former one while that is valid.
	Find(ctx context.Context, key string) (Client, []Hash, error)
	// List returns all clients, ordered by key.
	List(ctx context.Context) ([]Client, error)
	// Rotate replaces the hash of the secret. The former one is valid until then,
	// which may be in the past; an older one is not.
	Rotate(ctx context.Context, key string, secret Hash, formerUntil time.Time) error
	// Remove deletes the client.
	Remove(ctx context.Context, key string) error
}
