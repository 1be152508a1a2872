package follow

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

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tracing"
)

// Endpoint says where a feed is.
type Endpoint struct {
	// Name is that of the service that has the feed, and of the feed.
	Name string
	// Base is the URL of the service. Changes and Snapshot are paths.
	Base, Changes, Snapshot string
	// Token is what the service accepts.
	Token settings.Secret
	// Timeout of a call is added to the time that the call asks the service to wait.
	Timeout time.Duration
}

// Client reads a feed over HTTP. It is a Source.
type Client[E changefeed.Entry, S Snapshot] struct {
	endpoint Endpoint
	http     *http.Client
}

// NewClient returns a client.
func NewClient[E changefeed.Entry, S Snapshot](endpoint Endpoint) *Client[E, S] {
	endpoint.Base = strings.TrimSuffix(endpoint.Base, "/")
	transport := tracing.Transport{Transport: &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second}}
	return &Client[E, S]{endpoint, &http.Client{Transport: transport}}
}

// Close closes idle connections.
func (c *Client[E, S]) Close() { c.http.CloseIdleConnections() }

// Changes implements Source. It rounds wait down to seconds.
func (c *Client[E, S]) Changes(ctx context.Context, after changefeed.Offset, limit int, wait time.Duration) (changes changefeed.Changes[E], err error) {
	query := url.Values{
		"after": {strconv.FormatUint(after.Sequence, 10)},
		"limit": {strconv.Itoa(limit)},
		"wait":  {strconv.Itoa(int(wait / time.Second))},
	}
	err = c.get(ctx, c.endpoint.Changes+"?"+query.Encode(), wait+c.endpoint.Timeout, &changes)
	return changes, c.requireEpoch(changes.Epoch, err)
}

// Snapshot implements Source.
func (c *Client[E, S]) Snapshot(ctx context.Context) (snapshot S, err error) {
	err = c.get(ctx, c.endpoint.Snapshot, 10*c.endpoint.Timeout, &snapshot) // it may be large
	return snapshot, c.requireEpoch(snapshot.At().Epoch, err)
}

// requireEpoch prevents a JSON response of another program from being read as an empty feed.
func (c *Client[E, S]) requireEpoch(epoch string, err error) error {
	if err == nil && epoch == "" {
		err = c.errorf("%w; check Feed.URL", health.Reason("the response does not come from a "+c.endpoint.Name+" service"))
	}
	return err
}

func (c *Client[E, S]) errorf(format string, args ...any) error {
	return fmt.Errorf("reading the "+c.endpoint.Name+" feed: "+format, args...)
}

func (c *Client[E, S]) get(ctx context.Context, target string, timeout time.Duration, data any) (err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.endpoint.Base+target, nil)
	if err != nil {
		return c.errorf("%w", err)
	}
	request.Header.Set("Authorization", "Bearer "+c.endpoint.Token.Reveal())
	response, err := c.http.Do(request)
	if err != nil {
		return c.errorf("%w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusGone:
		return ErrStartOver
	case http.StatusUnauthorized, http.StatusTooManyRequests: // it limits wrong tokens only
		return c.errorf("%w; give both services the same Feed.Token", health.Reason("the "+c.endpoint.Name+" service rejects the token"))
	default:
		return c.errorf("%w", health.Reason(fmt.Sprintf("the %s service answered %d %s", c.endpoint.Name, response.StatusCode, http.StatusText(response.StatusCode))))
	}
	envelope := struct {
		Data any `json:"data"`
	}{data}
	if err := json.NewDecoder(response.Body).Decode(&envelope); err != nil {
		return c.errorf("%w", err)
	}
	return nil
}
