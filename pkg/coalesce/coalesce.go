// Package coalesce lets reads that wait at the same time share a query, without
// answers that are stale.
package coalesce

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Causes of the errcode.Unavailable errors of Get.
var (
	// ErrFull means that as many calls or keys as Config allows wait already.
	ErrFull = errors.New("too many reads are waiting")
	// ErrTimeout means that the call has waited for Config.Timeout.
	ErrTimeout = errors.New("the read has waited too long for others")
)

var errExited = errors.New("the goroutine of the read has exited")

// Config has the limits of a Group. A field that is zero has its default.
type Config struct {
	MaxKeys    int // keys of one read; default 64
	MaxReads   int // reads in progress; default 4
	MaxWaiting int // calls of Get that wait for a read to start; default 1024
	MaxQueued  int // different keys that wait; default MaxWaiting
	// Delay is how long a call waits for the read in progress to end, before another one
	// starts; default 5 ms.
	Delay time.Duration
	// Timeout limits calls that wait for a shared read; 0 means no limit. A call whose
	// read starts at once has the timeout of the ReadFunc.
	Timeout time.Duration
}

// ReadFunc returns the values of one or more different keys, by key. A key that has no
// value is not in the map. An error concerns all keys, so keys that the query can't
// contain must be rejected before Get.
//
// The context ends when nobody waits for the result any longer, and ReadFunc should then
// return soon. It is that of the call of Get if the read started at once; otherwise it
// has neither values, such as a trace, nor a deadline.
type ReadFunc[K comparable, V any] func(ctx context.Context, keys []K) (map[K]V, error)

// A Group shares reads among concurrent calls of Get. A call starts a read at once if
// none is in progress. Otherwise it waits until one ends; then one read gets the keys of all
// calls that wait, the oldest first, up to Config.MaxKeys. A key that several calls wait for
// is in it once. Few large reads cost less than many small ones, so others start meanwhile
// only if Config.MaxKeys keys wait, or a call has waited for Config.Delay; at most
// Config.MaxReads are in progress.
//
// A call never gets the result of a read that started before the call. So Get is
// linearizable if the ReadFunc is: it returns what was written before the call.
//
// Keys must be equal if their reads are, so they should not contain pointers. If
// different keys can't share a query, as the parameters of lists can't, MaxKeys is 1. A call
// then starts a read at once unless its key is being read or MaxReads are in progress.
//
// Values are shared and must not be modified. A value can be a pointer to an object that
// has a Memo: then all calls that share the value share what is computed from it.
type Group[K comparable, V any] struct {
	config Config
	read   ReadFunc[K, V]

	mu      sync.Mutex
	reads   int                // in progress
	waiting int                // calls that wait for the keys in queue
	queue   []*entry[K, V]     // keys to read, the oldest first; empty while reads == 0
	byKey   map[K]*entry[K, V] // the entries of queue
	reading map[K]int          // reads in progress of a key
}

// An entry is a key that at least one call waits for.
type entry[K comparable, V any] struct {
	key   K
	calls int           // guarded by Group.mu
	batch *batch[K, V]  // guarded by Group.mu; nil while in the queue
	done  chan struct{} // closed when the fields below are set
	value V
	found bool
	err   error
}

// A batch is the entries of one read.
type batch[K comparable, V any] struct {
	entries []*entry[K, V]
	calls   int // guarded by Group.mu
	cancel  context.CancelFunc
}

// New returns a Group that reads by the given function.
func New[K comparable, V any](config Config, read ReadFunc[K, V]) *Group[K, V] {
	return &Group[K, V]{
		config: Config{
			MaxKeys:    cmp.Or(config.MaxKeys, 64),
			MaxReads:   cmp.Or(config.MaxReads, 4),
			MaxWaiting: cmp.Or(config.MaxWaiting, 1024),
			MaxQueued:  cmp.Or(config.MaxQueued, config.MaxWaiting, 1024),
			Delay:      cmp.Or(config.Delay, 5*time.Millisecond),
			Timeout:    config.Timeout,
		},
		read:  read,
		byKey: map[K]*entry[K, V]{}, reading: map[K]int{},
	}
}

// NewSingle returns a Group that reads one key at a time, which always has a value, such
// as the parameters of a list.
func NewSingle[K comparable, V any](config Config, read func(ctx context.Context, key K) (V, error)) *Group[K, V] {
	config.MaxKeys = 1
	return New(config, func(ctx context.Context, keys []K) (map[K]V, error) {
		value, err := read(ctx, keys[0])
		return map[K]V{keys[0]: value}, err
	})
}

// Get returns the value of the key, and reports whether there is one. If ctx ends first,
// it returns the error of ctx, and the read goes on for others. An error or a panic of
// the read is returned to all calls that share it. If too many calls or keys wait, Get returns an
// errcode.Unavailable error at once, and after Config.Timeout another one.
func (g *Group[K, V]) Get(ctx context.Context, key K) (value V, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return value, false, err
	}
	e, err := g.enter(key)
	if err != nil {
		return value, false, err
	}
	if e == nil {
		return g.readAlone(ctx, key)
	}
	return g.wait(ctx, e)
}

// wait returns the result of the entry's read.
func (g *Group[K, V]) wait(ctx context.Context, e *entry[K, V]) (value V, found bool, err error) {
	timer := time.NewTimer(g.config.Delay)
	defer timer.Stop()
	for delayed := false; ; delayed = true {
		select {
		case <-e.done:
			return e.value, e.found, e.err
		case <-ctx.Done():
			g.leave(e)
			return value, false, ctx.Err()
		case <-timer.C:
		}
		if delayed {
			g.leave(e)
			return value, false, errcode.NewUnavailable(ErrTimeout)
		}
		g.delayed(e)
		if g.config.Timeout > 0 {
			timer.Reset(g.config.Timeout - g.config.Delay)
		}
	}
}

// enter returns the entry to wait for, or nil if the call must readAlone.
func (g *Group[K, V]) enter(key K) (*entry[K, V], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reads == 0 || g.config.MaxKeys == 1 && g.reads < g.config.MaxReads && g.reading[key] == 0 {
		g.reads++
		g.reading[key]++
		return nil, nil
	}
	if g.waiting >= g.config.MaxWaiting {
		return nil, errcode.NewUnavailable(ErrFull)
	}
	e, ok := g.byKey[key]
	if !ok {
		if len(g.queue) >= g.config.MaxQueued {
			return nil, errcode.NewUnavailable(ErrFull)
		}
		e = &entry[K, V]{key: key, done: make(chan struct{})}
		g.byKey[key] = e
		g.queue = append(g.queue, e)
	}
	e.calls++
	g.waiting++
	if g.config.MaxKeys > 1 && len(g.queue) >= g.config.MaxKeys && g.reads < g.config.MaxReads {
		g.start()
	}
	return e, nil
}

// delayed starts a read of the oldest keys if e still waits and fewer than MaxReads are in
// progress.
func (g *Group[K, V]) delayed(e *entry[K, V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.batch == nil && g.reads < g.config.MaxReads {
		g.start()
	}
}

// Waiting returns the number of calls of Get that wait for a read to start.
func (g *Group[K, V]) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.waiting
}

// leave ends the wait of a call. A key that nobody waits for is not read; a read that
// nobody waits for is canceled.
func (g *Group[K, V]) leave(e *entry[K, V]) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e.calls--
	if e.batch != nil {
		if e.batch.calls--; e.batch.calls == 0 {
			e.batch.cancel()
		}
		return
	}
	g.waiting--
	if e.calls == 0 {
		delete(g.byKey, e.key)
		i := slices.Index(g.queue, e)
		g.queue = slices.Delete(g.queue, i, i+1)
	}
}

// readAlone reads for one call, in its goroutine and under its context. That is cheaper
// than a goroutine, and no other call can join.
func (g *Group[K, V]) readAlone(ctx context.Context, key K) (value V, found bool, err error) {
	defer g.next(key)
	values, err := g.callRead(ctx, []K{key})
	value, found = values[key]
	return value, found, err
}

// next ends a read of the keys, and starts another one if calls wait.
func (g *Group[K, V]) next(keys ...K) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reads--
	for _, key := range keys {
		if g.reading[key]--; g.reading[key] == 0 {
			delete(g.reading, key)
		}
	}
	if len(g.queue) > 0 {
		g.start()
	}
}

// start starts a read of the oldest keys in the queue, which has some. g.mu is locked.
func (g *Group[K, V]) start() {
	g.reads++
	n := min(len(g.queue), g.config.MaxKeys)
	ctx, cancel := context.WithCancel(context.Background()) // #nosec G118 -- readBatch calls cancel
	b := &batch[K, V]{entries: slices.Clone(g.queue[:n]), cancel: cancel}
	g.queue = slices.Delete(g.queue, 0, n)
	for _, e := range b.entries {
		delete(g.byKey, e.key) // later calls must not join
		g.reading[e.key]++
		e.batch = b
		b.calls += e.calls
	}
	g.waiting -= b.calls
	go g.readBatch(ctx, b)
}

// readBatch reads the keys of the batch and passes on the result.
func (g *Group[K, V]) readBatch(ctx context.Context, b *batch[K, V]) {
	keys := make([]K, len(b.entries))
	for i, e := range b.entries {
		keys[i] = e.key
	}
	var values map[K]V
	err := errExited // after runtime.Goexit, which runs only the deferred function
	defer func() {
		b.cancel()
		g.next(keys...)
		for _, e := range b.entries {
			e.value, e.found = values[e.key]
			e.err = err
			close(e.done)
		}
	}()
	values, err = g.callRead(ctx, keys)
}

// callRead calls read. A panic becomes an error with its stack.
func (g *Group[K, V]) callRead(ctx context.Context, keys []K) (values map[K]V, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			values, err = nil, fmt.Errorf("the read panicked: %v\n%s", cause, debug.Stack())
		}
	}()
	if values, err = g.read(ctx, keys); err != nil {
		return nil, err
	}
	return values, nil
}
