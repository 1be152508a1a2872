package responses

import (
	"bufio"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/gin-gonic/gin"
)

const linesType = "application/x-ndjson; charset=utf-8"

// Lines answers 200 with objects in JSON, each on a line of its own (NDJSON). They are sent while
// further ones are read, and memory doesn't depend on their number. Nothing is sent before the
// first 8 KiB or End, so until then the handler can answer with an error; see Began.
type Lines[T any] struct {
	c       *gin.Context
	encoder Encoder[T]
	to      *deadlineWriter
	held    *bufio.Writer
}

// Lines begins a response of lines. Its client must read it as fast as that of any response, and
// until the time that until returns, which is called for each part.
func (e Encoder[T]) Lines(c *gin.Context, until func() time.Time) *Lines[T] {
	c.Header("Content-Type", linesType)
	c.Status(http.StatusOK)
	to := newDeadlineWriter(c, nil)
	to.until = until
	return &Lines[T]{c, e, to, bufio.NewWriterSize(to, bufferSize)}
}

// NoLines answers 200 without a body, for HEAD.
func NoLines(c *gin.Context) {
	c.Header("Content-Type", linesType)
	c.Status(http.StatusOK)
	c.Writer.WriteHeaderNow()
}

// Object writes a line. An error means that the client is gone, or was too slow.
func (l *Lines[T]) Object(one T) error {
	return l.line(l.encoder.object, reflect.ValueOf(&one).Elem())
}

// End writes the last line, an object of another type. It must be called unless Began is false or
// Lost is true.
func (l *Lines[T]) End(last any) {
	err := l.line(&format{formats{}.appendAny}, reflect.ValueOf(last))
	if err == nil {
		err = l.held.Flush()
	}
	if err != nil {
		l.lose(err)
	}
}

func (l *Lines[T]) line(f *format, v reflect.Value) error {
	if err := f.encode(l.held, v); err != nil {
		return err
	}
	return l.held.WriteByte('\n')
}

// Began reports whether the response has begun to be sent.
func (l *Lines[T]) Began() bool { return l.c.Writer.Written() }

// Lost reports whether the client is gone, or was too slow. Then the response has ended.
func (l *Lines[T]) Lost() bool {
	if l.to.err == nil {
		return false
	}
	l.lose(l.to.err)
	return true
}

func (l *Lines[T]) lose(err error) {
	_ = l.c.Error(fmt.Errorf("%w: %w", ErrIncomplete, err))
	l.c.Abort()
}
