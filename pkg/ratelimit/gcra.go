package ratelimit

import (
	"math"
	"time"
)

// quota is what one client may use of one class: rate requests in each period
// on average, and burst at once.
//
// It is counted by the generic cell rate algorithm, as redis_rate does. All
// that is kept of a client is the moment at which its burst will be whole
// again. Each request moves that moment on by one interval, and is refused when
// it would then be more than a burst's worth of intervals away. A refused request
// costs nothing.
type quota struct {
	rate   int
	period time.Duration
	burst  int
}

// interval is the time in which one request more becomes possible.
func (q quota) interval() time.Duration { return q.period / time.Duration(q.rate) }

// window is the time in which a used up burst becomes whole again.
func (q quota) window() time.Duration { return q.interval() * time.Duration(q.burst) }

// verdict is the answer to one request.
type verdict struct {
	allowed bool
	// remaining is how many requests more would be allowed at this moment.
	remaining int
	// next is when it will be one more than that; for a refused request, when
	// it would be allowed.
	next time.Duration
}

// take judges a request at now, for a client whose burst is whole again at
// whole. It returns the moment that whole becomes.
func (q quota) take(whole, now time.Duration) (verdict, time.Duration) {
	after := max(whole, now) + q.interval()
	if early := after - now - q.window(); early > 0 {
		return verdict{next: early}, whole
	}
	return q.allowed(after - now), after
}

// allowed is the verdict on a request after which the burst is whole in the
// given time.
func (q quota) allowed(whole time.Duration) verdict {
	free := max(0, q.window()-whole)
	return verdict{
		allowed:   true,
		remaining: int(free / q.interval()),
		next:      q.interval() - free%q.interval(),
	}
}

// seconds rounds up to whole seconds, and to at least one: who comes back then
// is not too early.
func seconds(d time.Duration) int { return max(1, int(math.Ceil(d.Seconds()))) }
