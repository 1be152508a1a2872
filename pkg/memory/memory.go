// Package memory bounds the memory that requests hold at the same time.
//
// A [Budget] has a number of bytes. Who needs memory reserves it first. One client may
// hold half of a budget, and an eighth is kept for small reservations. What does not fit
// waits shortly. Meanwhile, reservations that depend on a slow client, because their
// data is being received from it or sent to it, are cut off, the oldest transfer first.
// So slow clients can't keep others waiting.
package memory

import (
	"container/list"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// slowAfter is how long a transfer may take while others wait for its memory.
	slowAfter = 2 * time.Second
	// maxWait is how long Reserve waits. It is longer than slowAfter, so that waiting
	// helps.
	maxWait = 3 * time.Second
	// maxWaiters is the number of reservations that wait at once.
	maxWaiters = 256
	// smallSize is the maximum size in bytes of a reservation that may use the whole
	// budget. Larger ones leave an eighth of it, by smallShare.
	smallSize  = 256 << 10
	smallShare = 8
)

// ErrInUse is returned if there is too little memory.
var ErrInUse = errors.New("the memory for this is in use by other requests")

// Config configures a Budget.
type Config struct {
	// Use is what the memory is for, the label "use" of the metrics.
	Use string
	// Total is the number of bytes.
	Total int64
}

// ClientShare returns the part of total bytes that one client may hold.
func ClientShare(total int64) int64 { return total / 2 }

// Budget is an amount of memory that many clients share. It is safe for concurrent use.
type Budget struct {
	use   string
	total int64

	mu      sync.Mutex
	free    int64 // negative if Resize has exceeded the total
	clients map[string]int64
	waiters []*waiter
	// transfers has the reservations that depend on their clients now, the oldest
	// transfer first.
	transfers    *list.List
	refused, cut uint64
}

// New returns a Budget. Register it for its metrics.
func New(cfg Config) *Budget {
	return &Budget{use: cfg.Use, total: cfg.Total, free: cfg.Total, clients: map[string]int64{}, transfers: list.New()}
}

// Reservation is a part of a Budget. It must be released. Its methods are safe for
// concurrent use.
type Reservation struct {
	budget *Budget
	client string
	cut    func()
	isCut  atomic.Bool

	// budget.mu guards these. transfer is nil if no transfer is going on.
	bytes    int64
	transfer *list.Element
	began    time.Time
}

// waiter is a call of Reserve.
type waiter struct {
	*Reservation
	granted chan struct{} // is closed, also if it is refused
	refused bool
	freed   int64 // what it has cut off
}

// Reserve returns a reservation for a client. If there is too little memory, it waits
// for up to 3 s, and then returns ErrInUse, or the error of ctx if that ends first. More
// than ClientShare is reduced to that. cut ends the transfer of the reservation; see
// StartTransfer. It must not call methods of the budget or of its reservations.
func (b *Budget) Reserve(ctx context.Context, client string, bytes int64, cut func()) (*Reservation, error) {
	r := &Reservation{budget: b, client: client, cut: cut, bytes: min(bytes, ClientShare(b.total))}
	if b.take(r) {
		return r, nil
	}
	return b.await(ctx, r)
}

// take reserves the memory of r if nobody waits and enough is free. It reports whether it
// did.
func (b *Budget) take(r *Reservation) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiters) > 0 || !b.fits(r) {
		return false
	}
	b.add(r, r.bytes)
	return true
}

func (b *Budget) await(ctx context.Context, r *Reservation) (*Reservation, error) {
	w := &waiter{Reservation: r, granted: make(chan struct{})}
	b.enqueue(w)
	timeout := time.NewTimer(maxWait)
	defer timeout.Stop()
	for {
		var err error
		slow := time.NewTimer(b.cutSlow(w))
		select {
		case <-w.granted:
			slow.Stop()
			if w.refused {
				return nil, ErrInUse
			}
			return r, nil
		case <-slow.C:
		case <-timeout.C:
			err = ErrInUse
		case <-ctx.Done():
			err = ctx.Err()
		}
		slow.Stop()
		if err != nil {
			return b.withdraw(w, err)
		}
	}
}

// enqueue gives w its memory or lets it wait. If too many wait, the client that has most
// of them waiting loses its last one, so that one client can't take the places of others.
func (b *Budget) enqueue(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiters = append(b.waiters, w)
	b.grant()
	if len(b.waiters) <= maxWaiters {
		return
	}
	counts, last := map[string]int{}, 0
	for _, other := range b.waiters {
		counts[other.client]++
	}
	for i, other := range b.waiters {
		if counts[other.client] >= counts[b.waiters[last].client] {
			last = i
		}
	}
	refused := b.waiters[last]
	b.waiters = slices.Delete(b.waiters, last, last+1)
	b.refused++
	refused.refused = true
	close(refused.granted)
}

// withdraw ends the waiting of w because of err, unless it has its memory, or was
// refused, already.
func (b *Budget) withdraw(w *waiter, err error) (*Reservation, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.Index(b.waiters, w)
	if at < 0 && w.refused {
		return nil, ErrInUse
	}
	if at < 0 {
		return w.Reservation, nil
	}
	b.waiters = slices.Delete(b.waiters, at, at+1)
	if errors.Is(err, ErrInUse) {
		b.refused++
	}
	b.grant() // to those behind it
	return nil, err
}

// grant gives memory to waiters in their order. One that has to wait lets pass only
// those that need less than it could use: other clients if its own has reached its
// share, and otherwise small reservations. b.mu must be locked.
func (b *Budget) grant() {
	full := map[string]bool{}
	most := int64(math.MaxInt64)
	b.waiters = slices.DeleteFunc(b.waiters, func(w *waiter) bool {
		switch {
		case full[w.client] || w.bytes > most:
			return false
		case b.fits(w.Reservation):
			b.add(w.Reservation, w.bytes)
			close(w.granted)
			return true
		case b.exceedsShare(w.Reservation):
			full[w.client] = true
		case b.isLarge(w.Reservation):
			most = smallSize
		default:
			most = 0
		}
		return false
	})
}

// fits reports whether there is enough memory for r. b.mu must be locked.
func (b *Budget) fits(r *Reservation) bool {
	return !b.exceedsShare(r) && !b.isLarge(r) && r.bytes <= b.free
}

func (b *Budget) exceedsShare(r *Reservation) bool {
	return b.clients[r.client]+r.bytes > ClientShare(b.total)
}

// isLarge reports whether r needs what is left for small reservations.
func (b *Budget) isLarge(r *Reservation) bool {
	return r.bytes > smallSize && r.bytes > b.free-b.total/smallShare
}

// add adds bytes to what the client of r holds. b.mu must be locked.
func (b *Budget) add(r *Reservation, bytes int64) {
	b.free -= bytes
	if b.clients[r.client] += bytes; b.clients[r.client] == 0 {
		delete(b.clients, r.client)
	}
}

// cutSlow cuts off slow transfers, until as much as w needs becomes free by that. If
// w's client has reached its share, these are its own. cutSlow returns the time after
// which it must be called again.
func (b *Budget) cutSlow(w *waiter) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.waiters, w) {
		return slowAfter // it has its memory
	}
	own := b.exceedsShare(w.Reservation)
	for at := b.transfers.Front(); at != nil && w.freed < w.bytes; {
		r, next := at.Value.(*Reservation), at.Next()
		if early := slowAfter - time.Since(r.began); early > 0 {
			return early
		}
		if !own || r.client == w.client {
			w.freed += r.bytes
			b.cut++
			r.endTransfer()
			r.isCut.Store(true)
			r.cut()
		}
		at = next
	}
	return slowAfter
}

// Reserved returns the number of bytes that are reserved.
func (b *Budget) Reserved() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total - b.free
}

// StartTransfer says that the reservation depends on its client from now on. It may be
// cut off until EndTransfer or Release is called. Further calls have no effect.
func (r *Reservation) StartTransfer() {
	r.budget.mu.Lock()
	defer r.budget.mu.Unlock()
	if r.transfer == nil && !r.isCut.Load() {
		r.began, r.transfer = time.Now(), r.budget.transfers.PushBack(r)
	}
}

// EndTransfer says that the reservation does not depend on its client any more. It may
// be called more than once, and without a transfer.
func (r *Reservation) EndTransfer() {
	r.budget.mu.Lock()
	defer r.budget.mu.Unlock()
	r.endTransfer()
}

func (r *Reservation) endTransfer() {
	if r.transfer != nil {
		r.budget.transfers.Remove(r.transfer)
		r.transfer = nil
	}
}

// IsCut reports whether the transfer was cut off. It does so before cut is called: who
// undoes what cut does, such as setting a deadline, must ask afterwards.
func (r *Reservation) IsCut() bool { return r.isCut.Load() }

// Resize sets the size to what is really held. It never waits: what is held already
// is counted, even if it exceeds the budget.
func (r *Reservation) Resize(bytes int64) {
	r.budget.mu.Lock()
	defer r.budget.mu.Unlock()
	r.resize(bytes)
}

func (r *Reservation) resize(bytes int64) {
	r.budget.add(r, bytes-r.bytes)
	r.bytes = bytes
	r.budget.grant()
}

// Release returns the memory. It may be called more than once.
func (r *Reservation) Release() {
	r.budget.mu.Lock()
	defer r.budget.mu.Unlock()
	r.endTransfer()
	r.resize(0)
}
