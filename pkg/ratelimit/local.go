package ratelimit

import (
	"container/heap"
	"sync"
	"time"
)

// maxClients is the maximum number of clients in memory, about 10 MB.
const maxClients = 1 << 16

// local counts the requests of this process.
//
// It removes clients whose bursts are fully available again, and keeps at most size
// others. If there are more, it removes the client with the earliest fullAt. So a
// flood of new addresses displaces its own entries. A client that has reached its
// limit is only removed after size other clients have used more than it has.
type local struct {
	begin time.Time
	size  int

	mu      sync.Mutex
	clients map[string]*client
	queue   queue
}

func newLocal(size int) *local {
	return &local{begin: time.Now(), size: size, clients: make(map[string]*client)}
}

// take decides on a request of the client with this key.
func (l *local) take(key string, q quota) decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.begin)
	existing := l.clients[key]
	if existing == nil {
		decision, fullAt := q.take(0, now)
		l.add(&client{key: key, fullAt: fullAt}, now)
		return decision
	}
	decision, fullAt := q.take(existing.fullAt, now)
	existing.fullAt = fullAt
	heap.Fix(&l.queue, existing.index)
	return decision
}

// add adds a client and removes up to two expired ones, so that the memory used by a
// flood is freed gradually.
func (l *local) add(c *client, now time.Duration) {
	for range 2 {
		if len(l.queue) > 0 && l.queue[0].fullAt <= now {
			l.removeFirst()
		}
	}
	if len(l.queue) >= l.size {
		l.removeFirst()
	}
	l.clients[c.key] = c
	heap.Push(&l.queue, c)
}

func (l *local) removeFirst() {
	c := heap.Pop(&l.queue).(*client)
	delete(l.clients, c.key)
}

// client is the state of a client. fullAt is relative to local.begin.
type client struct {
	key    string
	fullAt time.Duration
	index  int
}

// queue is a heap of clients, ordered by fullAt.
type queue []*client

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].fullAt < q[j].fullAt }

func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	c := x.(*client)
	c.index = len(*q)
	*q = append(*q, c)
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return c
}
