package access

import (
	"context"
	"errors"

	"golang.org/x/crypto/bcrypt"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// atOnce is how many secrets are compared at a time: each keeps a processor
// busy for some 50 ms, and guesses must not keep requests from being served.
const atOnce = 4

// Service is what can be done with apps. It is safe for concurrent use.
type Service struct {
	store     Store
	slots     chan struct{}
	cost      int
	unmatched Hash
	compare   func(hash, secret []byte) error
}

// NewService returns a service on the given store.
func NewService(store Store) *Service {
	return &Service{
		store: store, slots: make(chan struct{}, atOnce), cost: cost, unmatched: unmatched, compare: bcrypt.CompareHashAndPassword,
	}
}

// WithCost is the same service with another cost of hashes, for tests: under
// the race detector the usual one takes seconds.
func (s *Service) WithCost(cost int) (*Service, error) {
	unmatched, err := hash(NewSecret(), cost)
	other := *s
	other.cost, other.unmatched = cost, unmatched
	return &other, err
}

// Authenticate returns the app if the secret is its own. Else the error is
// errcode.UnauthorizedApp, after the same work whether there is such an app or
// not. Waiting for one's turn ends with ctx.
func (s *Service) Authenticate(ctx context.Context, key, secret string) (App, error) {
	app, stored, err := s.find(ctx, key)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return App{}, err
	}
	known := err == nil && possible(secret)
	if !known {
		stored = s.unmatched
	}
	matches, err := s.matches(ctx, stored, secret)
	if err != nil {
		return App{}, err
	}
	if !known || !matches {
		return App{}, errcode.New(errcode.UnauthorizedApp)
	}
	return app, nil
}

func (s *Service) find(ctx context.Context, key string) (App, Hash, error) {
	if !keys.MatchString(key) {
		return App{}, "", ErrUnknown
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

// Add makes an app. The error is ErrExists, ErrBadKey, ErrBadSecret or the
// store's.
func (s *Service) Add(ctx context.Context, key string, scopes []string, secret string) error {
	if !keys.MatchString(key) {
		return ErrBadKey
	}
	hashed, err := hash(secret, s.cost)
	if err != nil {
		return err
	}
	return s.store.Add(ctx, App{Key: key, Scopes: scopes}, hashed)
}

// List returns all apps by their keys.
func (s *Service) List(ctx context.Context) ([]App, error) { return s.store.List(ctx) }

// Rotate gives the app another secret; the one before is refused from then on.
// The error is ErrUnknown, ErrBadKey, ErrBadSecret or the store's.
func (s *Service) Rotate(ctx context.Context, key, secret string) error {
	if !keys.MatchString(key) {
		return ErrBadKey
	}
	hashed, err := hash(secret, s.cost)
	if err != nil {
		return err
	}
	return s.store.Rotate(ctx, key, hashed)
}

// Remove forgets the app: it gets no more tokens, and those that it has are
// valid to their end. The error is ErrUnknown, ErrBadKey or the store's.
func (s *Service) Remove(ctx context.Context, key string) error {
	if !keys.MatchString(key) { // MySQL would take blanks behind a key for none
		return ErrBadKey
	}
	return s.store.Remove(ctx, key)
}
