package changefeed

import "sync"

// Broadcaster wakes all goroutines that wait for an event.
type Broadcaster struct {
	mu   sync.Mutex
	next chan struct{}
}

// NewBroadcaster returns a Broadcaster.
func NewBroadcaster() *Broadcaster {
	return &Broadcaster{next: make(chan struct{})}
}

// Next returns a channel that the next Broadcast closes. Call Next before checking
// whether there is something to wait for; otherwise a Broadcast between the check
// and the call is missed.
func (b *Broadcaster) Next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next
}

// Broadcast wakes all waiting goroutines.
func (b *Broadcaster) Broadcast() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.next)
	b.next = make(chan struct{})
}
