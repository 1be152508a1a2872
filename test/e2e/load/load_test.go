package load_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/achilles-blog/achilles/test/e2e/load"
)

// backend is just enough of the two services for a load, and counts what
// arrives.
type backend struct {
	mu       sync.Mutex
	next     uint64
	objects  map[string]map[string]any // by path
	arrived  map[string]int            // creations by path and name
	requests int
	// fault is asked before each request, with its number; seen sees each.
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

// still keeps the backend as it is while a test looks at it: the client of an
// answer that was cut off goes on before the handler has ended.
func (b *backend) still() (release func()) {
	b.mu.Lock()
	return b.mu.Unlock
}

func (b *backend) answer(w http.ResponseWriter, r *http.Request, sent map[string]any) {
	path := r.URL.Path
	switch r.Method {
	case http.MethodPost:
		b.next++
		sent["id"] = b.next
		path += "/" + json.Number(jsonText(b.next)).String()
		b.objects[path] = sent
		w.WriteHeader(http.StatusCreated)
	case http.MethodPut:
		for key, value := range sent {
			b.objects[path][key] = value
		}
	}
	if r.URL.Query().Has("tag_id") {
		_ = json.NewEncoder(w).Encode(map[string]any{"list": []any{}})
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": b.objects[path]})
}

func jsonText(n uint64) string {
	text, _ := json.Marshal(n)
	return string(text)
}

func serve(t *testing.T, fault func(n int, w http.ResponseWriter) bool) (*backend, load.Endpoint) {
	b := &backend{objects: map[string]map[string]any{}, arrived: map[string]int{}, fault: fault}
	server := httptest.NewUnstartedServer(b)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return b, load.Endpoint{Addr: strings.TrimPrefix(server.URL, "http://"), Host: "blog.example"}
}

func run(at load.Endpoint, mix load.Mix, during func(*load.Load)) load.Result {
	l := load.Start(load.Config{Run: "r", Source: "s", Tags: at, Articles: at, Mix: mix, Think: time.Millisecond, Window: time.Second})
	during(l)
	return l.Stop()
}

func until(t *testing.T, l *load.Load, enough func(load.Count) bool) {
	require.Eventually(t, func() bool { return enough(l.Count()) }, time.Minute, 5*time.Millisecond)
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// On a healthy backend nothing fails, and the ledger has each creation under
// the id that was answered.
func TestLedgerOfAHealthySystem(t *testing.T) {
	b, at := serve(t, nil)
	mix := load.Mix{Reused: 3, Fresh: 2, Idle: 2, Slow: 1, Slowest: 1, H2C: 2, H2CShared: 4}
	result := run(at, mix, func(l *load.Load) {
		until(t, l, func(c load.Count) bool { return c.Requests > 1500 })
	})
	defer b.still()()
	require.Zero(t, result.Failed, result.Failures)
	require.Greater(t, 2*result.Posts, result.Requests)
	require.Len(t, result.Writers, 15)
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
		acknowledged += len(w.Tags) + len(w.Articles)
	}
	require.Equal(t, result.Posts, acknowledged)
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

// Whatever the backend does to a request, it is recorded as what it is, is not
// sent again, and is not in the ledger as acknowledged.
func TestNothingIsSentTwice(t *testing.T) {
	faults := map[string]func(w http.ResponseWriter){
		"status 503 by a proxy":    func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"closed without an answer": func(w http.ResponseWriter) { abort(w, "") },
		"answer cut short":         func(w http.ResponseWriter) { abort(w, "HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{") },
		"wrong content":            func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated); _, _ = w.Write([]byte("{}")) },
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
			defer b.still()()
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

// With keys, a request that was done and not answered is sent again until it is
// acknowledged; without, see TestNothingIsSentTwice.
func TestRepeatsUnderAKey(t *testing.T) {
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
	defer b.still()()
	require.Equal(t, result.Failed, result.Kinds["closed without an answer"], result.Kinds)
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
	require.Len(t, b.arrived, acknowledged, "every write is acknowledged, also the last")
	for name, times := range b.arrived {
		require.Equal(t, 1, times, name)
	}
}

// What the load is told to stop in the middle of is answered as well.
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
			require.NotZero(t, id, "%s has given up", name)
		}
	}
}

// A request that will be answered in the same way for ever is not repeated.
func TestRefusalsAreNotRepeated(t *testing.T) {
	b, at := serve(t, func(_ int, w http.ResponseWriter) bool { w.WriteHeader(http.StatusUnprocessableEntity); return true })
	l := load.Start(load.Config{Run: "r", Source: "s", Tags: at, Articles: at, Mix: load.Mix{Reused: 2}, Think: time.Millisecond, Repeat: true})
	until(t, l, func(c load.Count) bool { return c.Failed > 10 })
	result := l.Stop()
	defer b.still()()
	require.Zero(t, result.Repeats)
	for name, times := range b.arrived {
		require.Equal(t, 1, times, name)
	}
}

// Whoever writes shows the token; some read without. Another token is shown from
// the moment on at which it is given.
func TestTokens(t *testing.T) {
	const first, second = "the first token", "the second token"
	var mu sync.Mutex
	shown := map[string]int{}
	b, at := serve(t, nil)
	b.mu.Lock()
	b.seen = func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		kind := "write"
		if r.Method == http.MethodGet {
			kind = "read"
		}
		shown[fmt.Sprintf("HTTP/%d %s %s", r.ProtoMajor, kind, r.Header.Get("Authorization"))]++
	}
	b.mu.Unlock()
	l := load.Start(load.Config{Run: "r", Source: "s", Tags: at, Articles: at, Token: first, Mix: load.Mix{Reused: 2, Fresh: 2, H2C: 2}, Think: time.Millisecond})
	enough := func() {
		before := l.Count().Requests
		until(t, l, func(c load.Count) bool { return c.Requests > before+300 })
	}
	enough()
	l.SetToken(second)
	enough() // what was on its way has arrived
	mu.Lock()
	before := maps.Clone(shown)
	mu.Unlock()
	enough()
	result := l.Stop()
	require.Zero(t, result.Failed, result.Failures)
	for _, token := range []string{first, second} {
		for _, request := range []string{"HTTP/1 write", "HTTP/1 read", "HTTP/2 write", "HTTP/2 read"} {
			require.Positive(t, shown[request+" Bearer "+token], shown)
			if token == first {
				require.Equal(t, before[request+" Bearer "+token], shown[request+" Bearer "+token], "the first token was shown again")
			}
		}
	}
	require.Positive(t, shown["HTTP/1 read "])
	require.Len(t, shown, 9)
	told, err := json.Marshal(result)
	require.NoError(t, err)
	require.NotContains(t, string(told), "token")
}

// firstPost is the kind of the first failed creation; a reader may see another
// status than the one it wants.
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

// A connection that the server closes while it is idle is replaced; this
// repeats nothing and is no failure.
func TestIdleConnectionsThatWereClosedAreReplaced(t *testing.T) {
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
	// A few meet the very moment of the closing, more of them on a busy machine;
	// that is the server's doing here.
	require.Less(t, result.Failed, result.Reconnects, result.Failures)
}

// A connection that the server closes while it is idle is closed by the client
// at once and not at its next use, when the server may be gone.
func TestIdleConnectionsAreClosedWithTheServer(t *testing.T) {
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
	// These come back to their connections after an hour.
	l := load.Start(load.Config{Run: "r", Source: "s", Tags: at, Articles: at, Mix: load.Mix{Slowest: cap(answered)}, Window: 10 * time.Millisecond})
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

// After a nudge idle connections speak, and the slowest uploads begin.
func TestNudge(t *testing.T) {
	b, at := serve(t, nil)
	run(at, load.Mix{Idle: 20, Slowest: 5}, func(l *load.Load) {
		before := l.Count().Requests
		l.Nudge()
		until(t, l, func(c load.Count) bool { return c.Requests > before+5 })
	})
	defer b.still()()
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
