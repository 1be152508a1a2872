package database

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

const (
	// Reads leave 1/keptShare of the connections to writes, and writes leave as much to
	// reads.
	keptShare = 5
	// expensiveShare is the divisor of MaxOpenConns that gives the connections of
	// expensive reads.
	expensiveShare = 8
	// expensiveQueue is the number of expensive reads that wait for each of these
	// connections.
	expensiveQueue = 2
	// busyRetryAfter is when an expensive read that was rejected may be tried again.
	busyRetryAfter = time.Second
)

var errBusy = errors.New("too many expensive reads wait for the database")

// workload is the share of the pool that a read counts against.
type workload int

const (
	read workload = iota
	expensiveRead
	readForWrite
)

// bulkheads divide the pool, so that no workload can take all of it.
type bulkheads struct {
	reads, writes, expensive *bulkhead
	rejected                 prometheus.Counter
}

func newBulkheads(conns int) *bulkheads {
	most := max(1, conns-max(1, conns/keptShare))
	expensive := max(1, conns/expensiveShare)
	return &bulkheads{
		reads:     newBulkhead(most, -1),
		writes:    newBulkhead(most, -1),
		expensive: newBulkhead(expensive, expensive*expensiveQueue),
		rejected: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "achilles_database_rejected_reads_total",
			Help: "Expensive reads that were rejected with 503, because too many of them waited for the database.",
		}),
	}
}

// run runs an operation when there is room for it.
func (b *bulkheads) run(ctx context.Context, name string, of workload, operation func(context.Context) error) error {
	leave, err := b.enter(ctx, name, of)
	if err != nil {
		return err
	}
	defer leave()
	return operation(ctx)
}

// enter waits for room for an operation. The caller must call leave, unless there is an
// error.
func (b *bulkheads) enter(ctx context.Context, operation string, of workload) (leave func(), err error) {
	switch {
	case operation == opTransaction, of == readForWrite:
		return b.writes.leave, b.writes.enter(ctx)
	case operation == opPing:
		return func() {}, nil
	case of == read:
		return b.reads.leave, b.reads.enter(ctx)
	}
	if err := b.expensive.enter(ctx); err != nil {
		if errors.Is(err, errBusy) {
			b.rejected.Inc()
		}
		return nil, err
	}
	if err := b.reads.enter(ctx); err != nil {
		b.expensive.leave()
		return nil, err
	}
	return func() { b.reads.leave(); b.expensive.leave() }, nil
}

// bulkhead bounds the operations of a workload that run at once.
type bulkhead struct {
	slots   chan struct{}
	waiting atomic.Int32
	queue   int // maximum of waiting; negative for no maximum
}

func newBulkhead(size, queue int) *bulkhead {
	return &bulkhead{slots: make(chan struct{}, size), queue: queue}
}

// enter waits for room until ctx ends. If too many wait already, it returns an error
// with which clients get 503 at once.
func (b *bulkhead) enter(ctx context.Context) error {
	select {
	case b.slots <- struct{}{}:
		return nil
	default:
	}
	waiting := b.waiting.Add(1)
	defer b.waiting.Add(-1)
	if b.queue >= 0 && int(waiting) > b.queue {
		return &errcode.Error{Code: errcode.Unavailable, RetryAfter: busyRetryAfter, Cause: errBusy}
	}
	select {
	case b.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *bulkhead) leave() { <-b.slots }

// CountRejected counts an expensive read that the caller has rejected.
func (db *DB) CountRejected() { db.bulkheads.rejected.Inc() }

// Expensive returns the same database for reads whose cost grows with the data, such as
// a search. They have an eighth of the pool and a short queue. If that is full, they
// return errcode.Unavailable at once.
func (db *DB) Expensive() *DB {
	other := *db
	other.reads = expensiveRead
	return &other
}

// ForWrites returns the same database for reads that a write needs before its transaction.
// They have the room of writes, so that other reads can't starve them.
func (db *DB) ForWrites() *DB {
	other := *db
	other.reads = readForWrite
	return &other
}
