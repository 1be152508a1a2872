// Package load is the client of the e2e test: many workers that read and write
// through one way into the system, never send anything twice unless they are
// told to and the server can tell, and keep a ledger of every write and of how
// it was answered.
package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Config describes one load. It travels to agents as JSON.
type Config struct {
	// Run and Source begin the name of everything that is written, so that a
	// row in the database tells who sent it. No slashes.
	Run, Source string
	Tags        Endpoint
	Articles    Endpoint
	Mix         Mix
	// Think is the mean pause of a worker between two requests.
	Think time.Duration
	// Token is what the workers show; see Load.SetToken. It is as secret as a
	// password, and in nothing that a load returns.
	Token string
	// Repeat makes every POST carry an Idempotency-Key, and repeats one that was
	// not answered, or not now, until it is: what a client does that wants to
	// get over a crash. Without it nothing is ever sent twice.
	Repeat bool
	// Window is the longest time a request may take in the service under
	// test; the slowest uploads take most of it.
	Window time.Duration
}

// Endpoint is where one of the two services is reached.
type Endpoint struct {
	Addr string // host:port to connect to
	Host string // of the Host header
}

// Mix is the number of workers of each kind.
type Mix struct {
	// Reused workers keep their connections, Fresh ones open one for each
	// request, and read as anybody may: without a token.
	Reused, Fresh int
	// Idle workers are silent on an open connection for seconds and then
	// speak on it again, all of them around every Nudge.
	Idle int
	// Slow workers send bodies over up to two seconds, Slowest ones over most
	// of the window, all of them beginning around every Nudge.
	Slow, Slowest int
	// Busy workers read their tag on one connection without ever pausing.
	Busy int
	// H2C workers speak cleartext HTTP/2, one request at a time on a
	// connection; H2CShared of them share three connections.
	H2C, H2CShared int
}

// Load is a running load.
type Load struct {
	config  Config
	results *recorder
	cancel  context.CancelFunc
	workers sync.WaitGroup
	conns   atomic.Uint64

	mu    sync.Mutex
	nudge chan struct{}
	token string
}

// Start starts all workers of a load.
func Start(config Config) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{config: config, results: newRecorder(config.Source), cancel: cancel, nudge: make(chan struct{}), token: config.Token}
	mix := config.Mix
	l.spawn(ctx, mix.Reused, "reused", (*worker).reused)
	l.spawn(ctx, mix.Fresh, "fresh", (*worker).eachAnew)
	l.spawn(ctx, mix.Idle, "idle", (*worker).idle)
	l.spawn(ctx, mix.Slow, "slow", (*worker).slow)
	l.spawn(ctx, mix.Slowest, "slowest", (*worker).slowest)
	l.spawn(ctx, mix.Busy, "busy", (*worker).busy)
	l.spawnH2C(ctx, mix)
	return l
}

func (l *Load) spawn(ctx context.Context, count int, kind string, run func(*worker, context.Context)) {
	for n := range count {
		w := newWorker(l, fmt.Sprintf("%s%d", kind, n), newWires(l))
		l.workers.Go(func() { run(w, ctx); w.transport.close() })
	}
}

func (l *Load) spawnH2C(ctx context.Context, mix Mix) {
	shared := [3]*streams{}
	for n := range shared {
		shared[n] = newStreams(l)
	}
	for n := range mix.H2C {
		w := newWorker(l, fmt.Sprintf("h2c%d", n), newStreams(l))
		l.workers.Go(func() { w.reused(ctx); w.transport.close() })
	}
	var sharing sync.WaitGroup
	for n := range mix.H2CShared {
		w := newWorker(l, fmt.Sprintf("h2cshared%d", n), shared[n%len(shared)])
		sharing.Go(func() { w.reused(ctx) })
	}
	l.workers.Go(func() {
		sharing.Wait()
		for _, s := range shared {
			s.close()
		}
	})
}

// Nudge tells the load that something is about to happen: idle connections
// speak again and slow uploads begin in the seconds that follow.
func (l *Load) Nudge() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.nudge)
	l.nudge = make(chan struct{})
}

func (l *Load) nudged() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.nudge
}

// SetToken gives the workers another token, for every request from now on.
func (l *Load) SetToken(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.token = token
}

func (l *Load) currentToken() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.token
}

// Count returns what has happened so far.
func (l *Load) Count() Count { return l.results.count() }

// Stop lets every worker finish the request it is at, with Config.Repeat until
// it is answered or given up, and returns what all have seen.
func (l *Load) Stop() Result {
	l.cancel()
	l.workers.Wait()
	return l.results.result()
}
