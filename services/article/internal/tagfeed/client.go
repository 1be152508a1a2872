package tagfeed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tracing"
)

// errNotTheFeed prevents a JSON response of another program from being read as an
// empty feed.
var errNotTheFeed = fmt.Errorf("reading the tag feed: %w; check Feed.URL", health.Reason("the response does not come from a tag service"))

// Client reads the feed over HTTP.
type Client struct {
	base    string
	token   settings.Secret
	timeout time.Duration
	http    *http.Client
}

// NewClient returns a client of the tag service at the base URL. The timeout of a
// call is added to the time that the call asks the service to wait.
func NewClient(base string, token settings.Secret, timeout time.Duration) *Client {
	transport := tracing.Transport{Transport: &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second}}
	return &Client{base: strings.TrimSuffix(base, "/"), token: token, timeout: timeout, http: &http.Client{Transport: transport}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Changes returns at most limit changes after the given sequence. If there are
// none, it waits up to wait, rounded down to seconds. It returns ErrStartOver if
// the service no longer has all of them.
func (c *Client) Changes(ctx context.Context, after uint64, limit int, wait time.Duration) (Changes, error) {
	query := url.Values{
		"after": {strconv.FormatUint(after, 10)},
		"limit": {strconv.Itoa(limit)},
		"wait":  {strconv.Itoa(int(wait / time.Second))},
	}
	var changes Changes
	err := c.get(ctx, "/internal/v1/tag-changes?"+query.Encode(), wait+c.timeout, &changes)
	if err == nil && changes.Epoch == "" {
		err = errNotTheFeed
	}
	return changes, err
}

// Snapshot returns every tag.
func (c *Client) Snapshot(ctx context.Context) (Snapshot, error) {
	var snapshot Snapshot
	err := c.get(ctx, "/internal/v1/tag-snapshot", 10*c.timeout, &snapshot) // it may be large
	if err == nil && snapshot.Epoch == "" {
		err = errNotTheFeed
	}
	return snapshot, err
}

func (c *Client) get(ctx context.Context, target string, timeout time.Duration, data any) (err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+target, nil)
	if err != nil {
		return fmt.Errorf("reading the tag feed: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("reading the tag feed: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusGone:
		return ErrStartOver
	case http.StatusUnauthorized, http.StatusTooManyRequests: // it limits wrong tokens only
		return fmt.Errorf("reading the tag feed: %w; give both services the same Feed.Token", health.Reason("the tag service rejects the token"))
	default:
		return fmt.Errorf("reading the tag feed: %w", health.Reason(fmt.Sprintf("the tag service answered %d %s", response.StatusCode, http.StatusText(response.StatusCode))))
	}
	envelope := struct {
		Data any `json:"data"`
	}{data}
	if err := json.NewDecoder(response.Body).Decode(&envelope); err != nil {
		return fmt.Errorf("reading the tag feed: %w", err)
	}
	return nil
}
