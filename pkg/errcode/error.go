package errcode

import (
	"fmt"
	"time"
)

// Error is an error with a code. Clients see Code and Details. Cause is only logged.
type Error struct {
	Code    Code
	Details []Detail
	// RetryAfter, if positive, is sent as the header Retry-After, in whole seconds.
	RetryAfter time.Duration
	// Next, if not empty, is the offset from which a reader of a feed can continue.
	Next string
	// Busy says that clients have reached a limit, which is no fault of the service.
	Busy  bool
	Cause error
}

// New returns an error with the given code and texts as details.
func New(code Code, texts ...Text) *Error {
	err := &Error{Code: code}
	for _, text := range texts {
		err.Details = append(err.Details, Detail{Text: text})
	}
	return err
}

// Wrap returns an error with the given code and cause.
func Wrap(code Code, cause error) *Error {
	return &Error{Code: code, Cause: cause}
}

// NewUnavailable returns an error with the code Unavailable, the given cause, which may
// be nil, and texts as details. The client may try again after a second.
func NewUnavailable(cause error, texts ...Text) *Error {
	err := New(Unavailable, texts...)
	err.RetryAfter, err.Cause = time.Second, cause
	return err
}

// readOnlyRetryAfter is how long a client should wait before it repeats a write. Reads don't
// suffer from those who ask again.
const readOnlyRetryAfter = 5 * time.Second

// NewReadOnly returns an error with the code ReadOnly and the given cause: the write was not
// done, and none is at the moment.
func NewReadOnly(cause error) *Error {
	return &Error{Code: ReadOnly, RetryAfter: readOnlyRetryAfter, Cause: cause}
}

// NewBusy is like NewUnavailable, for a limit that clients have reached. Operators need not act.
func NewBusy(cause error, texts ...Text) *Error {
	err := NewUnavailable(cause, texts...)
	err.Busy = true
	return err
}

// Within returns the error of a part of a request; see Detail.Within.
func (e *Error) Within(path string) *Error {
	within := *e
	within.Details = make([]Detail, 0, len(e.Details))
	for _, d := range e.Details {
		within.Details = append(within.Details, d.Within(path))
	}
	return &within
}

// Error returns the text for the log, in English.
func (e *Error) Error() string {
	text := fmt.Sprintf("%d %s", int(e.Code), e.Code.Message("en"))
	for _, d := range e.Details {
		text += "; " + d.EN
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }
