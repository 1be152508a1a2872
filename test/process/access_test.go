package process_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

func TestAuthentication(t *testing.T) {
	p := newPair(t, sqlite, nil)
	for server, path := range p.lists() {
		require.Equal(t, 200, askAs(t, server, "", "GET", path, nil).Status, "reads need no token")
		require.Equal(t, 401, askAs(t, server, "", "POST", path, map[string]any{}).Status)
		require.Equal(t, 401, askAs(t, server, process.Token()+"x", "POST", path, map[string]any{}).Status)
		require.Equal(t, 400, askAs(t, server, process.Token(), "POST", path, map[string]any{}).Status, "authenticated, but invalid")
	}
	// Without a key set every token is rejected.
	settings := process.On(sqlite(t)).With(process.Settings{"Auth.KeysFile": ""})
	tag := process.Ready(t, p.tagProgram, settings)
	require.Equal(t, 200, askAs(t, tag, "", "GET", "/api/v1/tags", nil).Status)
	require.Equal(t, 401, askAs(t, tag, process.Token(), "POST", "/api/v1/tags", newTag("rejected")).Status)
}

// lists returns the path of the list of each service.
func (p *pair) lists() map[*process.Process]string {
	return map[*process.Process]string{p.tag: "/api/v1/tags", p.article: "/api/v1/articles"}
}

// askAs is like ask, with another token or none.
func askAs(t *testing.T, p *process.Process, token, method, path string, body any) process.Answer {
	t.Helper()
	answer, err := process.AskWith(process.Header(token), method, p.URL(t, path), body)
	require.NoError(t, err)
	return answer
}

// The key set is rotated twice while clients send requests. No request is rejected.
func TestKeySetRotation(t *testing.T) {
	t.Parallel()
	for name, newFile := range map[string]func(*testing.T) keySetFile{"renamed": newRenamed, "mounted Secret": newMounted} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rotateUnderLoad(t, newFile(t))
		})
	}
}

func rotateUnderLoad(t *testing.T, file keySetFile) {
	article := process.Service(t, "article")
	command := func(args ...string) string {
		p, exit := process.Run(t, article, nil, append([]string{"key"}, args...)...)
		require.Zero(t, exit, p.Stderr())
		return p.Stdout()
	}
	file.put(t, command("new"))
	v := newVisitors(t, newPair(t, sqlite, process.Settings{"Auth.KeysFile": file.path}), file.path)
	first := v.token()
	require.Equal(t, keyOf(t, first), keyOf(t, v.issued(t)))
	const ahead = "10s" // much longer than it takes to load a changed file

	file.put(t, command("rotate", file.path, "--in", ahead))
	second := v.awaitOtherKey(t, first)
	require.Equal(t, keyOf(t, second), keyOf(t, v.issued(t)))
	v.awaitMore(t, 100)
	file.put(t, command("rotate", file.path, "--in", ahead, "--keep", "0s"))
	for server, path := range v.lists() {
		process.Await(t, "the first key to be removed", func() bool { return askAs(t, server, first, "GET", path, nil).Status == 401 })
		require.Equal(t, 200, askAs(t, server, second, "GET", path, nil).Status)
	}
	v.awaitMore(t, 100)
	v.awaitOtherKey(t, second)
	v.awaitMore(t, 100)

	answered := v.end()
	require.Empty(t, v.rejected)
	t.Logf("%d responses while two keys were added and one was removed", answered)
}

// keySetFile is a key set file that is replaced atomically.
type keySetFile struct {
	path string
	put  func(t *testing.T, keySet string)
}

// newRenamed returns a file that is replaced by renaming, like editors do.
func newRenamed(t *testing.T) keySetFile {
	path := filepath.Join(t.TempDir(), "keys.yaml")
	return keySetFile{path, func(t *testing.T, keySet string) {
		require.NoError(t, os.WriteFile(path+".new", []byte(keySet), 0o600))
		require.NoError(t, os.Rename(path+".new", path))
	}}
}

// newMounted returns a file that is replaced like a mounted Secret in Kubernetes:
// keys.yaml links through ..data to a directory, and ..data is replaced.
func newMounted(t *testing.T) keySetFile {
	dir, version := t.TempDir(), 0
	require.NoError(t, os.Symlink("..data/keys.yaml", filepath.Join(dir, "keys.yaml")))
	return keySetFile{filepath.Join(dir, "keys.yaml"), func(t *testing.T, keySet string) {
		version++
		name := fmt.Sprintf("..%d", version)
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name, "keys.yaml"), []byte(keySet), 0o600))
		require.NoError(t, os.Symlink(name, filepath.Join(dir, "..new")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")))
		require.NoError(t, os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..%d", version-1))))
	}}
}

// visitors read and write at both services, always with a new token from a key set that
// is read again each time, like a replica that sees changes first.
type visitors struct {
	*pair
	secret  string
	current atomic.Pointer[string]
	inUse   sync.RWMutex // read-locked while current is used

	answered atomic.Int64
	running  sync.WaitGroup
	over     chan struct{}
	mu       sync.Mutex
	rejected []string
}

func newVisitors(t *testing.T, p *pair, keysFile string) *visitors {
	t.Helper()
	v := &visitors{pair: p, secret: "the secret of the visitors", over: make(chan struct{})}
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(v.secret), 0o600))
	added, exit := process.Run(t, p.articleProgram, p.articleSettings, "client", "add", "visitor", "--secret-file", file)
	require.Zero(t, exit, added.Stderr())
	token, err := process.Sign(keysFile, "visitor")
	require.NoError(t, err)
	v.current.Store(&token)
	v.begin(func() error {
		if token, err := process.Sign(keysFile, "visitor"); err == nil { // otherwise the file is being replaced
			v.current.Store(&token)
		}
		return nil
	})
	for n := range 8 {
		server, path, body := v.tag, "/api/v1/tags", newTag
		if n%2 == 1 {
			server, path, body = v.article, "/api/v1/articles", func(title string) map[string]any { return newArticle(title) }
		}
		conn, err := process.Dial(server.Addr(t))
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		written := 0
		v.begin(func() error {
			written++
			return v.visit(conn, path, body(fmt.Sprint("visitor ", n, " ", written)))
		})
	}
	return v
}

// begin repeats work until the end of the test or an error.
func (v *visitors) begin(work func() error) {
	v.running.Go(func() {
		for {
			if err := work(); err != nil {
				v.mu.Lock()
				defer v.mu.Unlock()
				v.rejected = append(v.rejected, err.Error())
				return
			}
			select {
			case <-v.over:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
}

// issued returns a token from POST /auth. On a busy machine the comparison of a secret
// may time out.
func (v *visitors) issued(t *testing.T) (token string) {
	t.Helper()
	url, credentials := v.article.URL(t, "/auth"), map[string]any{"app_key": "visitor", "app_secret": v.secret}
	process.Await(t, "a token", func() bool {
		answer, err := process.Ask("POST", url, credentials)
		if err != nil || answer.Status >= 500 {
			return false
		}
		require.Equal(t, 200, answer.Status, string(answer.Body))
		var envelope struct{ Data struct{ Token string } }
		require.NoError(t, answer.JSON(&envelope))
		token = envelope.Data.Token
		return true
	})
	return token
}

func (v *visitors) visit(conn *process.Conn, path string, body any) error {
	v.inUse.RLock()
	defer v.inUse.RUnlock()
	conn.Header = process.Header(v.token())
	for method, want := range map[string]int{"GET": 200, "POST": 201} {
		sent := body
		if method == "GET" {
			sent = nil
		}
		answer, err := conn.Ask(method, path, sent)
		if err != nil {
			return err
		}
		if answer.Status != want {
			return fmt.Errorf("%s %s: status %d: %s", method, path, answer.Status, answer.Body)
		}
		v.answered.Add(1)
	}
	return nil
}

func (v *visitors) token() string { return *v.current.Load() }

// awaitOtherKey waits for a token signed by another key, and until older tokens are no
// longer in use.
func (v *visitors) awaitOtherKey(t *testing.T, token string) string {
	t.Helper()
	process.Await(t, "another key to sign", func() bool { return keyOf(t, v.token()) != keyOf(t, token) })
	v.inUse.Lock()
	defer v.inUse.Unlock()
	return v.token()
}

// awaitMore waits for more responses, or for a rejected request.
func (v *visitors) awaitMore(t *testing.T, answers int64) {
	t.Helper()
	until := v.answered.Load() + answers
	process.Await(t, "the visitors", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.answered.Load() >= until || len(v.rejected) > 0
	})
}

func (v *visitors) end() (answered int64) {
	close(v.over)
	v.running.Wait()
	return v.answered.Load()
}

// keyOf returns the id of the key that signed a token.
func keyOf(t *testing.T, token string) string {
	t.Helper()
	first, _, _ := strings.Cut(token, ".")
	decoded, err := base64.RawURLEncoding.DecodeString(first)
	require.NoError(t, err)
	var header struct {
		ID string `json:"kid"`
	}
	require.NoError(t, json.Unmarshal(decoded, &header))
	return header.ID
}

// Two replicas share the limits of a client while Redis is available. Otherwise each
// replica counts separately.
func TestReplicasShareTheLimits(t *testing.T) {
	const burst = 30
	redis := dbtest.NewRedis(t)
	program, settings := process.Service(t, "tag"), process.On(dbtest.MySQL(t)).With(process.Settings{
		"Redis.Addresses": redis.Addr(), "Limits.ReadBurst": fmt.Sprint(burst), "Limits.ReadPerSecond": "1",
	})
	replicas := []*process.Process{process.Ready(t, program, settings), process.Serve(t, program, settings)}
	replicas[1].AwaitReady(t)
	client := 0
	// allowed exhausts the limit of a new client. It returns how many requests were
	// allowed, and how many more may have been allowed because of the elapsed time.
	allowed := func() (requests, more int) {
		client++
		token, err := process.Sign(process.KeysFile(), fmt.Sprint("client-", client))
		require.NoError(t, err)
		began := time.Now()
		for n := range 3 * burst {
			if !limited(t, replicas[n%2], token) {
				requests++
			}
		}
		return requests, int(math.Ceil(time.Since(began).Seconds()))
	}
	requireShared := func() {
		// On a busy machine Redis may seem unavailable for a moment.
		process.Await(t, "the replicas to share limits", func() bool {
			requests, more := allowed()
			require.GreaterOrEqual(t, requests, burst)
			return requests <= burst+more && alone(t, replicas[0]) == 0 && alone(t, replicas[1]) == 0
		})
	}
	requireShared()
	redis.Stop(t)
	process.Await(t, "the replicas to count separately", func() bool {
		allowed()
		return alone(t, replicas[0]) == 1 && alone(t, replicas[1]) == 1
	})
	requests, more := allowed()
	require.GreaterOrEqual(t, requests, 2*burst)
	require.LessOrEqual(t, requests, 2*(burst+more))
	for _, p := range replicas {
		require.InDelta(t, 1, alone(t, p), 0)
		require.Equal(t, 200, ask(t, p, "GET", "/readyz", nil).Status)
		require.Positive(t, metric(t, p, `achilles_rate_limit_total{class="read",outcome="limited"}`))
	}
	redis.Start(t)
	requireShared()
}

// alone returns 1 for a replica that counts separately.
func alone(t *testing.T, p *process.Process) float64 {
	t.Helper()
	return metric(t, p, "achilles_rate_limit_local")
}

// limited sends a read and reports whether it was rejected by the rate limit.
func limited(t *testing.T, p *process.Process, token string) bool {
	t.Helper()
	answer := askAs(t, p, token, "GET", "/api/v1/tags", nil)
	require.Regexp(t, `^"read";r=\d+;t=\d+$`, answer.Header.Get("RateLimit"))
	if answer.Status == 200 {
		return false
	}
	require.Equal(t, 429, answer.Status, string(answer.Body))
	require.Contains(t, string(answer.Body), "10000007")
	require.Regexp(t, `^[1-9]\d*$`, answer.Header.Get("Retry-After"))
	return true
}
