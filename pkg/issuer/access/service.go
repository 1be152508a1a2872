package access

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Service manages and authenticates clients. It is safe for concurrent use.
type Service struct {
	store      Store
	recognized *recognized
	queue      *queue
	cost       int
	dummyHash  Hash
	compare    func(hash, secret []byte) error
}

// NewService returns a service on the given store.
func NewService(store Store) *Service {
	return &Service{
		store: store, recognized: newRecognized(maxRecognized), queue: newQueue(comparisons()),
		cost: cost, dummyHash: dummyHash, compare: bcrypt.CompareHashAndPassword,
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
// depend on whether the key exists, unless the client's former secret is still
// valid. If too many others are being authenticated,
// the code is errcode.Unavailable, except for a client that has succeeded lately.
// Authenticate returns early when ctx ends.
func (s *Service) Authenticate(ctx context.Context, key, secret string) (Client, error) {
	client, stored, err := s.find(ctx, key)
	if err != nil && !errors.Is(err, ErrUnknown) {
		return Client{}, err
	}
	valid := err == nil && validSecret(secret)
	if !valid {
		stored = []Hash{s.dummyHash}
	}
	matches, err := s.matches(ctx, key, stored, secret)
	if err != nil {
		return Client{}, err
	}
	if !valid || !matches {
		return Client{}, errcode.New(errcode.UnauthorizedApp)
	}
	return client, nil
}

func (s *Service) find(ctx context.Context, key string) (Client, []Hash, error) {
	if !validKey.MatchString(key) {
		return Client{}, nil, ErrUnknown
	}
	return s.store.Find(ctx, key)
}

// matches reports whether the secret has one of the stored hashes. A client that has
// just succeeded neither waits nor costs a comparison.
func (s *Service) matches(ctx context.Context, key string, stored []Hash, secret string) (bool, error) {
	if s.recognizes(key, stored, secret) {
		return true, nil
	}
	leave, err := s.queue.enter(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	if s.recognizes(key, stored, secret) { // another request of this client was first
		return true, nil
	}
	for _, hash := range stored {
		if s.compare([]byte(hash), []byte(secret)) == nil {
			s.recognized.add(s.recognized.mac(key, hash, secret))
			return true, nil
		}
	}
	return false, nil
}

func (s *Service) recognizes(key string, stored []Hash, secret string) bool {
	return slices.ContainsFunc(stored, func(hash Hash) bool { return s.recognized.has(s.recognized.mac(key, hash, secret)) })
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

// Rotate replaces the secret of a client. The former one is valid for overlap. It
// returns ErrUnknown, ErrBadKey, ErrBadSecret or an error of the store.
func (s *Service) Rotate(ctx context.Context, key, secret string, overlap time.Duration) error {
	if !validKey.MatchString(key) {
		return ErrBadKey
	}
	hashed, err := hash(secret, s.cost)
	if err != nil {
		return err
	}
	return s.store.Rotate(ctx, key, hashed, time.Now().Add(overlap))
}

// Remove deletes a client. Tokens that it already has stay valid until they
// expire. It returns ErrUnknown, ErrBadKey or an error of the store.
func (s *Service) Remove(ctx context.Context, key string) error {
	if !validKey.MatchString(key) { // MySQL ignores trailing spaces
		return ErrBadKey
	}
	return s.store.Remove(ctx, key)
}
