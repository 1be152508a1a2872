package access

import (
	"context"
	"runtime"
	"time"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

const (
	// maxComparisons is the maximum number of concurrent bcrypt comparisons. Each
	// takes about 50 ms of CPU.
	maxComparisons = 4
	// maxWaiting is the maximum number of requests that wait for a comparison.
	maxWaiting = 16
	// maxWait is how long each of them waits.
	maxWait = time.Second
)

// comparisons returns the number of concurrent comparisons: at most half of the
// CPUs, so that guessing secrets leaves the rest to other requests.
func comparisons() int { return max(1, min(maxComparisons, runtime.GOMAXPROCS(0)/2)) }

// queue limits the number of requests that compare secrets or wait for it. It is
// short: a request that would wait for long is rejected at once, so that a flood of
// guesses spends its rate limits, and not the time of others.
type queue struct {
	slots   chan struct{}
	waiting chan struct{}
}

func newQueue(comparisons int) *queue {
	return &queue{slots: make(chan struct{}, comparisons), waiting: make(chan struct{}, maxWaiting)}
}

// enter waits for a comparison. The caller calls leave after it. The error is
// errBusy if too many others wait or it takes too long, or that of ctx.
func (q *queue) enter(ctx context.Context) (leave func(), err error) {
	leave = func() { <-q.slots }
	select {
	case q.slots <- struct{}{}:
		return leave, nil
	default:
	}
	select {
	case q.waiting <- struct{}{}:
		defer func() { <-q.waiting }()
	default:
		return nil, errBusy()
	}
	timeout := time.NewTimer(maxWait)
	defer timeout.Stop()
	select {
	case q.slots <- struct{}{}:
		return leave, nil
	case <-timeout.C:
		return nil, errBusy()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func errBusy() error {
	return errcode.NewUnavailable(nil, errcode.Text{
		ZH:       "正在验证的 Token 请求过多",
		EN:       "too many requests for a token are being checked",
		ZHHantTW: "正在驗證的 Token 請求過多",
	})
}
