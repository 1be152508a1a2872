package errcode

import (
	"fmt"
	"time"
)

// Error is a failure with a code. The client sees Code and Details; Cause is
// for the log alone.
type Error struct {
	Code    Code
	Details []Text
	// RetryAfter, when positive, tells the client how long to wait before
	// another try; it becomes the header Retry-After, in whole seconds.
	RetryAfter time.Duration
	Cause      error
}

// New returns an error of the given code; details say what exactly is wrong.
func New(code Code, details ...Text) *Error {
	return &Error{Code: code, Details: details}
}

// Wrap returns an error of the given code that keeps its cause for the log.
func Wrap(code Code, cause error) *Error {
	return &Error{Code: code, Cause: cause}
}

// Error is the text for the log, in English.
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

// Unwrap gives errors.Is and errors.As the cause.
func (e *Error) Unwrap() error { return e.Cause }
