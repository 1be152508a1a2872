package ratelimit

import (
	"container/heap"
	"sync"
	"time"
)

// maxClients bounds what this process remembers, to some 10 MB.
const maxClients = 1 << 16

// local counts in this process alone.
//
// It need not remember a client whose burst is whole again, and remembers size
// others at most: when there are more, it forgets the one whose burst is whole
// soonest. So a flood of new addresses pushes out its own, and someone who has
// reached the limit would be forgotten only after that many others have used
// more than he has.
type local struct {
	begin time.Time
	size  int

	mu      sync.Mutex
	clients map[string]*client
	soonest queue
}

func newLocal(size int) *local {
	return &local{begin: time.Now(), size: size, clients: make(map[string]*client)}
}

// take judges a request of the client that key stands for.
func (l *local) take(key string, q quota) verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.begin)
	known := l.clients[key]
	if known == nil {
		verdict, whole := q.take(0, now)
		l.remember(&client{key: key, whole: whole}, now)
		return verdict
	}
	verdict, whole := q.take(known.whole, now)
	known.whole = whole
	heap.Fix(&l.soonest, known.index)
	return verdict
}

// remember makes room first. Forgetting two for each that comes lets the
// memory of a flood go again, and no request pays for all of it.
func (l *local) remember(c *client, now time.Duration) {
	for range 2 {
		if len(l.soonest) > 0 && l.soonest[0].whole <= now {
			l.forget()
		}
	}
	if len(l.soonest) >= l.size {
		l.forget()
	}
	l.clients[c.key] = c
	heap.Push(&l.soonest, c)
}

func (l *local) forget() {
	c := heap.Pop(&l.soonest).(*client)
	delete(l.clients, c.key)
}

// client is what is known of a client; whole is counted from local.begin.
type client struct {
	key   string
	whole time.Duration
	index int
}

// queue is a heap of clients, the one whose burst is whole soonest first.
type queue []*client

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].whole < q[j].whole }

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
