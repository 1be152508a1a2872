package access

import (
	"context"
	"errors"

	"golang.org/x/crypto/bcrypt"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// maxComparisons is the maximum number of concurrent bcrypt comparisons. Each
// takes about 50 ms of CPU; guessing secrets must not starve other requests.
const maxComparisons = 4

// Service manages and authenticates clients. It is safe for concurrent use.
type Service struct {
	store     Store
	slots     chan struct{}
	cost      int
	dummyHash Hash
	compare   func(hash, secret []byte) error
}

// NewService returns a service on the given store.
func NewService(store Store) *Service {
	return &Service{
		store: store, slots: make(chan struct{}, maxComparisons), cost: cost, dummyHash: dummyHash, compare: bcrypt.CompareHashAndPassword,
	}
}

// WithCost returns a copy of the service with another bcrypt cost. It is for
// tests: with the race detector a hash of the usual cost takes seconds.
func (s *Service) WithCost(cost int) (*Service, error) {
	dummyHash, err := hash(NewSecret(), cost)
	other := *s
	other.cost, other.dummyHash = cost, dummyHash
	return &other, err
}

// Authenticate returns the client with this key and secret. If there is none,
// the error has the code errcode.UnauthorizedApp, and the time taken doesn't
// depend on whether the key exists. It returns early when ctx ends.
func (s *Service) Authenticate(ctx context.Context, key, secret string) (Client, error) {
	client, stored, err := s.find(ctx, key)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return Client{}, err
	}
	valid := err == nil && validSecret(secret)
	if !valid {
		stored = s.dummyHash
	}
	matches, err := s.matches(ctx, stored, secret)
	if err != nil {
		return Client{}, err
	}
	if !valid || !matches {
		return Client{}, errcode.New(errcode.UnauthorizedApp)
	}
	return client, nil
}

func (s *Service) find(ctx context.Context, key string) (Client, Hash, error) {
	if !validKey.MatchString(key) {
		return Client{}, "", ErrUnknown
	}
	return s.store.Find(ctx, key)
}

func (s *Service) matches(ctx context.Context, stored Hash, secret string) (bool, error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return s.compare([]byte(stored), []byte(secret)) == nil, nil
}

// Add adds a client. It returns ErrExists, ErrBadKey, ErrBadSecret or an error
// of the store.
func (s *Service) Add(ctx context.Context, key string, scopes []string, secret string) error {
	if !validKey.MatchString(key) {
		return ErrBadKey
	}
	hashed, err := hash(secret, s.cost)
	if err != nil {
		return err
	}
	return s.store.Add(ctx, Client{Key: key, Scopes: scopes}, hashed)
}

// List returns all clients, ordered by key.
func (s *Service) List(ctx context.Context) ([]Client, error) { return s.store.List(ctx) }

// Rotate replaces the secret of a client. It returns ErrUnknown, ErrBadKey,
// ErrBadSecret or an error of the store.
func (s *Service) Rotate(ctx context.Context, key, secret string) error {
	if !validKey.MatchString(key) {
		return ErrBadKey
	}
	hashed, err := hash(secret, s.cost)
	if err != nil {
		return err
	}
	return s.store.Rotate(ctx, key, hashed)
}

// Remove deletes a client. Tokens that it already has stay valid until they
// expire. It returns ErrUnknown, ErrBadKey or an error of the store.
func (s *Service) Remove(ctx context.Context, key string) error {
	if !validKey.MatchString(key) { // MySQL ignores trailing spaces
		return ErrBadKey
	}
	return s.store.Remove(ctx, key)
}
