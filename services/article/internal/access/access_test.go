package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// memory is an in-memory store of one client.
type memory struct {
	client Client
	secret Hash
	err    error

	mu       sync.Mutex
	searched []string
}

func (m *memory) Find(_ context.Context, key string) (Client, Hash, error) {
	m.mu.Lock()
	m.searched = append(m.searched, key)
	m.mu.Unlock()
	if m.err != nil {
		return Client{}, "", m.err
	}
	if key != m.client.Key {
		return Client{}, "", ErrUnknown
	}
	return m.client, m.secret, nil
}

func (m *memory) Add(_ context.Context, client Client, secret Hash) error {
	m.client, m.secret = client, secret
	return nil
}

func (m *memory) Rotate(_ context.Context, _ string, secret Hash) error {
	m.secret = secret
	return nil
}

func (m *memory) List(context.Context) ([]Client, error) { return []Client{m.client}, nil }
func (m *memory) Remove(context.Context, string) error   { m.client = Client{}; return nil }

// recordComparisons records the hash of each comparison.
func recordComparisons(s *Service) *[]string {
	compared := &[]string{}
	s.compare = func(hash, secret []byte) error {
		*compared = append(*compared, string(hash))
		return bcrypt.CompareHashAndPassword(hash, secret)
	}
	return compared
}

const (
	demoKey    = "demo"
	demoSecret = "a secret of the demo"
)

func demo(t testing.TB) (*Service, *memory) {
	t.Helper()
	stored := &memory{}
	s, err := NewService(stored).WithCost(bcrypt.MinCost)
	require.NoError(t, err)
	require.NoError(t, s.Add(t.Context(), demoKey, []string{"write"}, demoSecret))
	return s, stored
}

func requireCode(t *testing.T, err error, code errcode.Code) {
	t.Helper()
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, code, coded.Code)
}

func TestAuthenticate(t *testing.T) {
	s, stored := demo(t)
	client, err := s.Authenticate(t.Context(), demoKey, demoSecret)
	require.NoError(t, err)
	require.Equal(t, Client{Key: demoKey, Scopes: []string{"write"}}, client)

	require.NoError(t, s.Rotate(t.Context(), demoKey, "another secret of it"))
	_, err = s.Authenticate(t.Context(), demoKey, demoSecret)
	requireCode(t, err, errcode.UnauthorizedApp)
	_, err = s.Authenticate(t.Context(), demoKey, "another secret of it")
	require.NoError(t, err)

	stored.err = errcode.New(errcode.Unavailable)
	_, err = s.Authenticate(t.Context(), demoKey, demoSecret)
	requireCode(t, err, errcode.Unavailable)
}

// Every failure has the same error and takes the same work: one comparison with a
// hash of the same cost.
func TestFailuresAreIndistinguishable(t *testing.T) {
	s, stored := demo(t)
	long := strings.Repeat("x", 72)
	for name, c := range map[string]struct{ key, secret string }{
		"wrong secret":         {demoKey, "another secret, then"},
		"unknown key":          {"nobody", demoSecret},
		"no key":               {"", demoSecret},
		"invalid key":          {"demo ", demoSecret},
		"long key":             {strings.Repeat("d", 1<<20), demoSecret},
		"no secret":            {demoKey, ""},
		"short secret":         {demoKey, "short"},
		"long secret":          {demoKey, strings.Repeat("x", 1<<20)},
		"trailing NUL":         {demoKey, demoSecret + "\x00"},
		"repeated after a NUL": {demoKey, demoSecret + "\x00" + demoSecret},
		"trailing newline":     {demoKey, demoSecret + "\n"},
		"invalid UTF-8":        {demoKey, demoSecret + "\xff"},
		"wrong case":           {"Demo", demoSecret},
		"hash as secret":       {demoKey, string(stored.secret)},
		"72 bytes":             {demoKey, long},
	} {
		t.Run(name, func(t *testing.T) {
			compared := recordComparisons(s)
			_, err := s.Authenticate(t.Context(), c.key, c.secret)
			require.Equal(t, errcode.New(errcode.UnauthorizedApp), err)
			want := string(s.dummyHash)
			if c.key == demoKey && validSecret(c.secret) {
				want = string(stored.secret)
			}
			require.Equal(t, []string{want}, *compared)
		})
	}
	require.NotContains(t, stored.searched, "demo ", "a database may ignore the trailing space")
	require.False(t, slices.ContainsFunc(stored.searched, func(key string) bool { return len(key) > 64 }))
}

// bcrypt ignores what follows 72 bytes. Secrets that differ only there must not
// be equal.
func TestSecretsOfMaximumLength(t *testing.T) {
	s, _ := demo(t)
	full := strings.Repeat("x", 72)
	require.NoError(t, s.Rotate(t.Context(), demoKey, full))
	_, err := s.Authenticate(t.Context(), demoKey, full)
	require.NoError(t, err)
	require.NoError(t, bcrypt.CompareHashAndPassword([]byte(s.store.(*memory).secret), []byte(full+"y")), "bcrypt alone takes both for equal")
	_, err = s.Authenticate(t.Context(), demoKey, full+"y")
	requireCode(t, err, errcode.UnauthorizedApp)
}

// At most four secrets are compared at a time. A request that waits for its turn
// gives up when its context ends.
func TestComparisonsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewService(&memory{})
		var mu sync.Mutex
		running, maximum := 0, 0
		s.compare = func([]byte, []byte) error {
			mu.Lock()
			running++
			maximum = max(maximum, running)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			mu.Unlock()
			return errors.New("no")
		}
		began := time.Now()
		var clients sync.WaitGroup
		for range 10 {
			clients.Go(func() { _, _ = s.Authenticate(t.Context(), "nobody", demoSecret) })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := s.Authenticate(ctx, "nobody", demoSecret)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 100*time.Millisecond, time.Since(began))
		clients.Wait()
		require.Equal(t, 4, maximum)
		require.Equal(t, 3*time.Second, time.Since(began), "batches of 4, 4 and 2")
	})
}

func TestSecrets(t *testing.T) {
	one, other := NewSecret(), NewSecret()
	require.NotEqual(t, one, other)
	require.Len(t, one, 43)
	require.Regexp(t, `^[A-Za-z0-9_-]+$`, one)
	s, stored := demo(t)
	for _, good := range []string{one, strings.Repeat("a", 16), strings.Repeat("a", 72), "鑰匙鑰匙鑰匙"} {
		require.NoError(t, s.Add(t.Context(), demoKey, nil, good), "%q", good)
		require.NoError(t, s.Rotate(t.Context(), demoKey, good), "%q", good)
	}
	for _, bad := range []string{"", strings.Repeat("a", 15), strings.Repeat("a", 73), "sixteen of\x00them...", "sixteen of\nthem...", "sixteen of them\xff"} {
		require.ErrorIs(t, s.Add(t.Context(), demoKey, nil, bad), ErrBadSecret, "%q", bad)
		require.ErrorIs(t, s.Rotate(t.Context(), demoKey, bad), ErrBadSecret, "%q", bad)
	}
	require.NoError(t, bcrypt.CompareHashAndPassword([]byte(stored.secret), []byte("鑰匙鑰匙鑰匙")), "a rejected secret leaves the previous one")
}

// All hashes have the same cost, so that the time does not reveal which keys exist.
func TestCost(t *testing.T) {
	stored := &memory{}
	s := NewService(stored)
	require.NoError(t, s.Add(t.Context(), demoKey, nil, demoSecret))
	for _, hash := range []Hash{stored.secret, s.dummyHash} {
		used, err := bcrypt.Cost([]byte(hash))
		require.NoError(t, err)
		require.Equal(t, 10, used)
	}
}

func TestKeys(t *testing.T) {
	s, _ := demo(t)
	for key, want := range map[string]error{
		"a": nil, "Z.9_-": nil, strings.Repeat("k", 64): nil,
		"": ErrBadKey, strings.Repeat("k", 65): ErrBadKey, "a b": ErrBadKey, "a ": ErrBadKey, "a\n": ErrBadKey, "é": ErrBadKey, "a/b": ErrBadKey, "a\x00": ErrBadKey,
	} {
		require.ErrorIs(t, s.Add(t.Context(), key, nil, demoSecret), want, "%q", key)
		require.ErrorIs(t, s.Rotate(t.Context(), key, demoSecret), want, "%q", key)
		require.ErrorIs(t, s.Remove(t.Context(), key), want, "%q", key)
	}
}

func TestHashesAreNotPrinted(t *testing.T) {
	_, stored := demo(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		require.Equal(t, "******", fmt.Sprintf(verb, stored.secret), verb)
	}
	require.NotContains(t, fmt.Sprintf("%+v", struct{ Secret Hash }{stored.secret}), "$2a$")
}
