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

func TestWhoMayWrite(t *testing.T) {
	p := newPair(t, sqlite, nil)
	for server, path := range p.lists() {
		require.Equal(t, 200, askAs(t, server, "", "GET", path, nil).Status, "reads are open")
		require.Equal(t, 401, askAs(t, server, "", "POST", path, map[string]any{}).Status)
		require.Equal(t, 401, askAs(t, server, process.Token()+"x", "POST", path, map[string]any{}).Status)
		require.Equal(t, 400, askAs(t, server, process.Token(), "POST", path, map[string]any{}).Status, "let in, and told what is missing")
	}
	// Without a key set nobody is let in.
	settings := p.tagSettings.With(process.Settings{"Auth.KeysFile": ""})
	tag := process.Ready(t, p.tagProgram, settings)
	require.Equal(t, 200, askAs(t, tag, "", "GET", "/api/v1/tags", nil).Status)
	require.Equal(t, 401, askAs(t, tag, process.Token(), "POST", "/api/v1/tags", newTag("nobody's")).Status)
}

// lists are the addresses of the lists, by their services.
func (p *pair) lists() map[*process.Process]string {
	return map[*process.Process]string{p.tag: "/api/v1/tags", p.article: "/api/v1/articles"}
}

// askAs is ask with another token, or with none.
func askAs(t *testing.T, p *process.Process, token, method, path string, body any) process.Answer {
	t.Helper()
	answer, err := process.AskWith(process.Header(token), method, p.URL(t, path), body)
	require.NoError(t, err)
	return answer
}

// While clients ask, the key set gets a key that signs from a moment ahead, and
// then loses the one before: nobody is refused.
func TestTheKeySetRotates(t *testing.T) {
	t.Parallel()
	for name, newFile := range map[string]func(*testing.T) keySetFile{"renamed": newRenamed, "a mounted Secret": newMounted} {
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
	require.Equal(t, keyOf(t, first), keyOf(t, v.given(t)))
	const ahead = "10s" // many times what a change of the file takes to arrive

	file.put(t, command("rotate", file.path, "--in", ahead))
	second := v.awaitOtherKey(t, first)
	require.Equal(t, keyOf(t, second), keyOf(t, v.given(t)))
	v.awaitMore(t, 100)
	file.put(t, command("rotate", file.path, "--in", ahead, "--keep", "0s"))
	for server, path := range v.lists() {
		process.Await(t, "the first key to be gone", func() bool { return askAs(t, server, first, "GET", path, nil).Status == 401 })
		require.Equal(t, 200, askAs(t, server, second, "GET", path, nil).Status)
	}
	v.awaitMore(t, 100)
	v.awaitOtherKey(t, second)
	v.awaitMore(t, 100)

	answered := v.end()
	require.Empty(t, v.refused)
	t.Logf("%d answers while two keys came and one went", answered)
}

// key setFile is a key set on disk, which is replaced in one step.
type keySetFile struct {
	path string
	put  func(t *testing.T, keySet string)
}

// newRenamed is replaced as an editor does it.
func newRenamed(t *testing.T) keySetFile {
	path := filepath.Join(t.TempDir(), "keys.yaml")
	return keySetFile{path, func(t *testing.T, keySet string) {
		require.NoError(t, os.WriteFile(path+".new", []byte(keySet), 0o600))
		require.NoError(t, os.Rename(path+".new", path))
	}}
}

// newMounted is replaced as Kubernetes does it: keys.yaml leads through ..data
// to a folder, and ..data is made to lead to another.
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

// visitors read and write at both services all the time, each time with the
// newest token: one that was signed a moment ago, as by a further replica, whose
// key set is as new as can be.
type visitors struct {
	*pair
	secret  string
	current atomic.Pointer[string]
	inUse   sync.RWMutex // read by who is about to use current, or uses it

	answered atomic.Int64
	running  sync.WaitGroup
	over     chan struct{}
	mu       sync.Mutex
	refused  []string
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
		if token, err := process.Sign(keysFile, "visitor"); err == nil { // else it is being replaced
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
		wrote := 0
		v.begin(func() error {
			wrote++
			return v.visit(conn, path, body(fmt.Sprint("visitor ", n, " ", wrote)))
		})
	}
	return v
}

// begin does the work over and over until it is over, or fails.
func (v *visitors) begin(work func() error) {
	v.running.Go(func() {
		for {
			if err := work(); err != nil {
				v.mu.Lock()
				defer v.mu.Unlock()
				v.refused = append(v.refused, err.Error())
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

// given is a token that the article service gives. On a busy machine the look at
// a secret may take longer than an answer may.
func (v *visitors) given(t *testing.T) (token string) {
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

// awaitOtherKey returns the first token that another key has signed, when
// nobody uses the ones before any more.
func (v *visitors) awaitOtherKey(t *testing.T, token string) string {
	t.Helper()
	process.Await(t, "another key to sign", func() bool { return keyOf(t, v.token()) != keyOf(t, token) })
	v.inUse.Lock()
	defer v.inUse.Unlock()
	return v.token()
}

// awaitMore waits for more answers; it ends early when somebody was refused.
func (v *visitors) awaitMore(t *testing.T, answers int64) {
	t.Helper()
	until := v.answered.Load() + answers
	process.Await(t, "the visitors", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.answered.Load() >= until || len(v.refused) > 0
	})
}

func (v *visitors) end() (answered int64) {
	close(v.over)
	v.running.Wait()
	return v.answered.Load()
}

// keyOf is the id of the key that has signed a token.
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

// Two replicas let a client through as often as one does, as long as there is
// Redis; without it each counts for itself, and nobody notices more than that.
func TestReplicasShareTheLimits(t *testing.T) {
	const burst = 30
	redis := dbtest.NewRedis(t)
	program, settings := process.Service(t, "tag"), process.On(dbtest.MySQL(t)).With(process.Settings{
		"Redis.Host": redis.Addr(), "Limits.ReadBurst": fmt.Sprint(burst), "Limits.ReadPerSecond": "1",
	})
	replicas := []*process.Process{process.Ready(t, program, settings), process.Serve(t, program, settings)}
	replicas[1].AwaitReady(t)
	client := 0
	// allowed has a new client use up the whole budget of each replica, in turn.
	// It returns how many requests were let through, and how many more may have
	// been because of the time that went by.
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
	together := func() {
		// On a machine that is busy, Redis may seem away for a moment.
		process.Await(t, "the replicas to count together", func() bool {
			requests, more := allowed()
			require.GreaterOrEqual(t, requests, burst)
			return requests <= burst+more && alone(t, replicas[0]) == 0 && alone(t, replicas[1]) == 0
		})
	}
	together()
	redis.Stop(t)
	process.Await(t, "the replicas to count alone", func() bool {
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
	together()
}

// alone is 1 for a replica that counts by itself.
func alone(t *testing.T, p *process.Process) float64 {
	t.Helper()
	return metric(t, p, "achilles_rate_limit_local")
}

// limited sends a read and tells whether it was one too many.
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
