package requests

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/memory"
	"github.com/achilles-blog/achilles/pkg/responses"
)

const (
	// smallBody is the limit in bytes of a body on a route without Bodies.Large. As
	// much of each body needs no reservation: the number of requests bounds it.
	smallBody = 8 << 10
	// bodyFactor is how often decoding has a body in memory at most: as it was sent,
	// decoded, and normalized, which may make text longer by half. It counts what is
	// garbage by then. TestMemoryOfDecoding measures it.
	bodyFactor = 3.5
)

// BodyMemory returns the memory in bytes that a body of a size takes.
func BodyMemory(size int64) int64 { return int64(bodyFactor * float64(size)) }

// Bodies lets routes take large bodies, of which all together hold no more memory than
// a budget has. It is safe for concurrent use.
type Bodies struct {
	memory *memory.Budget
	limit  int64
	client func(*gin.Context) string
}

// NewBodies returns Bodies of at most limit bytes each. client identifies the client of
// a request.
func NewBodies(budget *memory.Budget, limit int64, client func(*gin.Context) string) *Bodies {
	return &Bodies{memory: budget, limit: limit, client: client}
}

// Large is the middleware of routes whose bodies may have any size that the service
// allows. If there is no memory for a body, reading it waits, and then fails with an
// errcode.Unavailable error.
func (b *Bodies) Large(c *gin.Context) {
	if c.Request.ContentLength > b.limit {
		responses.Error(c, TooLarge(b.limit))
		return
	}
	size := c.Request.ContentLength
	if size < 0 {
		size = b.limit
	}
	body := &largeBody{ReadCloser: http.MaxBytesReader(c.Writer, c.Request.Body, b.limit), bodies: b, c: c, size: size}
	c.Request.Body = body
	// Not before the response, because the handler holds what it has decoded.
	defer func() {
		if body.memory != nil {
			body.memory.Release()
		}
	}()
	c.Next()
}

// largeBody is a body that reserves memory for its whole size once more than smallBody
// of it has arrived. So a client that sends nothing holds nothing, and bodies that have
// begun don't wait for each other.
type largeBody struct {
	io.ReadCloser
	bodies *Bodies
	c      *gin.Context
	// size is the length of the body, or its limit if the length is unknown.
	size   int64
	read   int64
	memory *memory.Reservation
}

// Read implements io.Reader. The call that goes beyond smallBody waits for memory, for
// up to 3 s, and fails with an errcode.Unavailable error if there is none. While others
// wait for memory, a body that arrives slowly fails with os.ErrDeadlineExceeded.
func (b *largeBody) Read(p []byte) (int, error) {
	switch {
	case b.memory != nil || b.size <= smallBody:
	case b.read <= smallBody:
		p = p[:min(int64(len(p)), smallBody+1-b.read)]
	default:
		if err := b.reserve(); err != nil {
			return 0, err
		}
	}
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if (err != nil || b.read >= b.size) && b.memory != nil {
		b.memory.EndTransfer()
	}
	return n, err
}

func (b *largeBody) reserve() (err error) {
	connection := http.NewResponseController(b.c.Writer)
	b.memory, err = b.bodies.memory.Reserve(b.c.Request.Context(), b.bodies.client(b.c), BodyMemory(b.size),
		func() { _ = connection.SetReadDeadline(time.Unix(1, 0)) })
	if errors.Is(err, memory.ErrInUse) {
		return &errcode.Error{Code: errcode.Unavailable, Details: []errcode.Detail{{Text: tooManyBodies}}, RetryAfter: time.Second, Cause: err}
	}
	if err == nil {
		b.memory.StartTransfer()
	}
	return err
}

// readAll returns the whole body. Memory for it is allocated at once, after it has been
// reserved: a buffer that grows would be in memory twice.
func (b *largeBody) readAll() ([]byte, error) {
	const begin = smallBody + 2 // the last byte is read after the reservation
	read, err := io.ReadAll(io.LimitReader(b, begin))
	if err != nil || len(read) < begin {
		return read, err
	}
	whole := make([]byte, b.size+1) // in the last byte, a body that is too large is noticed
	n := copy(whole, read)
	for err == nil && n < len(whole) {
		var more int
		more, err = b.Read(whole[n:])
		n += more
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return whole[:n], err
}
