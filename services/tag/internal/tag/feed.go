package tag

import "sync"

// Kinds of changes. Put carries the whole tag, for creation and update alike, so
// applying it twice does no harm.
const (
	Put    Kind = "put"
	Delete Kind = "delete"
)

// Kind says what a change did.
type Kind string

// Change is an entry of the feed.
type Change struct {
	// Sequence numbers the changes from 1, without gaps, in the order of their
	// commits.
	Sequence uint64
	TagID    uint64
	Kind     Kind
	Name     string
	State    State
}

// Changes is a part of the feed.
type Changes struct {
	// Epoch identifies the feed; offsets of one epoch mean nothing in another.
	Epoch   string
	Changes []Change
	// Last is the sequence of the newest change of the feed.
	Last uint64
}

// Snapshot holds all tags that are not deleted as of the offset Sequence.
type Snapshot struct {
	Epoch    string
	Sequence uint64
	Tags     []Tag
}

// Broadcaster wakes all goroutines that wait for a change.
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
