package tag

import "sync"

// Kinds of changes. A put carries the whole tag, so applying it twice does no
// harm and creation needs no kind of its own.
const (
	Put    Kind = "put"
	Delete Kind = "delete"
)

// Kind says what a change did.
type Kind string

// Change is one step of the feed.
type Change struct {
	// Sequence numbers the changes 1, 2, 3… without gaps, in the order of their
	// commits.
	Sequence uint64
	TagID    uint64
	Kind     Kind
	Name     string
	State    State
}

// Changes is a stretch of the feed.
type Changes struct {
	// Epoch names the feed; positions of one epoch mean nothing in another.
	Epoch   string
	Changes []Change
	// Last is the newest position there is, at or behind the last change.
	Last uint64
}

// Snapshot is every tag that is not deleted as of the position Sequence.
type Snapshot struct {
	Epoch    string
	Sequence uint64
	Tags     []Tag
}

// Broadcaster wakes everyone who waits for a change.
type Broadcaster struct {
	mu   sync.Mutex
	rung chan struct{}
}

// NewBroadcaster returns a bell that nobody has rung.
func NewBroadcaster() *Broadcaster {
	return &Broadcaster{rung: make(chan struct{})}
}

// Next returns a channel that the next KeySet closes. Take it before looking for
// what you would wait for, or a key set in between is missed.
func (b *Broadcaster) Next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rung
}

// KeySet wakes all who wait.
func (b *Broadcaster) Broadcast() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.rung)
	b.rung = make(chan struct{})
}
