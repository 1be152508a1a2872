package responses

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/locale"
)

const problemType = "application/problem+json"

// problemTypes is the prefix of the type of a problem (RFC 9457): the code follows.
const problemTypes = "https://github.com/achilles-blog/achilles/blob/main/docs/errors.md#"

// maxInstance is the maximum length of a problem's instance, in bytes.
const maxInstance = 1000

// Problem is the response to a request that failed. Code and Errors are for
// programs, Msg and Details for people.
type Problem struct {
	Code    int          `json:"code" example:"10000001"`
	Msg     string       `json:"msg" example:"入参错误"`
	Details []string     `json:"details" example:"title is a required field"`
	Errors  []FieldError `json:"errors"`
	// with 10000018 for articles: the newest offset of the feed
	Next string `json:"next,omitempty"`
}

// FieldError is what is wrong with one field.
type FieldError struct {
	// Field is empty if it is the body as a whole.
	Field   string `json:"field" example:"title"`
	Code    string `json:"code" example:"required"`
	Message string `json:"message" example:"title is a required field"`
}

// ProblemDetails is the same as a Problem in the format of RFC 9457.
type ProblemDetails struct {
	Type     string       `json:"type"`
	Title    string       `json:"title"`
	Status   int          `json:"status"`
	Detail   string       `json:"detail,omitempty"`
	Instance string       `json:"instance,omitempty"`
	Code     int          `json:"code"`
	Errors   []FieldError `json:"errors"`
	Next     string       `json:"next,omitempty"`
}

// Error ends the request with the response for err, and adds err to c.Errors for the
// access log. An error without a code is an internal error, whose text is not
// shown to the client.
func Error(c *gin.Context, err error) {
	ErrorOr(c, err, errcode.Internal)
}

// ErrorOr is like Error, but an error without a code gets the fallback, such as
// errcode.CreateTagFailed.
func ErrorOr(c *gin.Context, err error, fallback errcode.Code) {
	_ = c.Error(err)
	c.Abort()
	if c.Writer.Written() {
		return
	}
	WriteError(c.Writer, c.Request, coded(err, fallback))
}

// WriteError writes the response for err: a Problem, or ProblemDetails if the client
// accepts them. Handlers of gin use Error instead.
func WriteError(w http.ResponseWriter, r *http.Request, err *errcode.Error) {
	header := w.Header()
	if err.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(retrySeconds(err)))
	}
	problem := newProblem(err, locale.FromContext(r.Context()))
	header.Add("Vary", "Accept")
	header.Set("Content-Type", jsonType)
	var answer any = problem
	if acceptsProblem(r.Header.Values("Accept")) {
		header.Set("Content-Type", problemType)
		answer = problem.details(r, err.Code.Status())
	}
	body, _ := json.Marshal(answer) // texts and numbers always have a JSON form
	w.WriteHeader(err.Code.Status())
	_, _ = w.Write(body)
}

// retrySeconds returns the RetryAfter of an error in whole seconds.
func retrySeconds(err *errcode.Error) int { return int(math.Ceil(err.RetryAfter.Seconds())) }

func newProblem(err *errcode.Error, language string) Problem {
	problem := Problem{Code: int(err.Code), Msg: err.Code.Message(language), Details: []string{}, Errors: []FieldError{}, Next: err.Next}
	for _, d := range err.Details {
		text := d.In(language)
		problem.Details = append(problem.Details, text)
		if d.Reason != "" {
			problem.Errors = append(problem.Errors, FieldError{Field: d.Field, Code: string(d.Reason), Message: text})
		}
	}
	return problem
}

func (p Problem) details(r *http.Request, status int) ProblemDetails {
	// "//host/path" would be the URL of another host.
	instance := "/" + strings.TrimLeft(r.URL.EscapedPath(), "/")
	if len(instance) > maxInstance {
		instance = ""
	}
	return ProblemDetails{
		Type: problemTypes + strconv.Itoa(p.Code), Title: p.Msg, Status: status,
		Detail: strings.Join(p.Details, "; "), Instance: instance, Code: p.Code, Errors: p.Errors, Next: p.Next,
	}
}

// acceptsProblem reports whether the header Accept names application/problem+json
// and doesn't prefer application/json. Wildcards don't count: clients that send them
// know the envelope.
func acceptsProblem(accept []string) bool {
	weights := Weights(accept)
	return weights[problemType] > 0 && weights[problemType] >= weights["application/json"]
}

// coded returns the coded error in err's chain. Else a deadline becomes Timeout, a
// cancellation ClientClosedRequest, a body over the limit TooLarge, and any other
// error the fallback.
func coded(err error, fallback errcode.Code) *errcode.Error {
	var coded *errcode.Error
	if errors.As(err, &coded) {
		return coded
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errcode.Wrap(errcode.TooLarge, err)
	case errors.Is(err, context.DeadlineExceeded):
		return &errcode.Error{Code: errcode.Timeout, RetryAfter: time.Second, Cause: err}
	case errors.Is(err, context.Canceled):
		return errcode.Wrap(errcode.ClientClosedRequest, err)
	default:
		return errcode.Wrap(fallback, err)
	}
}
