package changefeed

import (
	"context"
	"errors"
)

// ErrUnknown is in the error of a write that refers to an object which the read model of
// another service lacks.
var ErrUnknown = errors.New("the read model has no such object")

// References does the writes of one request that refer to objects of another service. It must
// not be used concurrently.
type References struct {
	// CatchUp updates the read model with all changes that are committed when it is called.
	CatchUp func(context.Context) error
	done    bool
}

// Write calls write. If its error is ErrUnknown, the object may have been created a moment ago,
// so Write calls CatchUp, at most once for all writes, and write once more.
func (r *References) Write(ctx context.Context, write func() error) error {
	err := write()
	if r.done || !errors.Is(err, ErrUnknown) {
		return err
	}
	if err := r.CatchUp(ctx); err != nil {
		return err
	}
	r.done = true
	return write()
}
