package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
)

const (
	// readShare is the divisor of Config.MaxRequests that gives how many reads run at
	// once, and how many wait for one of them to end.
	readShare = 2
	// maxReadWait is how long a read waits for a place.
	maxReadWait = 25 * time.Millisecond
)

var errTooManyReads = errors.New("half of Server.MaxRequests reads are in progress, and too many wait for them")

// readLimit limits the reads that run at once.
type readLimit struct{ running, waiting chan struct{} }

// LimitReads returns a middleware that answers 503 to reads that would wait for long: half
// of Config.MaxRequests reads run, as many wait for up to 25 ms, and further ones are rejected
// at once, before authentication, rate limits and memory. So under overload those that run
// are still answered soon. A read gives up its place before the first byte of its response
// is written, because its client may be slow.
func LimitReads(cfg Config) gin.HandlerFunc {
	most := max(1, cfg.MaxRequests/readShare)
	l := &readLimit{make(chan struct{}, most), make(chan struct{}, most)}
	return func(c *gin.Context) {
		if c.Request.Method != http.MethodGet && c.Request.Method != http.MethodHead {
			return
		}
		if err := l.enter(c.Request.Context()); err != nil {
			responses.Error(c, err)
			return
		}
		w := &placeWriter{ResponseWriter: c.Writer, limit: l}
		defer w.leave()
		c.Writer = w
		c.Next()
	}
}

func (l *readLimit) enter(ctx context.Context) error {
	select {
	case l.running <- struct{}{}:
		return nil
	default:
	}
	select {
	case l.waiting <- struct{}{}:
		defer func() { <-l.waiting }()
	default:
		return errcode.NewBusy(errTooManyReads)
	}
	timeout := time.NewTimer(maxReadWait)
	defer timeout.Stop()
	select {
	case l.running <- struct{}{}:
		return nil
	case <-timeout.C:
		return errcode.NewBusy(errTooManyReads)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// placeWriter gives up the place of a read before it writes.
type placeWriter struct {
	gin.ResponseWriter
	limit *readLimit
	left  bool
}

func (w *placeWriter) leave() {
	if !w.left {
		w.left = true
		<-w.limit.running
	}
}

// LeaveReads makes a read give up its place among those that run at once, because it is
// going to wait for something other than the database.
func LeaveReads(c *gin.Context) {
	c.Set(waitsKey{}, true)
	for w := any(c.Writer); w != nil; {
		if own, ok := w.(*placeWriter); ok {
			own.leave()
			return
		}
		wrapped, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return
		}
		w = wrapped.Unwrap()
	}
}

// Unwrap is for http.ResponseController.
func (w *placeWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *placeWriter) Write(data []byte) (int, error) {
	w.leave()
	return w.ResponseWriter.Write(data)
}

func (w *placeWriter) WriteString(s string) (int, error) {
	w.leave()
	return w.ResponseWriter.WriteString(s)
}
