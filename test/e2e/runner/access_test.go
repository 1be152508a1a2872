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

// front is a door to a tag service and two replicas of an article service that
// take turns. Headers named dropped do not get through it.
type front struct {
	*door
	dropped atomic.Value
	secret  string
}

func newFront(t *testing.T, more process.Settings) *front {
	t.Helper()
	if testing.Short() {
		t.Skip("starts services")
	}
	settings := process.Settings{
		"Server.TrustedProxies": "127.0.0.1", "Limits.AuthBurst": strconv.Itoa(authBurst), "Limits.AuthPerMinute": strconv.Itoa(int(time.Minute / authInterval)),
	}.With(more)
	tags := process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)).With(settings))
	program, of := process.Service(t, "article"), process.Follow(dbtest.SQLite(t), tags.Addr(t)).With(settings)
	articles := []http.Handler{}
	for _, name := range []string{"article-1", "article-2"} {
		replica := process.Ready(t, program, of.With(process.Settings{"Server.ServedBy": name}))
		articles = append(articles, proxy(t, replica))
	}
	f := &front{secret: "the secret of the app e2e"}
	f.dropped.Store("")
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte(f.secret), 0o600))
	added, exit := process.Run(t, program, of, "client", "add", app, "--secret-file", secret)
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
	f.door = newDoor(server.URL, "blog.example")
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

// Services as they should be pass, and what would not let a promise through is
// told by which one it is.
func TestAccess(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	redis := dbtest.NewRedis(t)
	f := newFront(t, process.Settings{"Redis.Host": redis.Addr()})
	token, err := f.authenticate(t.Context(), f.secret)
	require.NoError(t, err)
	require.Equal(t, keyOf(process.Token()), keyOf(token))
	_, err = f.authenticate(t.Context(), "another secret")
	require.ErrorContains(t, err, "POST /auth: 401 (code 10000003")

	checked := f.checkAccess(t.Context(), token)
	require.Empty(t, checked.problems)
	require.Greater(t, checked.asked, 30)
	for header, problem := range map[string]string{
		"Authorization":   "wanted 201 (code 0), got 401",
		"Idempotency-Key": "another answer, with id",
		"If-Match":        "wanted 412 (code 10000009), got 200",
		"If-None-Match":   "wanted 304 (code 0), got 200",
	} {
		f.dropped.Store(header)
		checked := f.checkAccess(t.Context(), token)
		problems := strings.Join(checked.problems, "\n")
		require.Contains(t, problems, problem, "without %s", header)
		require.NotContains(t, problems, token)
	}
	f.dropped.Store("")

	holds, why, err := f.limitsHold(t.Context())
	require.NoError(t, err)
	require.True(t, holds, why)
	require.Contains(t, why, "over 2 pods, 5 were looked at")
}

// What is wrong is told without the token.
func TestProblemsAreNoSecret(t *testing.T) {
	const token = "a.secret.token"
	none := httptest.NewServer(http.NotFoundHandler())
	checked := newDoor(none.URL, "blog.example").checkAccess(t.Context(), token)
	none.Close()
	away := newDoor(none.URL, "blog.example").checkAccess(t.Context(), token)
	for _, problems := range [][]string{checked.problems, away.problems} {
		require.GreaterOrEqual(t, len(problems), checked.asked)
		require.NotContains(t, strings.Join(problems, "\n"), token)
	}
	require.Contains(t, away.problems[0], "connection refused")

	reply := reply{status: http.StatusOK}
	reply.Data.Token, reply.body = token, []byte(token)
	require.NotContains(t, reply.String(), token)
}

// Replicas that count each for itself are noticed.
func TestLimitsThatAreNotShared(t *testing.T) {
	holds, why, err := newFront(t, nil).limitsHold(t.Context())
	require.NoError(t, err)
	require.False(t, holds, why)
	require.Contains(t, why, "over 2 pods, 10 were looked at")
}
