package ratelimit

import (
	"container/heap"
	"sync"
	"time"
)

const (
	// maxClients is the maximum number of clients in memory, about 12 MB.
	maxClients = 1 << 16
	// maxBudgets is the number of budgets that a request counts against at most.
	maxBudgets = 2
	// urgentShare is the divisor of a burst that gives what a replica may have spent
	// of it when it reports that at once.
	urgentShare = 20
)

// local counts the requests of this process and, as far as they are known, those of
// other replicas.
//
// It removes clients whose bursts are fully available again, and keeps at most size
// others. If there are more, it removes the client with the earliest fullAt. So a
// flood of new addresses displaces its own entries. A client that has reached its
// limit is only removed after size other clients have used more than it has.
type local struct {
	begin time.Time
	size  int
	// report is called with mu held when something was spent. Nil if nobody wants
	// to know.
	report func(urgent bool)

	mu      sync.Mutex
	clients map[key]*client
	queue   queue
	spent   []*client // those whose unreported is not 0
}

func newLocal(size int) *local {
	return &local{begin: time.Now(), size: size, clients: make(map[key]*client)}
}

// take decides on a request that counts against these budgets, maxBudgets at most. It
// returns the tightest decision. A rejected request counts against none of them.
func (l *local) take(budgets ...budget) decision {
	return l.decide(1, quota.take, budgets)
}

// takeAll decides on n more requests, as quota.takeAll does. They count against these budgets.
func (l *local) takeAll(n int, budgets ...budget) decision {
	return l.decide(n, func(q quota, fullAt, now time.Duration) (decision, time.Duration) { return q.takeAll(n, fullAt, now) }, budgets)
}

// decide decides on n requests by a method of quota.
func (l *local) decide(n int, by func(q quota, fullAt, now time.Duration) (decision, time.Duration), budgets []budget) decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.begin)
	tightest := unlimited
	var fullAt [maxBudgets]time.Duration
	var clients [maxBudgets]*client
	for i, b := range budgets {
		var former time.Duration
		if clients[i] = l.clients[b.key]; clients[i] != nil {
			former = clients[i].fullAt
		}
		var decided decision
		decided, fullAt[i] = by(b.quota, former, now)
		if tightest = tighter(tightest, decided); !tightest.allowed {
			return tightest
		}
	}
	for i, b := range budgets {
		l.spend(clients[i], b, n, fullAt[i], now)
	}
	return tightest
}

// spend sets the new fullAt of a client, which is nil if it is new, after n requests.
func (l *local) spend(c *client, b budget, n int, fullAt, now time.Duration) {
	urgent := c == nil
	if c == nil {
		c = &client{key: b.key, fullAt: fullAt}
		l.add(c, now)
	} else {
		c.fullAt = fullAt
		heap.Fix(&l.queue, c.index)
	}
	if l.report == nil {
		return
	}
	if c.unreported == 0 {
		if len(l.spent) >= l.size { // Redis is slow, and there is a flood of addresses
			return
		}
		l.spent = append(l.spent, c)
	}
	c.unreported += time.Duration(n) * b.interval()
	l.report(urgent || c.unreported >= b.window()/urgentShare)
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

// expense is what a client has spent here since the last report.
type expense struct {
	client *client
	spent  time.Duration
}

// expenses returns what was spent since the last report, of up to limit clients.
func (l *local) expenses(limit int) []expense {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.spent[:min(limit, len(l.spent))]
	report := make([]expense, 0, len(first))
	for _, c := range first {
		report = append(report, expense{c, c.unreported})
		c.unreported = 0
	}
	clear(first)
	if l.spent = l.spent[len(first):]; len(l.spent) == 0 {
		l.spent = nil
	}
	return report
}

// learn adds what all replicas together have spent: a client's burst is fully available
// at fullAt, which includes its last report. fullAt never decreases by this, so that
// nothing is allowed again when Redis has lost it.
func (l *local) learn(c *client, fullAt time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if fullAt += c.unreported; fullAt <= c.fullAt {
		return
	}
	c.fullAt = fullAt
	if l.clients[c.key] == c {
		heap.Fix(&l.queue, c.index)
	}
}

// key identifies a counter: a class, and a client or site.
type key struct{ class, client string }

// client is the state of a client. fullAt is relative to local.begin.
type client struct {
	key    key
	fullAt time.Duration
	// unreported is what the requests since the last report have added to fullAt.
	unreported time.Duration
	index      int
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
