package client

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/errcode"
)

// Code is the number of an error, as docs/errors.md lists them. It is an error itself, so
// that errors.Is(err, client.TagNotFound) works.
type Code int

// Error returns the number and its meaning in English.
func (c Code) Error() string {
	return fmt.Sprintf("%d %s", int(c), errcode.Code(c).Message("en"))
}

// Codes that programs tell apart. There are more, see docs/errors.md.
const (
	InvalidParams      = Code(errcode.InvalidParams)
	UnknownClient      = Code(errcode.UnauthorizedApp) // wrong AppKey or AppSecret
	InvalidToken       = Code(errcode.UnauthorizedToken)
	ExpiredToken       = Code(errcode.UnauthorizedExpired)
	TooManyRequests    = Code(errcode.TooManyRequests)
	Conflict           = Code(errcode.Conflict)
	PreconditionFailed = Code(errcode.PreconditionFailed)
	TooLarge           = Code(errcode.TooLarge)
	Forbidden          = Code(errcode.Forbidden) // the client lacks the scope write
	Unavailable        = Code(errcode.Unavailable)
	Timeout            = Code(errcode.Timeout)
	ChangesTrimmed     = Code(errcode.ChangesTrimmed)
	KeyReused          = Code(errcode.KeyReused)
	RequestInProgress  = Code(errcode.RequestInProgress)
	ReadOnly           = Code(errcode.ReadOnly) // the write was not done
	TagNotFound        = Code(errcode.TagNotFound)
	TagNameExists      = Code(errcode.TagNameExists)
	ArticleNotFound    = Code(errcode.ArticleNotFound)
	UnknownTags        = Code(errcode.UnknownTags)
	SlugTaken          = Code(errcode.SlugTaken)
	TooManyScheduled   = Code(errcode.TooManyScheduled)
	FileNotFound       = Code(errcode.FileNotFound)
	FileInUse          = Code(errcode.FileInUse)
)

// Errors of a Client that are not of the type *Error.
var (
	// ErrNotModified means that the object still has the entity tag of IfNoneMatch.
	ErrNotModified = errors.New("client: not modified")
	// ErrResponseTooLarge means that a response has more than Config.MaxResponse bytes.
	ErrResponseTooLarge = errors.New("client: the response is too large")
)

// Error is a response that reports an error.
type Error struct {
	// Status is the HTTP status.
	Status int
	// Code is 0 if the response is not one of the API, but of a proxy or another server.
	Code Code
	// Message and Details are for people, in Config.Language.
	Message string
	Details []string
	// Fields say what is wrong with which field.
	Fields []FieldError
	// Next is set if Code is ChangesTrimmed: the newest offset of the feed.
	Next string
	// RetryAfter is when the service wants the request again, if it says so.
	RetryAfter time.Duration
	// RequestID names the request in the log of the service.
	RequestID string
	// Method and Path are those of the request.
	Method, Path string
}

// FieldError is what is wrong with one field.
type FieldError struct {
	Field   string `json:"field"`
	Code    string `json:"code"` // such as required or too_long, see docs/errors.md
	Message string `json:"message"`
}

// Error returns the status, the code, the message and the details.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s %s: status %d", e.Method, e.Path, e.Status)
	if e.Code != 0 {
		text += fmt.Sprintf(", code %d", int(e.Code))
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	if len(e.Details) > 0 {
		text += ": " + strings.Join(e.Details, "; ")
	}
	return text
}

// Is reports whether target is the Code of the error.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code && code != 0
}
