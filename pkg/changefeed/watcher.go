package changefeed

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

const (
	// clientShare divides WatcherOptions.MaxWaiting: one client may have a quarter of the
	// readers that wait.
	clientShare = 4
	// rereadDelay is the time between two reads of a reader that was woken, but has found no
	// change.
	rereadDelay = 10 * time.Millisecond
)

// Causes of the errcode.Unavailable errors of Poll.
var (
	errTooManyWait     = errors.New("too many readers wait for a change of the feed")
	errTooManyOfClient = errors.New("too many readers of this client wait for a change of the feed")
)

// WatcherOptions are what a Watcher needs. Announce and Draining may be nil.
type WatcherOptions struct {
	// Head returns the number of the newest change.
	Head func(context.Context) (uint64, error)
	// Interval is the time between two calls of Head while readers wait.
	Interval time.Duration
	// Announce notifies the other replicas of a change. It must not block.
	Announce func()
	// Draining ends the wait of all readers when it is closed.
	Draining <-chan struct{}
	// MaxWaiting is the maximum number of readers that wait, a quarter of them of one client;
	// 0 for no maximum.
	MaxWaiting int
}

// A Watcher looks for changes of a feed on behalf of all readers that wait for one, so that
// the database is asked once, however many there are.
type Watcher struct {
	options WatcherOptions
	wake    chan struct{}
	news    *Broadcaster // broadcasts after each look that has found a change, or has failed

	mu       sync.Mutex
	head     uint64
	failures int
	waiting  int
	rejected int
	clients  map[string]int
}

// NewWatcher returns a Watcher. Readers that wait need its Run.
func NewWatcher(options WatcherOptions) *Watcher {
	return &Watcher{options: options, wake: make(chan struct{}, 1), news: NewBroadcaster(), clients: map[string]int{}}
}

// Changed wakes readers after a write, on this and on other replicas. It never blocks.
func (w *Watcher) Changed() {
	w.Broadcast()
	if w.options.Announce != nil {
		w.options.Announce()
	}
}

// Broadcast wakes readers of this replica after a write of another one. It never blocks.
func (w *Watcher) Broadcast() {
	select {
	case w.wake <- struct{}{}:
	default: // the next look has not begun yet
	}
}

// Run looks for changes while readers wait, after each Changed and Broadcast and at the
// interval, until ctx ends. Then it returns nil.
func (w *Watcher) Run(ctx context.Context) error {
	ticker := time.NewTicker(w.options.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-ticker.C:
		}
		if w.Waiting() > 0 {
			w.look(ctx)
		}
	}
}

func (w *Watcher) look(ctx context.Context) {
	head, err := w.options.Head(ctx)
	w.mu.Lock()
	changed := head != w.head
	if err != nil {
		w.failures++ // the readers read, and report the error if it persists
	} else {
		w.head = head
	}
	w.mu.Unlock()
	if err != nil || changed {
		w.news.Broadcast()
	}
}

// Waiting returns the number of readers that wait.
func (w *Watcher) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waiting
}

// Rejected returns the number of readers that were rejected, because too many waited.
func (w *Watcher) Rejected() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rejected
}

// Request is what a reader asks for.
type Request struct {
	// After is the number of the last change that the reader has.
	After uint64
	// Wait is how long the reader waits for a change, at most.
	Wait time.Duration
	// Client identifies the client that the reader belongs to.
	Client string
	// OnWait, if not nil, is called before the reader waits.
	OnWait func()
}

// Poll returns what read returns. If that has no changes, Poll waits for one and reads
// again. A drain ends the wait, so that the reader goes on with another replica. If too many
// readers wait, the error is an errcode.Unavailable error.
func Poll[E any](ctx context.Context, w *Watcher, request Request, read func(context.Context) (Changes[E], error)) (Changes[E], error) {
	found, err := read(ctx)
	if err != nil || len(found.Changes) > 0 || request.Wait <= 0 {
		return found, err
	}
	failures, err := w.enter(request.Client)
	if err != nil {
		return found, err
	}
	defer w.leave(request.Client)
	if request.OnWait != nil {
		request.OnWait()
	}
	deadline := time.NewTimer(request.Wait)
	defer deadline.Stop()
	for {
		over := w.await(ctx, request.After, failures, deadline.C)
		found, err = read(ctx)
		if err != nil || len(found.Changes) > 0 || over {
			return found, err
		}
		failures = w.failureCount()
		sleep(ctx, rereadDelay)
	}
}

// enter counts a reader that waits. It returns the number of failures so far.
func (w *Watcher) enter(client string) (failures int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.bound(client); err != nil {
		w.rejected++
		return 0, errcode.NewUnavailable(err)
	}
	w.waiting++
	w.clients[client]++
	if w.waiting == 1 {
		w.Broadcast() // there may have been changes while nobody waited
	}
	return w.failures, nil
}

// bound returns an error if no further reader of the client may wait.
func (w *Watcher) bound(client string) error {
	switch most := w.options.MaxWaiting; {
	case most > 0 && w.waiting >= most:
		return errTooManyWait
	case most > 0 && w.clients[client] >= max(1, most/clientShare):
		return errTooManyOfClient
	}
	return nil
}

func (w *Watcher) leave(client string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting--
	if w.clients[client]--; w.clients[client] == 0 {
		delete(w.clients, client)
	}
}

func (w *Watcher) failureCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failures
}

// await waits until there is a change after a number, or the number of failures is no longer
// the given one. It reports whether the reader must not wait any longer.
func (w *Watcher) await(ctx context.Context, after uint64, failures int, deadline <-chan time.Time) (over bool) {
	for {
		next := w.news.Next()
		w.mu.Lock()
		arrived := w.head > after || w.failures != failures
		w.mu.Unlock()
		if arrived {
			return false
		}
		select {
		case <-next:
		case <-deadline:
			return true
		case <-w.options.Draining:
			return true
		case <-ctx.Done():
			return true
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
