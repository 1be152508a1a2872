package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// call is a request that may be sent several times.
type call struct {
	method, base, path string
	query              url.Values
	header             http.Header
	body               []byte
	// repeatable reports that the request may be sent again whatever became of it.
	repeatable   bool
	withoutToken bool
	// timeout, if not 0, is the minimum of that of a try.
	timeout time.Duration
	// to, if not nil, gets the content of a successful response, of which written bytes have
	// been written.
	to      io.Writer
	written int64
	// uncertain reports that an earlier try was answered with 503, after which a write may
	// have been done or not.
	uncertain bool
}

// newCall returns a call. body is JSON, or nil.
func newCall(method, base, path string, body []byte, options ...Option) *call {
	c := &call{method: method, base: base, path: path, header: http.Header{}, body: body, repeatable: method == http.MethodGet}
	if body != nil {
		c.header.Set("Content-Type", "application/json")
	}
	for _, option := range options {
		option(c)
	}
	return c
}

// envelope is a response. Data and List are pointers to what they are decoded into.
type envelope struct {
	Code    *int         `json:"code"`
	Msg     string       `json:"msg"`
	Data    any          `json:"data"`
	List    any          `json:"list"`
	Pager   pager        `json:"pager"`
	Details []string     `json:"details"`
	Errors  []FieldError `json:"errors"`
	Next    string       `json:"next"`
}

// do sends a request, and again if that is safe, and decodes the response into an
// envelope. It returns the header of the response.
func (c *Client) do(ctx context.Context, request *call, into *envelope) (http.Header, error) {
	for try := 0; ; try++ {
		header, err := c.try(ctx, request, into)
		if err == nil || try >= c.config.MaxRetries || ctx.Err() != nil {
			return header, err
		}
		wait, again := request.again(err, try)
		if deadline, ok := ctx.Deadline(); !again || wait > c.config.MaxWait || ok && time.Until(deadline) < wait {
			return header, err
		}
		if !pause(ctx, wait) {
			return header, fmt.Errorf("%w, while waiting to repeat a request after: %w", ctx.Err(), err)
		}
	}
}

// pause waits, and reports whether ctx has not ended before.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

// again reports whether a request that failed may be sent again, and when.
func (r *call) again(err error, try int) (wait time.Duration, again bool) {
	wait = min(firstPause<<min(try, 10), maxPause)
	var answer *Error
	switch {
	case errors.As(err, &answer):
		again = r.repeatableAfter(answer)
		wait = max(wait, answer.RetryAfter)
	case errors.Is(err, ErrNotModified), errors.Is(err, ErrResponseTooLarge):
	default: // no response
		again = r.repeatable
	}
	return wait + rand.N(wait/4), again // #nosec G404 -- jitter is no secret
}

// repeatableAfter reports whether the request may be sent again after an error. It notes
// whether the error leaves it uncertain if a write was done.
func (r *call) repeatableAfter(answer *Error) bool {
	switch answer.Status {
	case http.StatusTooManyRequests:
		return true
	case http.StatusConflict:
		return answer.Code == RequestInProgress || answer.Code == Conflict
	case http.StatusServiceUnavailable:
		r.uncertain = true
		return r.repeatable || answer.Code == Unavailable || answer.Code == ReadOnly
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return r.repeatable
	default:
		return false
	}
}

// try sends a request once, and a second time with a new token if the first one was
// rejected, which means that nothing was done.
func (c *Client) try(ctx context.Context, request *call, into *envelope) (http.Header, error) {
	if c.tokens == nil || request.withoutToken {
		return c.once(ctx, request, "", into)
	}
	token, err := c.tokens.get(ctx)
	if err != nil {
		return nil, err
	}
	header, err := c.once(ctx, request, token, into)
	if !errors.Is(err, ExpiredToken) && !errors.Is(err, InvalidToken) || !c.tokens.rejected(ctx, token) {
		return header, err
	}
	if token, err = c.tokens.get(ctx); err != nil {
		return nil, err
	}
	return c.once(ctx, request, token, into)
}

func (c *Client) once(ctx context.Context, r *call, token string, into *envelope) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, max(c.config.Timeout, r.timeout))
	defer cancel()
	target := r.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	request.Header = r.header.Clone()
	request.Header.Set("Accept", "application/json")
	request.Header.Set("Locale", c.config.Language)
	if r.to != nil {
		r.resume(request.Header)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if r.to != nil && (response.StatusCode == http.StatusOK || response.StatusCode == http.StatusPartialContent) {
		return response.Header, r.download(response)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, c.config.MaxResponse+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %s: reading the response: %w", r.method, r.path, err)
	case int64(len(body)) > c.config.MaxResponse:
		return nil, fmt.Errorf("%s %s: %w: more than %d bytes", r.method, r.path, ErrResponseTooLarge, c.config.MaxResponse)
	case response.StatusCode == http.StatusNotModified:
		return response.Header, ErrNotModified
	}
	return response.Header, decode(r, response, body, into)
}

// decode decodes a response. It returns an *Error unless the response is a success of the
// API.
func decode(r *call, response *http.Response, body []byte, into *envelope) error {
	failure := &Error{Status: response.StatusCode, Method: r.method, Path: r.path, RequestID: response.Header.Get("X-Request-ID")}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		failure.RetryAfter = time.Duration(min(seconds, 1<<30)) * time.Second
	}
	success := response.StatusCode >= 200 && response.StatusCode < 300
	answer := &envelope{}
	if success {
		answer = into
		answer.Code = nil
	}
	if err := json.Unmarshal(body, answer); err != nil || answer.Code == nil {
		failure.Message = "the response is not of Achilles"
		return failure
	}
	if success && *answer.Code == 0 {
		return nil
	}
	failure.Code, failure.Message, failure.Details, failure.Fields, failure.Next = Code(*answer.Code), answer.Msg, answer.Details, answer.Errors, answer.Next
	return failure
}
