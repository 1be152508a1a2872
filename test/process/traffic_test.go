package process_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/test/process"
)

// endpoints are the addresses for new connections. Like in a cluster, removing an address
// does not close its connections.
type endpoints struct {
	mu    sync.Mutex
	addrs []string
}

func (e *endpoints) add(addr string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.addrs = append(e.addrs, addr)
}

func (e *endpoints) remove(addr string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.addrs = slices.DeleteFunc(e.addrs, func(a string) bool { return a == addr })
}

func (e *endpoints) pick() (addr string, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.addrs) == 0 {
		return "", false
	}
	return e.addrs[rand.N(len(e.addrs))], true
}

// traffic is a group of clients that never retry a request.
type traffic struct {
	endpoints
	// drain is how long an endpoint must serve after SIGTERM.
	drain time.Duration
	// maxPause is how long a client may be silent on a connection, which a process that
	// is replaced may close then; 0 for no maximum.
	maxPause time.Duration
	path     string
	body     func(name string) any

	answered atomic.Int64
	late     atomic.Int64 // requests that failed after more than maxPause
	clients  sync.WaitGroup
	over     chan struct{}

	mu    sync.Mutex
	sent  map[string]bool
	acked map[uint64]string
	until map[string]time.Time // end of the drain by endpoint
	lost  []error
}

func newTraffic(path string, body func(name string) any) *traffic {
	return &traffic{
		path: path, body: body, drain: drainDelay, over: make(chan struct{}),
		sent: map[string]bool{}, acked: map[uint64]string{}, until: map[string]time.Time{},
	}
}

// begin starts clients with persistent connections and random pauses between requests.
func (tr *traffic) begin(kind string, clients int, pause time.Duration) {
	for id := range clients {
		tr.clients.Go(func() { tr.client(fmt.Sprintf("%s %d", kind, id), pause, false) })
	}
}

// beginSilent starts clients that open a connection for each request, and are silent on
// it before they send that.
func (tr *traffic) beginSilent(clients int, silence time.Duration) {
	for id := range clients {
		tr.clients.Go(func() { tr.client(fmt.Sprintf("silent %d", id), silence, true) })
	}
}

func (tr *traffic) client(name string, pause time.Duration, silent bool) {
	var conn *process.Conn
	var used time.Time // since when the client may have been silent
	defer func() {
		if conn != nil {
			_ = conn.Close()
		}
	}()
	for n := 0; silent || !tr.wait(rand.N(pause)); n++ {
		if conn == nil {
			addr, ok := tr.pick()
			if !ok {
				return
			}
			used = time.Now()
			var err error
			if conn, err = process.Dial(addr); err != nil {
				tr.lose(addr, time.Now(), err)
				continue
			}
		}
		if silent && tr.wait(rand.N(pause)) {
			return
		}
		begun := time.Now()
		closing, sent, err := tr.post(conn, fmt.Sprintf("%s %d", name, n))
		switch {
		case err == nil:
		case tr.maxPause > 0 && sent.Sub(used) >= tr.maxPause:
			tr.late.Add(1)
		default:
			tr.lose(conn.RemoteAddr().String(), sent, fmt.Errorf("%s %d: %w", name, n, err))
		}
		used = begun
		if err != nil || closing || silent {
			_ = conn.Close()
			conn = nil
		}
	}
}

// wait pauses, and reports whether the traffic has ended.
func (tr *traffic) wait(pause time.Duration) bool {
	select {
	case <-tr.over:
		return true
	case <-time.After(pause):
		return false
	}
}

// post sends a POST. It also returns when the request was sent.
func (tr *traffic) post(conn *process.Conn, name string) (closing bool, sent time.Time, err error) {
	tr.mu.Lock()
	tr.sent[name] = true
	tr.mu.Unlock()
	body, err := json.Marshal(tr.body(name))
	if err == nil {
		err = conn.Send("POST", tr.path, body, len(body))
	}
	sent = time.Now()
	if err != nil {
		return true, sent, err
	}
	answer, err := conn.Receive("POST")
	if err == nil && answer.Status != 201 {
		err = fmt.Errorf("status %d: %s", answer.Status, answer.Body)
	}
	if err == nil {
		tr.acknowledge(name, answer)
	}
	return answer.Closing, sent, err
}

func (tr *traffic) acknowledge(name string, answer process.Answer) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.acked[answer.ID()] = name
	tr.answered.Add(1)
}

// lose records a failed request, unless it was sent after the drain of the endpoint,
// because the client was too slow.
func (tr *traffic) lose(addr string, sent time.Time, err error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if until, stopping := tr.until[addr]; !stopping || sent.Before(until) {
		tr.lost = append(tr.lost, err)
	}
}

// awaitMore waits until this number of further requests has succeeded.
func (tr *traffic) awaitMore(t *testing.T, requests int64) {
	t.Helper()
	until := tr.answered.Load() + requests
	process.Await(t, "traffic", func() bool { return tr.answered.Load() >= until })
}

func (tr *traffic) end() {
	close(tr.over)
	tr.clients.Wait()
}

// stop stops a process like a cluster does: first the signal, and a moment later no new
// connections. It returns the exit code.
func (tr *traffic) stop(t *testing.T, p *process.Process) int {
	t.Helper()
	addr := p.Addr(t)
	if tr.drain > 0 {
		tr.mu.Lock()
		tr.until[addr] = time.Now().Add(tr.drain)
		tr.mu.Unlock()
	}
	p.Signal(t, sigterm)
	time.AfterFunc(200*time.Millisecond, func() { tr.remove(addr) })
	return p.Exit(t)
}

// named is a row with its name.
type named struct {
	ID   uint64
	Name string
}

// requireStored requires that the table contains every acknowledged row once, and only
// rows that were sent.
func (tr *traffic) requireStored(t *testing.T, cfg database.Config, query string) {
	t.Helper()
	stored := rows[named](t, cfg, query)
	byID, times := map[uint64]string{}, map[string]int{}
	for _, row := range stored {
		byID[row.ID] = row.Name
		times[row.Name]++
		require.True(t, tr.sent[row.Name], "%q was never sent", row.Name)
		require.Equal(t, 1, times[row.Name], "%q exists more than once", row.Name)
	}
	for id, name := range tr.acked {
		require.Equal(t, name, byID[id], "an acknowledged write is lost")
	}
}
