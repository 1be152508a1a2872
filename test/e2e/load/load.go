// Package load is the client of the e2e test. Its workers read and write through one
// endpoint per service. They never retry a request without an Idempotency-Key, and keep
// a ledger of all writes.
package load

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/achilles-blog/achilles/test/bench/corpus"
)

// Config configures a load. It is sent to agents as JSON.
type Config struct {
	// Run and Source are prefixes of all names, so that rows in the database
	// identify their source. They must not contain slashes.
	Run, Source string
	Tags        Endpoint
	Articles    Endpoint
	// Resources have workers of their own.
	Resources []Resource
	Mix       Mix
	// Loaded is the number of articles of package corpus that were loaded, with their
	// tags, before the load started. Workers read them, too.
	Loaded int
	// Think is the mean pause of a worker between requests.
	Think time.Duration
	// Token is the token of the workers; see Load.SetToken. Results never contain
	// it.
	Token string
	// Repeat adds an Idempotency-Key to every POST, and repeats it until it
	// succeeds or fails permanently. Without Repeat no request is repeated.
	Repeat bool
	// MaxDuration is the maximum duration of a request in the service. The
	// slowest uploads take most of it.
	MaxDuration time.Duration
	// HeaderTimeout is the service's timeout for the header of a request. Silent
	// workers speak around it and up to four times as late.
	HeaderTimeout time.Duration
}

// Endpoint is the endpoint of a service.
type Endpoint struct {
	Addr string // host:port to connect to
	Host string // for the header Host
}

// Mix is the number of workers of each kind.
type Mix struct {
	// Reused workers keep their connections. Fresh workers open a connection for
	// each request, and read without a token.
	Reused, Fresh int
	// Idle workers leave a connection idle for seconds and then use it again, all
	// of them after every Nudge.
	Idle int
	// Silent workers open connections ahead of their requests.
	Silent int
	// Slow workers send bodies in up to two seconds. Slowest workers take most of
	// MaxDuration, and begin after every Nudge.
	Slow, Slowest int
	// Files workers upload files and download them again, both slowly.
	Files int
	// Resources is the number of workers of each of Config.Resources.
	Resources int
	// Busy workers read their tag on one connection without pauses.
	Busy int
	// H2C workers use cleartext HTTP/2, one request at a time per connection.
	// H2CShared workers share three connections.
	H2C, H2CShared int
}

// Load is a running load.
type Load struct {
	config  Config
	pages   []page      // of lists of the loaded articles
	second  corpus.List // the second page of turnPage
	results *recorder
	cancel  context.CancelFunc
	workers sync.WaitGroup
	conns   atomic.Uint64

	mu       sync.Mutex
	nudge    chan struct{}
	token    string
	readOnly period
}

// Start starts a load.
func Start(config Config) *Load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{config: config, pages: loadedPages(config.Loaded), second: loadedPage(config.Loaded, corpus.RareTag, 2).want, results: newRecorder(config.Source), cancel: cancel, nudge: make(chan struct{}), token: config.Token}
	mix := config.Mix
	l.spawn(ctx, mix.Reused, "reused", (*worker).reused)
	l.spawn(ctx, mix.Fresh, "fresh", (*worker).freshConnections)
	l.spawn(ctx, mix.Idle, "idle", (*worker).idle)
	l.spawnSilent(ctx, mix.Silent)
	l.spawn(ctx, mix.Slow, "slow", (*worker).slow)
	l.spawn(ctx, mix.Slowest, "slowest", (*worker).slowest)
	l.spawn(ctx, mix.Files, "files", (*worker).files)
	l.spawnResources(ctx, mix.Resources)
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

func (l *Load) spawnSilent(ctx context.Context, count int) {
	for n := range count {
		ahead := newWires(l)
		w := newWorker(l, fmt.Sprintf("silent%d", n), ahead)
		l.workers.Go(func() { w.silent(ctx, ahead); ahead.close() })
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

// Nudge announces a disturbance: idle connections are used, and slow uploads begin, in
// the following seconds.
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

// SetToken changes the token of the workers for all following requests.
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

// SetReadOnly says that the services are, or may be, in read-only mode. Then, and in
// requests that began then, they may reject writes.
func (l *Load) SetReadOnly(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readOnly = period{on: on, ended: time.Now()}
}

// mayReject reports whether writes that began at the given time may be rejected.
func (l *Load) mayReject(began time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.readOnly.on || began.Before(l.readOnly.ended)
}

// period is a time of read-only mode. The zero period is over.
type period struct {
	on    bool
	ended time.Time
}

// Count returns the counts so far.
func (l *Load) Count() Count { return l.results.count() }

// Stop waits until every worker has finished its request, including its repetitions, and
// returns the result.
func (l *Load) Stop() Result {
	l.cancel()
	l.workers.Wait()
	return l.results.result()
}
