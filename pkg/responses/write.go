package responses

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

const (
	// stallTimeout is how long a client may read nothing of a response.
	stallTimeout = 5 * time.Second
	// minRate is the number of bytes a second that a client must read, after
	// stallTimeout.
	minRate = 32 << 10
)

// ErrIncomplete is added to c.Errors if a client did not get its whole response.
var ErrIncomplete = errors.New("the response is incomplete")

// write answers with v as JSON. reserved is the memory of v, nil if v is small.
func write(c *gin.Context, status int, v any, reserved *Reservation) {
	writeBy(c, status, reserved, func(to io.Writer) error { return encode(to, v) })
}

// writeBy answers with the JSON that body writes; see writeAs.
func writeBy(c *gin.Context, status int, reserved *Reservation, body func(io.Writer) error) {
	writeAs(c, status, jsonType, reserved, body)
}

// writeAs answers with what body writes. If the client doesn't read it in time, the
// response ends early, and net/http closes the connection or resets the HTTP/2 stream.
func writeAs(c *gin.Context, status int, contentType string, reserved *Reservation, body func(io.Writer) error) {
	c.Header("Content-Type", contentType)
	c.Status(status)
	to := newDeadlineWriter(c, reserved)
	err := body(to)
	switch {
	case err == nil:
	case to.err != nil:
		_ = c.Error(fmt.Errorf("%w: %w", ErrIncomplete, err))
		c.Abort()
	case c.Writer.Written():
		panic(err) // so that the client notices that the response is incomplete
	default:
		Error(c, err)
	}
}

// Writer returns a writer for a handler that does not use the other functions of this
// package. If the client doesn't read in time, writes fail.
func Writer(c *gin.Context) http.ResponseWriter {
	return responseWriter{c.Writer, newDeadlineWriter(c, nil)}
}

type responseWriter struct {
	http.ResponseWriter
	body *deadlineWriter
}

// Write implements io.Writer.
func (w responseWriter) Write(part []byte) (int, error) { return w.body.Write(part) }

// deadlineWriter writes a response in parts, each with its own deadline.
type deadlineWriter struct {
	to       http.ResponseWriter
	reserved *Reservation     // nil for none
	last     time.Time        // of the whole response; zero for none
	until    func() time.Time // if it isn't nil, instead of last
	began    time.Time
	written  int
	err      error
}

func newDeadlineWriter(c *gin.Context, reserved *Reservation) *deadlineWriter {
	return &deadlineWriter{to: c.Writer, reserved: reserved, last: optionsOf(c).until}
}

// Write implements io.Writer.
func (w *deadlineWriter) Write(part []byte) (int, error) {
	if w.err = w.setDeadline(w.deadline(time.Now())); w.err != nil && !errors.Is(w.err, http.ErrNotSupported) {
		return 0, w.err
	}
	var n int
	n, w.err = w.to.Write(part)
	w.written += n
	return n, w.err
}

func (w *deadlineWriter) setDeadline(deadline time.Time) error {
	if w.reserved != nil {
		return w.reserved.setDeadline(deadline)
	}
	return http.NewResponseController(w.to).SetWriteDeadline(deadline)
}

// deadline returns the deadline of a part that is written now.
func (w *deadlineWriter) deadline(now time.Time) time.Time {
	if w.began.IsZero() {
		w.began = now
	}
	deadline := now.Add(stallTimeout)
	if rate := w.began.Add(stallTimeout + time.Duration(w.written)*time.Second/minRate); rate.Before(deadline) {
		deadline = rate
	}
	last := w.last
	if w.until != nil {
		last = w.until()
	}
	if !last.IsZero() && last.Before(deadline) {
		deadline = last
	}
	return deadline
}
