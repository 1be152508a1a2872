package bootstrap_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/tag/internal/bootstrap"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	patience = time.Minute
	token    = "the services' token, of 32 characters or more"
)

// output is a log that may be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// address returns the address in the log line "up", or "" if there is none yet.
func (o *output) address() string {
	for line := range strings.Lines(o.String()) {
		var entry struct{ Msg, Address string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "up" {
			return entry.Address
		}
	}
	return ""
}

// replica is a running service in this process.
type replica struct {
	url     string
	auth    http.Header // has a token with the scope write
	log     *output
	signals chan os.Signal
	ended   chan error
	stopped bool
}

func settingsFor(t *testing.T, db database.Config) bootstrap.Config {
	t.Helper()
	config := bootstrap.Command().Defaults()
	config.Database = db
	config.Server.Host, config.Server.AdminHost = "127.0.0.1", "127.0.0.1"
	config.Server.HTTPPort, config.Server.AdminPort = 0, 0
	config.Server.DrainDelay = 500 * time.Millisecond
	config.Feed.Token = token
	config.Auth = apitest.Auth(t)
	return config
}

// start migrates the database, starts the service and waits until it is ready. The
// service is stopped at the end of the test.
func start(t *testing.T, config bootstrap.Config) *replica {
	t.Helper()
	service := bootstrap.Command()
	r := &replica{auth: apitest.Token(t, apitest.Open(t, config.Auth), "test", auth.ScopeWrite), log: &output{}, signals: make(chan os.Signal, 2), ended: make(chan error, 1)}
	run := command.Run[bootstrap.Config]{Config: config, Stdout: r.log, Stderr: r.log, Signals: r.signals}
	require.NoError(t, service.Migrate(t.Context(), run))
	ctx := context.WithoutCancel(t.Context()) // the test's context ends before the cleanup
	go func() { r.ended <- service.Serve(ctx, run) }()
	t.Cleanup(func() {
		if !r.stopped {
			r.stop(t)
		}
	})
	require.Eventually(t, func() bool { return r.log.address() != "" }, patience, 5*time.Millisecond)
	r.url = "http://" + r.log.address()
	require.Eventually(t, func() bool {
		status, _ := r.do(t, http.MethodGet, "/readyz", "")
		return status == http.StatusOK
	}, patience, 5*time.Millisecond)
	return r
}

// stop sends SIGTERM and requires a graceful stop.
func (r *replica) stop(t *testing.T) {
	t.Helper()
	r.stopped = true
	r.signals <- syscall.SIGTERM
	select {
	case err := <-r.ended:
		require.NoError(t, err, "%s", r.log)
	case <-time.After(patience):
		t.Fatalf("the service does not stop:\n%s", r.log)
	}
}

func (r *replica) do(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	return r.doWithin(t.Context(), t, method, path, body)
}

func (r *replica) doWithin(ctx context.Context, t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, r.url+path, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	if strings.HasPrefix(path, "/internal") {
		request.Header.Set("Authorization", "Bearer "+token)
	} else {
		request.Header.Set("Authorization", r.auth.Get("Authorization"))
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

func TestServe(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		r := start(t, settingsFor(t, cfg))
		status, body := r.do(t, http.MethodPost, "/api/v1/tags", `{"name":"Go"}`)
		require.Equal(t, http.StatusCreated, status, body)
		for _, path := range []string{"/api/v1/tags", "/internal/v1/tag-changes", "/internal/v1/tag-snapshot", "/healthz", "/version", "/swagger/tag/"} {
			status, body = r.do(t, http.MethodGet, path, "")
			require.Equal(t, http.StatusOK, status, body)
		}
		for _, path := range []string{"/metrics", "/debug/pprof/"} {
			status, body = r.do(t, http.MethodGet, path, "")
			require.Equal(t, http.StatusNotFound, status, "not on the public port: %s", body)
		}
	})
}

// TestMain reports goroutines that a failed start leaks.
func TestFailedStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	config, log := settingsFor(t, dbtest.SQLite(t)), &output{}
	config.Server.HTTPPort = taken.Addr().(*net.TCPAddr).Port
	config.Redis.Addresses = []string{taken.Addr().String()}
	err = bootstrap.Command().Serve(t.Context(), command.Run[bootstrap.Config]{Config: config, Stdout: log, Stderr: log})
	require.ErrorContains(t, err, "in use by another program")
	require.Contains(t, log.String(), `"msg":"stopped"`)
}

// A long poll at one replica returns at once after a write at another, and not only
// after PollInterval.
func TestWriteIsAnnouncedToOtherReplicas(t *testing.T) {
	redis := dbtest.NewRedis(t)
	config := settingsFor(t, dbtest.MySQL(t))
	config.Redis.Addresses = []string{redis.Addr()}
	config.Feed.PollInterval = time.Minute
	one, other := start(t, config), start(t, config)
	// The other replica may not be subscribed yet.
	require.Eventually(t, func() bool {
		_, body := other.do(t, http.MethodGet, "/internal/v1/tag-snapshot", "")
		var snapshot struct {
			Data struct{ Sequence json.Number }
		}
		require.NoError(t, json.Unmarshal([]byte(body), &snapshot))
		type result struct {
			took time.Duration
			body string
		}
		done := make(chan result, 1)
		go func() {
			began := time.Now()
			_, body := other.do(t, http.MethodGet, "/internal/v1/tag-changes?wait=3&after="+snapshot.Data.Sequence.String(), "")
			done <- result{time.Since(began), body}
		}()
		time.Sleep(100 * time.Millisecond) // the long poll begins; if it has not, the loop repeats
		status, body := one.do(t, http.MethodPost, "/api/v1/tags", `{"name":"`+time.Now().String()+`"}`)
		require.Equal(t, http.StatusCreated, status, body)
		got := <-done
		return got.took > 100*time.Millisecond && got.took < 2*time.Second && strings.Contains(got.body, `"kind":"put"`)
	}, patience, time.Millisecond)
}

// Neither long polls nor an unavailable Redis delay the stop.
func TestStop(t *testing.T) {
	for about, disturb := range map[string]func(*dbtest.Server, testing.TB){
		"available": func(*dbtest.Server, testing.TB) {}, "Redis frozen": (*dbtest.Server).Pause, "Redis killed": (*dbtest.Server).Kill,
	} {
		t.Run(about, func(t *testing.T) {
			redis := dbtest.NewRedis(t)
			config := settingsFor(t, dbtest.SQLite(t))
			config.Redis.Addresses = []string{redis.Addr()}
			r := start(t, config)
			statuses, sent := make(chan int, 1), make(chan struct{})
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(sent) }})
			go func() {
				defer close(statuses)
				status, _ := r.doWithin(ctx, t, http.MethodGet, "/internal/v1/tag-changes?wait=10", "")
				statuses <- status
			}()
			<-sent
			disturb(redis, t)
			r.stop(t)
			require.Equal(t, http.StatusOK, <-statuses)
			require.NotContains(t, r.log.String(), token)
		})
	}
}
