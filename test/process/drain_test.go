package process_test

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/test/process"
)

const (
	sigterm = syscall.SIGTERM

	// Log messages during a shutdown.
	draining     = "draining: still serving, but not ready any more"
	shuttingDown = "shutting down: finishing requests"
)

// drainDelay is longer than the pauses of the clients, so that each sends a request in it.
const drainDelay = 1500 * time.Millisecond

var (
	drain = process.Settings{"Server.DrainDelay": drainDelay.String()}
	// endless is a drain that ends only with a second signal.
	endless = process.Settings{"Server.DrainDelay": "1h"}
)

// beginMixed starts busy clients, clients that are idle before the drain and send
// requests on the same connection during the drain, and clients whose connections are
// silent before their first request.
func (tr *traffic) beginMixed() {
	tr.begin("busy", 20, 10*time.Millisecond)
	tr.begin("idle", 20, 900*time.Millisecond)
	tr.beginSilent(10, 900*time.Millisecond)
}

func TestRollingRestartOfTags(t *testing.T) {
	cfg := dbtest.MySQL(t)
	program, settings := process.Service(t, "tag"), process.On(cfg).With(drain)
	process.Migrate(t, program, settings)
	tr := newTraffic("/api/v1/tags", func(name string) any { return newTag(name) })
	rollingRestart(t, tr, program, settings)
	tr.requireStored(t, cfg, "SELECT id, name FROM blog_tag")
}

func TestRollingRestartOfArticles(t *testing.T) {
	p := newPair(t, mysql, drain)
	ids := []uint64{create(t, p.tag, "/api/v1/tags", newTag("one")), create(t, p.tag, "/api/v1/tags", newTag("two"))}
	tr := newTraffic("/api/v1/articles", func(name string) any { return newArticle(name, ids...) })
	rollingRestart(t, tr, p.articleProgram, p.articleSettings)
	tr.requireStored(t, p.articleDatabase, "SELECT id, title AS name FROM blog_article")
	count := rows[int](t, p.articleDatabase, "SELECT COUNT(*) FROM blog_article_tag")
	require.Equal(t, len(ids)*len(tr.acked), count[0], "an article and its tags are written in one transaction")
}

func mysql(t testing.TB) database.Config  { return dbtest.MySQL(t) }
func sqlite(t testing.TB) database.Config { return dbtest.SQLite(t) }

// Half of the silences are longer than the timeout for headers.
func TestSilentConnectionsOutlastTheHeaderTimeout(t *testing.T) {
	cfg := dbtest.SQLite(t)
	tr := newTraffic("/api/v1/tags", func(name string) any { return newTag(name) })
	p := process.Ready(t, process.Service(t, "tag"), process.On(cfg).With(drain))
	tr.add(p.Addr(t))
	tr.beginSilent(40, 2*server.Default().ReadHeaderTimeout)
	tr.awaitMore(t, 100)
	require.Zero(t, tr.stop(t, p), p.Stderr())
	tr.end()
	require.Empty(t, tr.lost)
	tr.requireStored(t, cfg, "SELECT id, name FROM blog_tag")
}

// rollingRestart replaces two replicas while clients write.
func rollingRestart(t *testing.T, tr *traffic, program string, settings process.Settings) {
	t.Helper()
	start := func() *process.Process {
		p := process.Serve(t, program, settings)
		p.AwaitReady(t)
		tr.add(p.Addr(t))
		return p
	}
	replicas := []*process.Process{start(), start()}
	tr.beginMixed()
	tr.awaitMore(t, 300)
	for i, old := range replicas {
		idle := idleConn(t, old)
		replicas[i] = start()
		tr.awaitMore(t, 100)
		require.Zero(t, tr.stop(t, old), old.Stderr())
		require.NoError(t, idle.AwaitClose(), "an idle connection is closed at the end of the drain")
	}
	tr.awaitMore(t, 100)
	tr.end()
	require.Empty(t, tr.lost)
	require.Len(t, tr.acked, len(tr.sent))
	t.Logf("%d POSTs, none lost", len(tr.acked))
}

// idleConn returns a connection that has been used once.
func idleConn(t *testing.T, p *process.Process) *process.Conn {
	t.Helper()
	conn, err := process.Dial(p.Addr(t))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	answer, err := conn.Ask("GET", "/version", nil)
	require.NoError(t, err)
	require.False(t, answer.Closing)
	return conn
}

func TestStopWithSQLite(t *testing.T) {
	cfg := dbtest.SQLite(t)
	tr := newTraffic("/api/v1/tags", func(name string) any { return newTag(name) })
	p := process.Ready(t, process.Service(t, "tag"), process.On(cfg).With(drain))
	tr.add(p.Addr(t))
	tr.beginMixed()
	tr.awaitMore(t, 100)
	require.Zero(t, tr.stop(t, p), p.Stderr())
	tr.end()
	require.Empty(t, tr.lost)
	tr.requireStored(t, cfg, "SELECT id, name FROM blog_tag")
}

// Negative control: without a drain the same clients lose requests.
func TestStopWithoutDrainLosesRequests(t *testing.T) {
	cfg := dbtest.SQLite(t)
	tr := newTraffic("/api/v1/tags", func(name string) any { return newTag(name) })
	tr.drain = 0
	p := process.Ready(t, process.Service(t, "tag"), process.On(cfg).With(process.Settings{"Server.DrainDelay": "0"}))
	tr.add(p.Addr(t))
	tr.beginMixed()
	tr.awaitMore(t, 100)
	require.Zero(t, tr.stop(t, p), p.Stderr())
	tr.end()
	require.NotEmpty(t, tr.lost)
	tr.requireStored(t, cfg, "SELECT id, name FROM blog_tag")
}

func TestSlowUploadFinishesAfterTheDrain(t *testing.T) {
	for _, name := range []string{"tag", "article"} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, sqlite, process.Settings{"Server.DrainDelay": "300ms"})
			server, body, path, inFlight := p.tag, `{"name":"slow upload"}`, "/api/v1/tags", 2 // with the long poll of the article service
			if name == "article" {
				server, body, path, inFlight = p.article, `{"title":"slow upload","content":"text"}`, "/api/v1/articles", 1
			}
			conn, err := process.Dial(server.Addr(t))
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			half := len(body) / 2
			require.NoError(t, conn.Send("POST", path, []byte(body[:half]), len(body)))
			awaitInFlight(t, server, inFlight)
			server.Signal(t, sigterm)
			server.AwaitLog(t, shuttingDown)
			require.False(t, server.Ended())
			_, err = conn.Write([]byte(body[half:]))
			require.NoError(t, err)
			answer, err := conn.Receive("POST")
			require.NoError(t, err)
			require.Equal(t, 201, answer.Status, string(answer.Body))
			require.True(t, answer.Closing)
			require.Zero(t, server.Exit(t), server.Stderr())
			cfg, query := p.tagDatabase, "SELECT COUNT(*) FROM blog_tag"
			if name == "article" {
				cfg, query = p.articleDatabase, "SELECT COUNT(*) FROM blog_article"
			}
			require.Equal(t, []int{1}, rows[int](t, cfg, query))
		})
	}
}

// On a busy machine, requests may have arrived on idle connections and be unread when
// the drain ends.
func TestUnreadRequestsAtTheEndOfTheDrain(t *testing.T) {
	p, conns, drained := pausedDuringDrain(t, 500*time.Millisecond)
	for _, conn := range conns {
		require.NoError(t, conn.Send("GET", "/version", nil, 0))
	}
	time.Sleep(time.Until(drained)) // a paused process can't report this
	p.Signal(t, syscall.SIGCONT)
	for i, conn := range conns {
		answer, err := conn.Receive("GET")
		require.NoError(t, err, "connection %d", i)
		require.Equal(t, 200, answer.Status)
		require.True(t, answer.Closing)
	}
	require.Zero(t, p.Exit(t), p.Stderr())
}

// pausedDuringDrain returns a service that is paused during its drain, idle connections
// to it, and the end of the drain. If the machine is too slow it tries again with a
// longer drain.
func pausedDuringDrain(t *testing.T, delay time.Duration) (p *process.Process, conns []*process.Conn, drained time.Time) {
	t.Helper()
	p = process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)).With(process.Settings{"Server.DrainDelay": delay.String()}))
	for range 60 {
		conns = append(conns, idleConn(t, p))
	}
	p.Signal(t, sigterm)
	p.AwaitLog(t, draining)
	drained = time.Now().Add(delay + 100*time.Millisecond)
	p.Pause(t)
	if len(p.Log(shuttingDown)) == 0 {
		return p, conns, drained
	}
	p.Kill()
	return pausedDuringDrain(t, 2*delay)
}

// awaitInFlight waits until this number of requests is in progress.
func awaitInFlight(t *testing.T, p *process.Process, requests int) {
	t.Helper()
	process.Await(t, "the request to arrive", func() bool { return metric(t, p, "achilles_http_requests_in_flight") == float64(requests) })
}

func TestResponsesDuringDrain(t *testing.T) {
	p := newPair(t, sqlite, endless)
	for _, server := range []*process.Process{p.article, p.tag} {
		before := idleConn(t, server)
		require.Equal(t, 200, ask(t, server, "GET", "/readyz", nil).Status)
		server.Signal(t, sigterm)
		server.AwaitLog(t, draining)

		answer, err := before.Ask("GET", "/readyz", nil)
		require.NoError(t, err)
		require.Equal(t, 503, answer.Status)
		require.JSONEq(t, `{"status":"draining"}`, string(answer.Body))
		require.True(t, answer.Closing)
		require.NoError(t, before.AwaitClose())

		for path, status := range map[string]int{"/healthz": 200, "/readyz": 503, "/version": 200, "/nowhere": 404} {
			answer := ask(t, server, "GET", path, nil)
			require.Equal(t, status, answer.Status, path)
			require.True(t, answer.Closing, path)
		}
		metrics, err := process.Ask("GET", "http://"+server.AdminAddr(t)+"/metrics", nil)
		require.NoError(t, err)
		require.Contains(t, string(metrics.Body), "\nachilles_draining 1\n")
	}
}

func TestSecondSignal(t *testing.T) {
	p := newPair(t, sqlite, endless)
	for _, server := range []*process.Process{p.article, p.tag} {
		server.Signal(t, sigterm)
		server.AwaitLog(t, draining)
		time.Sleep(lifecycle.RepeatInterval)
		server.Signal(t, syscall.SIGINT)
		require.Equal(t, 1, server.Exit(t))
		require.Contains(t, server.Stderr(), "ended by a second signal before the stop was complete")
	}
}

// A long poll of the feed must neither delay the drain nor fail.
func TestLongPollDuringDrain(t *testing.T) {
	tag := process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)))
	conn, err := process.Dial(tag.Addr(t))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	began := time.Now()
	_, err = conn.Write([]byte("GET /internal/v1/tag-changes?wait=10 HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer " + process.FeedToken + "\r\n\r\n"))
	require.NoError(t, err)
	awaitInFlight(t, tag, 1)
	tag.Signal(t, sigterm)
	answer, err := conn.Receive("GET")
	require.NoError(t, err)
	require.Equal(t, 200, answer.Status)
	require.Less(t, time.Since(began), 10*time.Second, "before the poll times out")
	require.Zero(t, tag.Exit(t), tag.Stderr())
}

func id(number uint64) string { return strconv.FormatUint(number, 10) }
