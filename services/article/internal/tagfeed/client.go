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

	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tracing"
)

// errNotTheFeed keeps the answer of some other program from being taken for a
// feed that has no tags.
var errNotTheFeed = errors.New("reading the tag feed: the answer is not that of a tag service; check Feed.URL")

// Client reads the feed over HTTP.
type Client struct {
	base    string
	token   settings.Secret
	timeout time.Duration
	http    *http.Client
}

// NewClient returns a client of the tag service at the base URL. Each call may
// take timeout beyond the time it asks the service to wait.
func NewClient(base string, token settings.Secret, timeout time.Duration) *Client {
	transport := tracing.Transport{Transport: &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second}}
	return &Client{base: strings.TrimSuffix(base, "/"), token: token, timeout: timeout, http: &http.Client{Transport: transport}}
}

// Close closes the connections that are idle.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Changes returns at most limit changes behind the position after, waiting for
// up to wait, in whole seconds, while there are none. It returns ErrStartOver
// when the service no longer has them all.
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
	// A snapshot may be large, and is taken rarely.
	const patience = 10
	err := c.get(ctx, "/internal/v1/tag-snapshot", patience*c.timeout, &snapshot)
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
	answer, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("reading the tag feed: %w", err)
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusGone:
		return ErrStartOver
	case http.StatusUnauthorized:
		return errors.New("reading the tag feed: the tag service refuses the token; give both services the same Feed.Token")
	default:
		return fmt.Errorf("reading the tag feed: the tag service answered %s", answer.Status)
	}
	envelope := struct {
		Data any `json:"data"`
	}{data}
	if err := json.NewDecoder(answer.Body).Decode(&envelope); err != nil {
		return fmt.Errorf("reading the tag feed: %w", err)
	}
	return nil
}
