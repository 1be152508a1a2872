package access

import (
	"context"
	"errors"
	"fmt"
	"runtime"
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
	former Hash // valid until then
	until  time.Time
	err    error

	mu       sync.Mutex
	searched []string
}

func (m *memory) Find(_ context.Context, key string) (Client, []Hash, error) {
	m.mu.Lock()
	m.searched = append(m.searched, key)
	m.mu.Unlock()
	if m.err != nil {
		return Client{}, nil, m.err
	}
	if key != m.client.Key {
		return Client{}, nil, ErrUnknown
	}
	if time.Now().Before(m.until) {
		return m.client, []Hash{m.secret, m.former}, nil
	}
	return m.client, []Hash{m.secret}, nil
}

func (m *memory) Add(_ context.Context, client Client, secret Hash) error {
	m.client, m.secret = client, secret
	return nil
}

func (m *memory) Rotate(_ context.Context, _ string, secret Hash, formerUntil time.Time) error {
	m.secret, m.former, m.until = secret, m.secret, formerUntil
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

	require.NoError(t, s.Rotate(t.Context(), demoKey, "another secret of it", 0))
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
	require.NoError(t, s.Rotate(t.Context(), demoKey, full, 0))
	_, err := s.Authenticate(t.Context(), demoKey, full)
	require.NoError(t, err)
	require.NoError(t, bcrypt.CompareHashAndPassword([]byte(s.store.(*memory).secret), []byte(full+"y")), "bcrypt alone takes both for equal")
	_, err = s.Authenticate(t.Context(), demoKey, full+"y")
	requireCode(t, err, errcode.UnauthorizedApp)
}

// slow replaces bcrypt by a comparison with demoSecret that takes 50 ms. It returns the
// maximum number of concurrent ones.
func slow(s *Service) (maximum func() int) {
	var mu sync.Mutex
	running, most := 0, 0
	s.compare = func(_, secret []byte) error {
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		time.Sleep(50 * time.Millisecond)
		mu.Lock()
		running--
		mu.Unlock()
		if string(secret) != demoSecret {
			return errors.New("another secret")
		}
		return nil
	}
	return func() int { mu.Lock(); defer mu.Unlock(); return most }
}

// Of the requests that don't fit, each gets its error at once or, if it is in the
// queue, after a second.
func TestQueueIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := demo(t)
		s.queue = newQueue(2)
		maximum := slow(s)
		began := time.Now()
		var mu sync.Mutex
		codes := map[errcode.Code]int{}
		var clients sync.WaitGroup
		for range 2 + maxWaiting + 100 {
			clients.Go(func() {
				_, err := s.Authenticate(t.Context(), "nobody", "a guess of a guesser")
				var coded *errcode.Error
				if !errors.As(err, &coded) {
					t.Errorf("%v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				codes[coded.Code]++
				if coded.Code == errcode.Unavailable && (coded.RetryAfter != time.Second || time.Since(began) != 0) {
					t.Errorf("rejected after %s, to retry after %s", time.Since(began), coded.RetryAfter)
				}
			})
		}
		clients.Wait()
		require.Equal(t, map[errcode.Code]int{errcode.UnauthorizedApp: 2 + maxWaiting, errcode.Unavailable: 100}, codes)
		require.Equal(t, 2, maximum())
		require.Equal(t, (2+maxWaiting)/2*50*time.Millisecond, time.Since(began))
	})
}

func TestWaitIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := demo(t)
		s.queue = newQueue(1)
		leave, err := s.queue.enter(t.Context())
		require.NoError(t, err)
		began := time.Now()
		_, err = s.Authenticate(t.Context(), demoKey, demoSecret)
		requireCode(t, err, errcode.Unavailable)
		require.Equal(t, maxWait, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = s.Authenticate(ctx, demoKey, demoSecret)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, maxWait+100*time.Millisecond, time.Since(began))
		leave()
		_, err = s.Authenticate(t.Context(), demoKey, demoSecret)
		require.NoError(t, err, "those who gave up have left the queue")
	})
}

// guess lets 60 addresses guess for a minute, each as often as the default limits
// allow: five times at once, and then every six seconds.
func guess(t *testing.T, s *Service) (done *sync.WaitGroup) {
	done = &sync.WaitGroup{}
	one := func(i int) {
		if _, err := s.Authenticate(t.Context(), []string{demoKey, "nobody"}[i%2], "a guess of a guesser"); err == nil {
			t.Error("a guess is accepted")
		}
	}
	for i := range 60 {
		for range 4 {
			done.Go(func() { one(i) })
		}
		done.Go(func() {
			for range 10 {
				one(i)
				time.Sleep(6 * time.Second)
			}
		})
	}
	return done
}

// A client that has succeeded before does not notice guesses. Another one succeeds
// after a few retries.
func TestGuessesDelayNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := demo(t)
		s.queue = newQueue(1)
		slow(s)
		done := guess(t, s)
		synctest.Wait()
		_, err := s.Authenticate(t.Context(), demoKey, demoSecret)
		requireCode(t, err, errcode.Unavailable)
		began := time.Now()
		for err != nil {
			require.Less(t, time.Since(began), 5*time.Second)
			time.Sleep(time.Second) // as Retry-After says
			_, err = s.Authenticate(t.Context(), demoKey, demoSecret)
		}
		for range 50 {
			time.Sleep(999 * time.Millisecond)
			began := time.Now()
			client, err := s.Authenticate(t.Context(), demoKey, demoSecret)
			require.NoError(t, err)
			require.Equal(t, []string{"write"}, client.Scopes)
			require.Zero(t, time.Since(began))
		}
		done.Wait()
	})
}

// Requests of one client wait for one comparison.
func TestClientIsComparedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := demo(t)
		s.queue = newQueue(1)
		slow(s)
		began := time.Now()
		var requests sync.WaitGroup
		for range 1 + maxWaiting {
			requests.Go(func() {
				if _, err := s.Authenticate(t.Context(), demoKey, demoSecret); err != nil {
					t.Error(err)
				}
			})
		}
		requests.Wait()
		require.Equal(t, 50*time.Millisecond, time.Since(began))
	})
}

func TestRecognition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, stored := demo(t)
		compared := recordComparisons(s)
		authenticate := func(key, secret string) (comparisons int, err error) {
			before := len(*compared)
			_, err = s.Authenticate(t.Context(), key, secret)
			return len(*compared) - before, err
		}
		requireComparisons := func(want int, about string) {
			t.Helper()
			got, err := authenticate(demoKey, demoSecret)
			require.NoError(t, err)
			require.Equal(t, want, got, about)
		}
		requireComparisons(1, "the first time")
		requireComparisons(0, "recognized")
		for _, wrong := range [][2]string{{demoKey, demoSecret + "x"}, {"demo2", demoSecret}, {demoKey, ""}, {demoKey + "\x00", demoSecret}} {
			for range 2 {
				got, err := authenticate(wrong[0], wrong[1])
				requireCode(t, err, errcode.UnauthorizedApp)
				require.Equal(t, 1, got, "%q: each guess costs the same", wrong)
			}
		}
		requireComparisons(0, "wrong guesses don't displace it")

		const next = "another secret of it"
		former := stored.secret
		require.NoError(t, s.Rotate(t.Context(), demoKey, next, 0))
		_, err := authenticate(demoKey, demoSecret)
		requireCode(t, err, errcode.UnauthorizedApp)
		got, err := authenticate(demoKey, next)
		require.NoError(t, err)
		require.Equal(t, 1, got, "a new secret")

		require.NoError(t, s.Remove(t.Context(), demoKey))
		got, err = authenticate(demoKey, next)
		requireCode(t, err, errcode.UnauthorizedApp)
		require.Equal(t, 1, got, "removed")

		stored.client, stored.secret = Client{Key: demoKey}, former
		requireComparisons(0, "the hash and the secret are those of before")
		time.Sleep(recognizedFor - 1)
		requireComparisons(0, "until the time has passed")
		time.Sleep(time.Nanosecond)
		requireComparisons(1, "the time has passed")
	})
}

// The number of recognized clients is bounded, and none of them is kept in clear.
func TestRecognizedClientsAreBounded(t *testing.T) {
	r := newRecognized(10)
	for i := range 100 {
		key := fmt.Sprint("client", i)
		sum := r.mac(key, dummyHash, demoSecret)
		r.add(sum)
		require.True(t, r.has(sum))
		require.LessOrEqual(t, len(r.until), 10)
	}
	require.NotContains(t, fmt.Sprintf("%+v", r), demoSecret)
	require.NotEqual(t, r.mac(demoKey, dummyHash, demoSecret), newRecognized(10).mac(demoKey, dummyHash, demoSecret), "the key is random")
	require.NotEqual(t, r.mac("a", "b", "c"), r.mac("ab", "", "c"))
}

// Guesses leave CPUs to other requests.
func TestComparisons(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for cpus, want := range map[int]int{1: 1, 2: 1, 4: 2, 64: maxComparisons} {
		runtime.GOMAXPROCS(cpus)
		require.Equal(t, want, comparisons(), "%d CPUs", cpus)
	}
}

// The former secret is valid for the overlap, recognized or not.
func TestOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := demo(t)
		require.NoError(t, s.Rotate(t.Context(), demoKey, "another secret of it", time.Hour))
		compared := recordComparisons(s)
		for range 2 {
			for _, secret := range []string{demoSecret, "another secret of it"} {
				_, err := s.Authenticate(t.Context(), demoKey, secret)
				require.NoError(t, err)
			}
			require.Len(t, *compared, 3, "afterwards both are recognized") // the current hash is compared first
		}
		_, err := s.Authenticate(t.Context(), demoKey, "a guess of a guesser")
		requireCode(t, err, errcode.UnauthorizedApp)
		time.Sleep(time.Hour)
		_, err = s.Authenticate(t.Context(), demoKey, demoSecret)
		requireCode(t, err, errcode.UnauthorizedApp)
		_, err = s.Authenticate(t.Context(), demoKey, "another secret of it")
		require.NoError(t, err)
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
		require.NoError(t, s.Rotate(t.Context(), demoKey, good, 0), "%q", good)
	}
	for _, bad := range []string{"", strings.Repeat("a", 15), strings.Repeat("a", 73), "sixteen of\x00them...", "sixteen of\nthem...", "sixteen of them\xff"} {
		require.ErrorIs(t, s.Add(t.Context(), demoKey, nil, bad), ErrBadSecret, "%q", bad)
		require.ErrorIs(t, s.Rotate(t.Context(), demoKey, bad, 0), ErrBadSecret, "%q", bad)
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
		require.ErrorIs(t, s.Rotate(t.Context(), key, demoSecret, 0), want, "%q", key)
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
