package ratelimit

import (
	"math"
	"time"
)

// quota is the limit of one client in one class: an average rate of requests per
// period, and a burst.
//
// It implements the generic cell rate algorithm, as redis_rate does. The state of a
// client is one time, fullAt, at which its burst is fully available again. Each
// request adds an interval to fullAt, and is rejected if fullAt would then be more
// than burst intervals ahead. A rejected request doesn't change fullAt.
type quota struct {
	rate   int
	period time.Duration
	burst  int
}

// interval returns the time after which one more request is allowed.
func (q quota) interval() time.Duration { return q.period / time.Duration(q.rate) }

// window returns the time after which an exhausted burst is fully available again.
func (q quota) window() time.Duration { return q.interval() * time.Duration(q.burst) }

// times returns a quota that is factor times as large, up to maxLimit.
func (q quota) times(factor int) quota {
	return quota{min(q.rate*factor, maxLimit), q.period, min(q.burst*factor, maxLimit)}
}

// decision is the result for one request.
type decision struct {
	allowed bool
	// remaining is the number of further requests that would be allowed now.
	remaining int
	// next is the time until remaining increases or, for a rejected request,
	// until it would be allowed.
	next time.Duration
}

// take decides on a request at the time now. It returns the new fullAt of the client.
func (q quota) take(fullAt, now time.Duration) (decision, time.Duration) {
	after := max(fullAt, now) + q.interval()
	if early := after - now - q.window(); early > 0 {
		return decision{next: early}, fullAt
	}
	return q.allowed(after - now), after
}

// takeAll decides on n more requests at the time now, which are allowed together unless the
// client has exceeded its burst already. They may exceed it. It returns the new fullAt of the
// client.
func (q quota) takeAll(n int, fullAt, now time.Duration) (decision, time.Duration) {
	if early := fullAt - now - q.window(); early > 0 {
		return decision{next: early + q.interval()}, fullAt
	}
	after := max(fullAt, now) + time.Duration(n)*q.interval()
	decided := q.allowed(after - now)
	if over := after - now - q.window(); over > 0 {
		decided.next += over
	}
	return decided, after
}

// allowed returns the decision on an allowed request after which the burst is fully
// available in untilFull.
func (q quota) allowed(untilFull time.Duration) decision {
	free := max(0, q.window()-untilFull)
	return decision{
		allowed:   true,
		remaining: int(free / q.interval()),
		next:      q.interval() - free%q.interval(),
	}
}

// unlimited is looser than every other decision.
var unlimited = decision{allowed: true, remaining: math.MaxInt}

// tighter returns the decision that leaves less.
func tighter(a, b decision) decision {
	if a.allowed && (!b.allowed || b.remaining < a.remaining) {
		return b
	}
	return a
}

// seconds rounds d up to whole seconds, at least one, so that a client that waits as
// long is not too early.
func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }
