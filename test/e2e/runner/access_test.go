package runner

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// testSystem is a gateway to a tag service and two replicas of an article service, which
// alternate. It removes the header dropped.
type testSystem struct {
	*apiClient
	dropped atomic.Value
	secret  string
}

func newTestSystem(t *testing.T, more process.Settings) *testSystem {
	t.Helper()
	if testing.Short() {
		t.Skip("starts services")
	}
	settings := process.Settings{
		"Server.TrustedProxies": "127.0.0.1", "Server.TrustedHops": "2", "Limits.AuthBurst": strconv.Itoa(authBurst), "Limits.AuthPerMinute": strconv.Itoa(int(time.Minute / authInterval)),
	}.With(more)
	tags := process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)).With(settings))
	program, of := process.Service(t, "article"), process.Follow(dbtest.MySQL(t), tags.Addr(t)).With(settings) // for two replicas
	articles := []http.Handler{}
	for _, name := range []string{"article-1", "article-2"} {
		replica := process.Ready(t, program, of.With(process.Settings{"Server.ServedBy": name}))
		articles = append(articles, proxy(t, replica))
	}
	f := &testSystem{secret: "the secret of the client e2e"}
	f.dropped.Store("")
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte(f.secret), 0o600))
	added, exit := process.Run(t, program, of, "client", "add", appKey, "--secret-file", secret)
	require.Zero(t, exit, added.Stderr())

	toTags, turns := proxy(t, tags), atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del(f.dropped.Load().(string))
		if strings.HasPrefix(r.URL.Path, "/api/v1/tags") {
			toTags.ServeHTTP(w, r)
			return
		}
		articles[turns.Add(1)%2].ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	f.apiClient = newAPIClient(server.URL, "blog.example")
	return f
}

func proxy(t *testing.T, p *process.Process) http.Handler {
	target, err := url.Parse("http://" + p.Addr(t))
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
	}, Transport: transport}
}

// Correct services pass. A proxy that drops a header fails the corresponding check.
func TestAccess(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	redis := dbtest.NewRedis(t)
	f := newTestSystem(t, process.Settings{"Redis.Addresses": redis.Addr()})
	token, err := f.authenticate(t.Context(), f.secret)
	require.NoError(t, err)
	require.Equal(t, keyOf(process.Token()), keyOf(token))
	_, err = f.authenticate(t.Context(), "another secret")
	require.ErrorContains(t, err, "POST /auth: 401 (code 10000003")

	checked := f.checkAccess(t.Context(), token)
	require.Empty(t, checked.problems)
	require.Greater(t, checked.requests, 30)
	for header, problem := range map[string]string{
		"Authorization":   "want 201 (code 0), got 401",
		"Idempotency-Key": "another response, with id",
		"If-Match":        "want 412 (code 10000009), got 200",
		"If-None-Match":   "want 304 (code 0), got 200",
	} {
		f.dropped.Store(header)
		checked := f.checkAccess(t.Context(), token)
		problems := strings.Join(checked.problems, "\n")
		require.Contains(t, problems, problem, "without %s", header)
		require.NotContains(t, problems, token)
	}
	f.dropped.Store("")

	holds, detail, err := f.limitsHold(t.Context())
	require.NoError(t, err)
	require.True(t, holds, detail)
	require.Regexp(t, "to 2 pods: [56] allowed", detail)
}

// Reported problems do not contain the token.
func TestProblemsDoNotContainTheToken(t *testing.T) {
	const token = "a.secret.token"
	none := httptest.NewServer(http.NotFoundHandler())
	checked := newAPIClient(none.URL, "blog.example").checkAccess(t.Context(), token)
	none.Close()
	unreachable := newAPIClient(none.URL, "blog.example").checkAccess(t.Context(), token)
	for _, problems := range [][]string{checked.problems, unreachable.problems} {
		require.GreaterOrEqual(t, len(problems), checked.requests)
		require.NotContains(t, strings.Join(problems, "\n"), token)
	}
	require.Contains(t, unreachable.problems[0], "connection refused")

	reply := reply{status: http.StatusOK}
	reply.Data.Token, reply.body = token, []byte(token)
	require.NotContains(t, reply.String(), token)
}

// Replicas without Redis, which count separately, fail the check.
func TestLimitsThatAreNotShared(t *testing.T) {
	holds, detail, err := newTestSystem(t, nil).limitsHold(t.Context())
	require.NoError(t, err)
	require.False(t, holds, detail)
	require.Contains(t, detail, "to 2 pods: 10 allowed")
}
