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

// memory is a store of one app; the real one has tests of its own.
type memory struct {
	app    App
	secret Hash
	err    error

	mu    sync.Mutex
	asked []string
}

func (m *memory) Find(_ context.Context, key string) (App, Hash, error) {
	m.mu.Lock()
	m.asked = append(m.asked, key)
	m.mu.Unlock()
	if m.err != nil {
		return App{}, "", m.err
	}
	if key != m.app.Key {
		return App{}, "", ErrUnknown
	}
	return m.app, m.secret, nil
}

func (m *memory) Add(_ context.Context, app App, secret Hash) error {
	m.app, m.secret = app, secret
	return nil
}

func (m *memory) Rotate(_ context.Context, _ string, secret Hash) error {
	m.secret = secret
	return nil
}

func (m *memory) List(context.Context) ([]App, error)  { return []App{m.app}, nil }
func (m *memory) Remove(context.Context, string) error { m.app = App{}; return nil }

// counting notes with which hash each comparison is made.
func counting(s *Service) *[]string {
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
	app, err := s.Authenticate(t.Context(), demoKey, demoSecret)
	require.NoError(t, err)
	require.Equal(t, App{Key: demoKey, Scopes: []string{"write"}}, app)

	require.NoError(t, s.Rotate(t.Context(), demoKey, "another secret of it"))
	_, err = s.Authenticate(t.Context(), demoKey, demoSecret)
	requireCode(t, err, errcode.UnauthorizedApp)
	_, err = s.Authenticate(t.Context(), demoKey, "another secret of it")
	require.NoError(t, err)

	stored.err = errcode.New(errcode.Unavailable)
	_, err = s.Authenticate(t.Context(), demoKey, demoSecret)
	requireCode(t, err, errcode.Unavailable)
}

// Whatever is wrong, the error is the same and so is the work: one comparison
// with a hash of the same cost.
func TestRefusalsAreAlike(t *testing.T) {
	s, stored := demo(t)
	long := strings.Repeat("x", 72)
	for name, c := range map[string]struct{ key, secret string }{
		"wrong secret":     {demoKey, "another secret, then"},
		"unknown key":      {"nobody", demoSecret},
		"no key":           {"", demoSecret},
		"impossible key":   {"demo ", demoSecret},
		"long key":         {strings.Repeat("d", 1<<20), demoSecret},
		"no secret":        {demoKey, ""},
		"short secret":     {demoKey, "short"},
		"long secret":      {demoKey, strings.Repeat("x", 1<<20)},
		"a NUL behind":     {demoKey, demoSecret + "\x00"},
		"twice, by a NUL":  {demoKey, demoSecret + "\x00" + demoSecret},
		"a line end":       {demoKey, demoSecret + "\n"},
		"no UTF-8":         {demoKey, demoSecret + "\xff"},
		"in another case":  {"Demo", demoSecret},
		"a hash as secret": {demoKey, string(stored.secret)},
		"72 bytes":         {demoKey, long},
	} {
		t.Run(name, func(t *testing.T) {
			compared := counting(s)
			_, err := s.Authenticate(t.Context(), c.key, c.secret)
			require.Equal(t, errcode.New(errcode.UnauthorizedApp), err)
			want := string(s.unmatched)
			if c.key == demoKey && possible(c.secret) {
				want = string(stored.secret)
			}
			require.Equal(t, []string{want}, *compared)
		})
	}
	require.NotContains(t, stored.asked, "demo ", "a database may take it for demo")
	require.False(t, slices.ContainsFunc(stored.asked, func(key string) bool { return len(key) > 64 }))
}

// bcrypt does not look beyond 72 bytes; two secrets that agree so far must not
// be the same.
func TestSecretsOfFullLength(t *testing.T) {
	s, _ := demo(t)
	full := strings.Repeat("x", 72)
	require.NoError(t, s.Rotate(t.Context(), demoKey, full))
	_, err := s.Authenticate(t.Context(), demoKey, full)
	require.NoError(t, err)
	require.NoError(t, bcrypt.CompareHashAndPassword([]byte(s.store.(*memory).secret), []byte(full+"y")), "or this test shows nothing")
	_, err = s.Authenticate(t.Context(), demoKey, full+"y")
	requireCode(t, err, errcode.UnauthorizedApp)
}

// At most four secrets are compared at a time, and who waits gives up with its
// request.
func TestComparisonsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewService(&memory{})
		var mu sync.Mutex
		now, most := 0, 0
		s.compare = func([]byte, []byte) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
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
		require.Equal(t, 4, most)
		require.Equal(t, 3*time.Second, time.Since(began), "4, 4 and 2")
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
	require.NoError(t, bcrypt.CompareHashAndPassword([]byte(stored.secret), []byte("鑰匙鑰匙鑰匙")), "what was refused left the one before")
}

// Every hash costs the same, or the time would tell who is there.
func TestCost(t *testing.T) {
	stored := &memory{}
	s := NewService(stored)
	require.NoError(t, s.Add(t.Context(), demoKey, nil, demoSecret))
	for _, hash := range []Hash{stored.secret, s.unmatched} {
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
