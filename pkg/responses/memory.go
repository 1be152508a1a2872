package responses

import (
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/memory"
)

var errCut = errors.New("cut off, because others waited for its memory")

// Memory bounds the memory that the data of all responses takes at once, from before
// it is read until the client has read the response.
type Memory struct {
	budget *memory.Budget
	client func(*gin.Context) string
}

// NewMemory returns a Memory of a budget. client identifies the client of a request.
func NewMemory(budget *memory.Budget, client func(*gin.Context) string) *Memory {
	return &Memory{budget: budget, client: client}
}

// Reservation is the memory of a response, from StartTransfer on while it is written.
// It must be released. Pass it to the function that writes the response.
type Reservation struct {
	*memory.Reservation
	to http.ResponseWriter
}

// Reserve reserves memory for the response of the request. It waits, and fails, as
// memory.Budget does; too little memory is an errcode.Unavailable error.
func (m *Memory) Reserve(c *gin.Context, bytes int64) (*Reservation, error) {
	r := &Reservation{to: c.Writer}
	var err error
	r.Reservation, err = m.budget.Reserve(c.Request.Context(), m.client(c), bytes, r.cut)
	if errors.Is(err, memory.ErrInUse) {
		err = &errcode.Error{Code: errcode.Unavailable, RetryAfter: time.Second, Cause: err}
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Release returns the memory. It may be called more than once, and of nil.
func (r *Reservation) Release() {
	if r != nil {
		r.Reservation.Release()
	}
}

// cut ends the write that waits for the client.
func (r *Reservation) cut() {
	_ = http.NewResponseController(r.to).SetWriteDeadline(time.Unix(1, 0))
}

// setDeadline sets the deadline of the next write, unless the response was cut off.
func (r *Reservation) setDeadline(deadline time.Time) error {
	r.StartTransfer()
	err := http.NewResponseController(r.to).SetWriteDeadline(deadline)
	if r.IsCut() {
		return errCut
	}
	return err
}
