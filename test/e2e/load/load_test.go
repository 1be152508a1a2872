package load_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/achilles-blog/achilles/test/e2e/load"
)

// backend is a minimal fake of both services that counts requests.
type backend struct {
	mu       sync.Mutex
	next     uint64
	objects  map[string]map[string]any // by path
	files    map[string][]byte         // by the path of their download
	arrived  map[string]int            // creations by path and name
	requests int
	// fault is called for each request, with its number, and reports whether it has
	// responded. seen is called for each request.
	fault func(n int, w http.ResponseWriter) (done bool)
	seen  func(r *http.Request)
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests++
	r.Body = io.NopCloser(bytes.NewReader(body))
	var sent map[string]any
	_ = json.Unmarshal(body, &sent)
	name, _ := sent["name"].(string)
	if title, ok := sent["title"].(string); ok {
		name = title
	}
	if r.Method == http.MethodPost {
		b.arrived[r.URL.Path+" "+name]++
	}
	if b.seen != nil {
		b.seen(r)
	}
	w.Header().Set("X-Served-By", "pod-1")
	if b.fault != nil && b.fault(b.requests, w) {
		return
	}
	b.answer(w, r, sent)
}

// lock locks the backend while a test examines it. A client may receive a truncated
// response before the handler has returned.
func (b *backend) lock() (unlock func()) {
	b.mu.Lock()
	return b.mu.Unlock
}

func (b *backend) answer(w http.ResponseWriter, r *http.Request, sent map[string]any) {
	path := r.URL.Path
	if strings.HasPrefix(path, "/api/v1/file/") {
		b.answerFile(w, r)
		return
	}
	switch r.Method {
	case http.MethodPost:
		b.next++
		id := jsonText(b.next)
		sent["id"], sent["slug"] = b.next, "s"+id
		b.objects[path+"/"+id], b.objects[path+"/slug/s"+id] = sent, sent
		path += "/" + id
		w.WriteHeader(http.StatusCreated)
	case http.MethodPut, http.MethodPatch:
		for key, value := range sent {
			b.objects[path][key] = value
		}
	}
	if strings.HasSuffix(path, "/changes") {
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"next": "1"}})
		return
	}
	if path == "/api/v1/articles" {
		_ = json.NewEncoder(w).Encode(map[string]any{"list": b.list(r.URL.Query().Get("q"))})
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": b.objects[path]})
}

// answerFile stores the file of an upload, or sends it.
func (b *backend) answerFile(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		_, _ = w.Write(b.files[r.URL.Path])
		return
	}
	sent, header, err := r.FormFile("file")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	content, _ := io.ReadAll(sent)
	b.next++
	b.files["/api/v1/file/download/"+jsonText(b.next)] = content
	b.objects["/files/"+jsonText(b.next)] = map[string]any{"name": header.Filename}
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"files": []any{map[string]any{"file_id": b.next}}}})
}

// list returns the articles that a search for all words of a title finds.
func (b *backend) list(q string) []any {
	found := []any{}
	for path, object := range b.objects {
		if object["title"] == q && !strings.Contains(path, "/slug/") {
			found = append(found, object)
		}
	}
	return found
}

func jsonText(n uint64) string {
	text, _ := json.Marshal(n)
	return string(text)
}

func serve(t *testing.T, fault func(n int, w http.ResponseWriter) bool) (*backend, load.Endpoint) {
	b := &backend{objects: map[string]map[string]any{}, files: map[string][]byte{}, arrived: map[string]int{}, fault: fault}
	server := httptest.NewUnstartedServer(b)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return b, load.Endpoint{Addr: strings.TrimPrefix(server.URL, "http://"), Host: "blog.example"}
}

// headerTimeout is that of loads, and of servers that have one.
const headerTimeout = 50 * time.Millisecond

func run(at load.Endpoint, mix load.Mix, during func(*load.Load)) load.Result {
	l := load.Start(load.Config{Run: "r", Source: "s", Tags: at, Articles: at, Mix: mix, Think: time.Millisecond, MaxDuration: time.Second, HeaderTimeout: headerTimeout})
	during(l)
	return l.Stop()
}

func until(t *testing.T, l *load.Load, enough func(load.Count) bool) {
	require.Eventually(t, func() bool { return enough(l.Count()) }, time.Minute, 5*time.Millisecond)
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// With a healthy backend no request fails, and the ledger contains every write.
func TestHealthyBackend(t *testing.T) {
	b, at := serve(t, nil)
	mix := load.Mix{Reused: 3, Fresh: 2, Idle: 2, Silent: 2, Slow: 1, Slowest: 1, Files: 1, H2C: 2, H2CShared: 4}
	stored := func() int { defer b.lock()(); return len(b.files) }
	result := run(at, mix, func(l *load.Load) {
		until(t, l, func(c load.Count) bool { return c.Requests > 1500 && stored() > 2 })
	})
	defer b.lock()()
	require.Zero(t, result.Failed, result.Failures)
	require.Greater(t, 2*result.Posts, result.Requests)
	require.Len(t, result.Writers, 18)
	require.Equal(t, map[string]int{"pod-1": result.Requests}, totals(result.Pods))
	acknowledged := 0
	for worker, w := range result.Writers {
		for seq, id := range w.Tags {
			require.Equal(t, load.Name("r", "s", worker, seq), b.objects["/api/v1/tags/"+jsonText(id)]["name"])
		}
		for seq, id := range w.Articles {
			article := b.objects["/api/v1/articles/"+jsonText(id)]
			require.Equal(t, load.Name("r", "s", worker, seq), article["title"])
			require.Equal(t, load.Revision(w.Edits[id].Acknowledged), article["desc"])
		}
		for seq, id := range w.Files {
			name := load.Name("r", "s", worker, seq)
			require.Equal(t, load.FileName(name)+".txt", b.objects["/files/"+jsonText(id)]["name"])
			require.Equal(t, load.FileContent(name), b.files["/api/v1/file/download/"+jsonText(id)])
		}
		acknowledged += len(w.Tags) + len(w.Articles) + len(w.Files)
	}
	require.Equal(t, result.Posts, acknowledged)
}

// A file that comes back with other bytes is a failure.
func TestFileWithOtherBytes(t *testing.T) {
	b, at := serve(t, nil)
	l := load.Start(load.Config{Run: "r", Source: "s", Tags: at, Articles: at, Mix: load.Mix{Files: 1}, MaxDuration: time.Second / 10, Think: time.Millisecond})
	until(t, l, func(load.Count) bool {
		defer b.lock()()
		for path := range b.files {
			b.files[path] = []byte("other bytes")
		}
		return l.Count().Failed > 0
	})
	result := l.Stop()
	require.Equal(t, map[string]int{"wrong content": result.Failed}, result.Kinds)
}

// Loaded articles are read, and a response with other content is a failure.
func TestLoadedArticles(t *testing.T) {
	b, at := serve(t, nil)
	const loaded = 1000
	b.next = loaded
	l := load.Start(load.Config{Run: "r", Source: "s", Tags: at, Articles: at, Loaded: loaded, Mix: load.Mix{Reused: 4}, MaxDuration: time.Second, Think: time.Millisecond})
	until(t, l, func(c load.Count) bool { return c.Failed > 20 })
	result := l.Stop()
	defer b.lock()()
	require.Equal(t, map[string]int{"wrong content": result.Failed}, result.Kinds)
	var articles, lists int
	for _, failure := range result.Failures {
		if strings.Contains(failure.Error, "the expected list") {
			lists++
		} else {
			articles++
		}
	}
	require.Positive(t, articles)
	require.Positive(t, lists)
}

func totals(pods map[string]map[int64]int) map[string]int {
	sums := map[string]int{}
	for pod, seconds := range pods {
		for _, n := range seconds {
			sums[pod] += n
		}
	}
	return sums
}

// A failed request is recorded with its kind, not repeated, and not acknowledged in the
// ledger.
func TestFailuresAreNotRepeated(t *testing.T) {
	faults := map[string]func(w http.ResponseWriter){
		"status 503 by a proxy":     func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"closed without a response": func(w http.ResponseWriter) { abort(w, "") },
		"response truncated":        func(w http.ResponseWriter) { abort(w, "HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{") },
		"wrong content":             func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated); _, _ = w.Write([]byte("{}")) },
	}
	for kind, fault := range faults {
		t.Run(kind, func(t *testing.T) {
			b, at := serve(t, func(n int, w http.ResponseWriter) bool {
				if n%7 != 0 {
					return false
				}
				fault(w)
				return true
			})
			result := run(at, load.Mix{Reused: 4, Fresh: 2}, func(l *load.Load) {
				until(t, l, func(c load.Count) bool { return c.Failed > 20 })
			})
			defer b.lock()()
			require.Equal(t, b.requests, result.Requests)
			require.Positive(t, result.Kinds[kind], result.Kinds)
			require.Equal(t, kind, firstPost(result))
			for name, times := range b.arrived {
				require.Equal(t, 1, times, name)
			}
			unanswered := 0
			for _, w := range result.Writers {
				for _, id := range append(w.Tags, w.Articles...) {
					if id == 0 {
						unanswered++
					}
				}
			}
			require.Positive(t, unanswered)
		})
	}
}

// With Repeat, a request that was applied but not answered is repeated until it is
// acknowledged.
func TestRepeat(t *testing.T) {
	var keys sync.Map
	b, at := serve(t, nil)
	faulty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		if key == "" {
			b.ServeHTTP(w, r)
			return
		}
		done, again := keys.LoadOrStore(r.URL.Path+key, httptest.NewRecorder())
		recorder := done.(*httptest.ResponseRecorder)
		if !again {
			b.ServeHTTP(recorder, r)
			abort(w, "")
			return
		}
		w.Header().Set("Idempotency-Replayed", "true")
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(recorder.Body.Bytes())
	}))
	defer faulty.Close()
	at.Addr = strings.TrimPrefix(faulty.URL, "http://")
	config := load.Config{Run: "r", Source: "s", Tags: at, Articles: at, Mix: load.Mix{Reused: 3, Fresh: 2}, Think: time.Millisecond, Repeat: true}
	l := load.Start(config)
	until(t, l, func(c load.Count) bool { return c.Replayed > 30 })
	result := l.Stop()
	defer b.lock()()
	require.Equal(t, result.Failed, result.Kinds["closed without a response"], result.Kinds)
	require.LessOrEqual(t, result.Replayed, result.Repeats)
	acknowledged := 0
	for _, w := range result.Writers {
		for _, id := range append(w.Tags, w.Articles...) {
			if id != 0 {
				acknowledged++
			}
		}
	}
	require.Equal(t, result.Replayed, acknowledged)
	require.Len(t, b.arrived, acknowledged, "every write is acknowledged, including the last")
	for name, times := range b.arrived {
		require.Equal(t, 1, times, name)
	}
}

// Stop waits until pending repetitions succeed.
func TestStopWaitsForRepeats(t *testing.T) {
	var begun sync.WaitGroup
	begun.Add(1)
	stopping := make(chan struct{})
	_, at := serve(t, func(n int, w http.ResponseWriter) bool {
		select {
		case <-stopping:
			return false
		default:
			if n == 1 {
				begun.Done()
			}
			w.WriteHeader(http.StatusConflict)
			return true
		}
	})
	l := load.Start(load.Config{Run: "r", Source: "s", Tags: at, Articles: at, Mix: load.Mix{Reused: 1, Fresh: 1, H2C: 1}, Think: time.Millisecond, Repeat: true})
	begun.Wait()
	time.AfterFunc(500*time.Millisecond, func() { close(stopping) })
	result := l.Stop()
	require.Positive(t, result.Repeats)
	for name, w := range result.Writers {
		for _, id := range append(w.Tags, w.Articles...) {
			require.NotZero(t, id, "%s gave up", name)
		}
	}
}

// Permanent errors are not repeated.
func TestPermanentErrorsAreNotRepeated(t *testing.T) {
	b, at := serve(t, func(_ int, w http.ResponseWriter) bool { w.WriteHeader(http.StatusUnprocessableEntity); return true })
	l := load.Start(load.Config{Run: "r", Source: "s", Tags: at, Articles: at, Mix: load.Mix{Reused: 2}, Think: time.Millisecond, Repeat: true})
	until(t, l, func(c load.Count) bool { return c.Failed > 10 })
	result := l.Stop()
	defer b.lock()()
	require.Zero(t, result.Repeats)
	for name, times := range b.arrived {
		require.Equal(t, 1, times, name)
	}
}

// Writes and some reads have the token. SetToken affects all following requests.
func TestTokens(t *testing.T) {
	const first, second = "the first token", "the second token"
	var mu sync.Mutex
	received := map[string]int{}
	b, at := serve(t, nil)
	b.mu.Lock()
	b.seen = func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		kind := "write"
		if r.Method == http.MethodGet {
			kind = "read"
		}
		received[fmt.Sprintf("HTTP/%d %s %s", r.ProtoMajor, kind, r.Header.Get("Authorization"))]++
	}
	b.mu.Unlock()
	l := load.Start(load.Config{Run: "r", Source: "s", Tags: at, Articles: at, Token: first, Mix: load.Mix{Reused: 2, Fresh: 2, H2C: 2}, Think: time.Millisecond})
	enough := func() {
		before := l.Count().Requests
		until(t, l, func(c load.Count) bool { return c.Requests > before+300 })
	}
	enough()
	l.SetToken(second)
	enough() // requests in progress have arrived
	mu.Lock()
	before := maps.Clone(received)
	mu.Unlock()
	enough()
	result := l.Stop()
	require.Zero(t, result.Failed, result.Failures)
	for _, token := range []string{first, second} {
		for _, request := range []string{"HTTP/1 write", "HTTP/1 read", "HTTP/2 write", "HTTP/2 read"} {
			require.Positive(t, received[request+" Bearer "+token], received)
			if token == first {
				require.Equal(t, before[request+" Bearer "+token], received[request+" Bearer "+token], "the first token was sent again")
			}
		}
	}
	require.Positive(t, received["HTTP/1 read "])
	require.Len(t, received, 9)
	text, err := json.Marshal(result)
	require.NoError(t, err)
	require.NotContains(t, string(text), "token")
}

// In read-only mode rejected writes are no failures, and are not acknowledged. Everything
// else is a failure: another status or code, no Retry-After, a read, and a time that was not
// announced.
func TestReadOnly(t *testing.T) {
	const readOnly = `{"code":10000022,"msg":"read-only","details":[]}`
	for _, c := range []struct {
		name                string
		announced           bool
		status              int
		retryAfter, problem string
		reads               bool // are rejected, too
		fails               bool
	}{
		{name: "announced", announced: true, status: 503, retryAfter: "5", problem: readOnly},
		{name: "not announced", status: 503, retryAfter: "5", problem: readOnly, fails: true},
		{name: "without Retry-After", announced: true, status: 503, problem: readOnly, fails: true},
		{name: "another code", announced: true, status: 503, retryAfter: "5", problem: `{"code":10000000}`, fails: true},
		{name: "another status", announced: true, status: 500, retryAfter: "5", problem: readOnly, fails: true},
		{name: "reads, too", announced: true, status: 503, retryAfter: "5", problem: readOnly, reads: true, fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rejecting atomic.Bool
			b := &backend{objects: map[string]map[string]any{}, files: map[string][]byte{}, arrived: map[string]int{}}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !rejecting.Load() || r.Method == http.MethodGet && !c.reads {
					b.ServeHTTP(w, r)
					return
				}
				if c.retryAfter != "" {
					w.Header().Set("Retry-After", c.retryAfter)
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.problem))
			}))
			defer server.Close()
			at := load.Endpoint{Addr: server.Listener.Addr().String(), Host: "backend"}
			var after load.Count
			result := run(at, load.Mix{Reused: 2}, func(l *load.Load) {
				until(t, l, func(c load.Count) bool { return c.Requests >= 20 })
				l.SetReadOnly(c.announced)
				rejecting.Store(true)
				until(t, l, func(c load.Count) bool { return c.Rejected+c.Failed >= 20 })
				rejecting.Store(false)
				l.SetReadOnly(false)
				after = l.Count()
				until(t, l, func(c load.Count) bool { return c.Requests >= after.Requests+20 })
			})
			if c.fails {
				require.NotZero(t, result.Failed)
				return
			}
			require.Zero(t, result.Failed, result.Failures)
			require.NotZero(t, result.Rejected)
			require.LessOrEqual(t, result.Rejected, after.Rejected+2, "rejected after read-only mode")
			require.Less(t, acknowledged(result), result.Posts)
		})
	}
}

// acknowledged returns the number of acknowledged writes.
func acknowledged(result load.Result) (n int) {
	for _, w := range result.Writers {
		for _, id := range slices.Concat(w.Tags, w.Articles, w.Files) {
			if id != 0 {
				n++
			}
		}
	}
	return n
}

// firstPost returns the kind of the first failed POST. Failed reads may have other kinds.
func firstPost(r load.Result) string {
	for _, f := range r.Failures {
		if f.Method == http.MethodPost || f.Method == "" {
			return f.Kind
		}
	}
	return ""
}

func abort(w http.ResponseWriter, answer string) {
	conn, buffer, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_, _ = buffer.WriteString(answer)
		_ = buffer.Flush()
		_ = conn.Close()
	}
}

// An idle connection that the server has closed is replaced. No request is repeated, and
// none fails.
func TestClosedIdleConnectionsAreReplaced(t *testing.T) {
	b, at := serve(t, func(_ int, w http.ResponseWriter) bool {
		w.Header().Set("Keep-Alive", "timeout=0")
		return false
	})
	server := httptest.NewUnstartedServer(b)
	server.Config.IdleTimeout = time.Millisecond
	server.Start()
	defer server.Close()
	at.Addr = strings.TrimPrefix(server.URL, "http://")
	l := load.Start(load.Config{Run: "r", Source: "s", Tags: at, Articles: at, Mix: load.Mix{Reused: 4}, Think: 50 * time.Millisecond})
	until(t, l, func(c load.Count) bool { return c.Reconnects > 20 })
	result := l.Stop()
	// Some requests are sent at the moment when the server closes the connection,
	// especially on a busy machine.
	require.Less(t, result.Failed, result.Reconnects, result.Failures)
}

// The client closes an idle connection as soon as the server does, not at its next use.
func TestIdleConnectionsAreClosedAtOnce(t *testing.T) {
	b, at := serve(t, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	answered := make(chan *net.TCPConn, 8)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go answerOnce(b, conn, answered)
		}
	}()
	at.Addr = listener.Addr().String()
	// These workers use their connections again after an hour.
	l := load.Start(load.Config{Run: "r", Source: "s", Tags: at, Articles: at, Mix: load.Mix{Slowest: cap(answered)}, MaxDuration: 10 * time.Millisecond})
	defer l.Stop()
	var conn *net.TCPConn
	require.Eventually(t, func() bool {
		select {
		case conn = <-answered:
			return true
		default:
			l.Nudge()
			return false
		}
	}, time.Minute, 100*time.Millisecond)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.CloseWrite())
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

func answerOnce(b *backend, conn net.Conn, answered chan<- *net.TCPConn) {
	request, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	recorder := httptest.NewRecorder()
	b.ServeHTTP(recorder, request)
	response := recorder.Result()
	response.ContentLength = int64(recorder.Body.Len())
	_ = response.Write(conn)
	answered <- conn.(*net.TCPConn)
}

// Connections that are opened ahead of their requests fail if the server's timeout for a
// header begins before the header, as net/http's does.
func TestSilentConnections(t *testing.T) {
	b := &backend{objects: map[string]map[string]any{}, files: map[string][]byte{}, arrived: map[string]int{}}
	server := httptest.NewUnstartedServer(b)
	server.Config.ReadHeaderTimeout = headerTimeout
	server.Start()
	defer server.Close()
	at := load.Endpoint{Addr: strings.TrimPrefix(server.URL, "http://"), Host: "blog.example"}
	result := run(at, load.Mix{Silent: 10}, func(l *load.Load) {
		until(t, l, func(c load.Count) bool { return c.Failed > 3 && c.Requests > c.Failed })
	})
	require.NotZero(t, result.Reconnects, "connections that were closed while they were silent are replaced")
}

// A connection that can't be opened ahead is a failure.
func TestSilentConnectionRefused(t *testing.T) {
	_, at := serve(t, nil)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	l := load.Start(load.Config{
		Run: "r", Source: "s", Tags: at, Articles: load.Endpoint{Addr: strings.TrimPrefix(gone.URL, "http://")},
		Mix: load.Mix{Silent: 1}, HeaderTimeout: headerTimeout, MaxDuration: time.Second,
	})
	until(t, l, func(c load.Count) bool { return c.Failed > 0 })
	result := l.Stop()
	require.Equal(t, http.MethodConnect, result.Failures[0].Method)
	require.Equal(t, "connection refused", result.Failures[0].Kind)
}

// After a nudge idle connections are used, and the slowest uploads begin.
func TestNudge(t *testing.T) {
	b, at := serve(t, nil)
	run(at, load.Mix{Idle: 20, Slowest: 5}, func(l *load.Load) {
		before := l.Count().Requests
		l.Nudge()
		until(t, l, func(c load.Count) bool { return c.Requests > before+5 })
	})
	defer b.lock()()
	require.Positive(t, b.requests)
}

func TestNames(t *testing.T) {
	run, source, worker, seq, ok := load.ParseName(load.Name("g1", "node1", "h2cshared2", 12))
	require.True(t, ok)
	require.Equal(t, []any{"g1", "node1", "h2cshared2", 12}, []any{run, source, worker, seq})
	for _, name := range []string{"", "Kubernetes", "a/b/c", "a/b/c/d", "a/b/c/-1", "a/b/c/1/2"} {
		_, _, _, _, ok := load.ParseName(name)
		require.False(t, ok, name)
	}
}

func TestBuckets(t *testing.T) {
	for _, d := range []time.Duration{time.Microsecond, 37 * time.Microsecond, 12 * time.Millisecond, 1500 * time.Millisecond, time.Minute} {
		require.InEpsilon(t, float64(d), float64(load.BucketLatency(load.Bucket(d))), 0.05)
	}
	require.Zero(t, load.Bucket(0))
}
