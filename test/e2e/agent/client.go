package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/achilles-blog/achilles/test/e2e/load"
)

// Client is a client of the agent on a node.
type Client struct {
	Node string
	// URL is the base URL of its Handler.
	URL string
}

// Start starts a load.
func (c *Client) Start(ctx context.Context, name string, config load.Config) error {
	return c.do(ctx, http.MethodPost, "/loads/"+name, config, nil)
}

// Count returns the counts of a load so far.
func (c *Client) Count(ctx context.Context, name string) (count load.Count, err error) {
	return count, c.do(ctx, http.MethodGet, "/loads/"+name, nil, &count)
}

// Nudge calls load.Load.Nudge.
func (c *Client) Nudge(ctx context.Context, name string) error {
	return c.do(ctx, http.MethodPost, "/loads/"+name+"/nudge", nil, nil)
}

// SetToken calls load.Load.SetToken.
func (c *Client) SetToken(ctx context.Context, name, token string) error {
	return c.do(ctx, http.MethodPut, "/loads/"+name+"/token", token, nil)
}

// SetReadOnly calls load.Load.SetReadOnly.
func (c *Client) SetReadOnly(ctx context.Context, name string, on bool) error {
	return c.do(ctx, http.MethodPut, "/loads/"+name+"/readonly", on, nil)
}

// Stop stops a load and returns its result.
func (c *Client) Stop(ctx context.Context, name string) (result load.Result, err error) {
	return result, c.do(ctx, http.MethodPost, "/loads/"+name+"/stop", nil, &result)
}

// Kill kills the processes of a pod on the node of the agent.
func (c *Client) Kill(ctx context.Context, uid string) error {
	return c.do(ctx, http.MethodPost, "/kill/"+uid, nil, nil)
}

// Hangup sends SIGHUP to the processes of a pod on the node of the agent.
func (c *Client) Hangup(ctx context.Context, uid string) error {
	return c.do(ctx, http.MethodPost, "/hangup/"+uid, nil, nil)
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("the agent on %s: %w", c.Node, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("the agent on %s: %s %s: status %d: %.300s: %w", c.Node, method, path, response.StatusCode, text, err)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}
