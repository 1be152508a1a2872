package process_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// With cleartext HTTP/2 every acknowledged write is stored. A request that crosses the
// server's GOAWAY is not processed, and the client may retry it. The test logs how many
// there were.
func TestDrainOfCleartextHTTP2(t *testing.T) {
	for name, shape := range map[string]struct{ connections, streams int }{
		"one request at a time": {connections: 20, streams: 1},
		"concurrent requests":   {connections: 3, streams: 10},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := dbtest.MySQL(t)
			p := process.Ready(t, process.Service(t, "tag"), process.On(cfg).With(drain))
			tr := newTraffic("/api/v1/tags", nil)
			tr.add(p.Addr(t))
			for c := range shape.connections {
				conn := &h2cConn{}
				for s := range shape.streams {
					tr.clients.Go(func() { tr.h2cClient(t.Context(), conn, p.Addr(t), fmt.Sprintf("h2c %d %d", c, s)) })
				}
			}
			tr.awaitMore(t, 200)
			require.Zero(t, tr.stop(t, p), p.Stderr())
			tr.clients.Wait()

			for _, err := range tr.lost {
				require.ErrorIs(t, err, errRefused)
			}
			tr.requireStored(t, cfg, "SELECT id, name FROM blog_tag")
			stored := rows[int](t, cfg, "SELECT COUNT(*) FROM blog_tag")
			require.Equal(t, []int{len(tr.acked)}, stored, "refused requests were not processed")
			t.Logf("%d POSTs over cleartext HTTP/2 succeeded, %d were refused by GOAWAY", len(tr.acked), len(tr.lost))
		})
	}
}

// errRefused is the error of requests that the server has not processed.
var errRefused = errors.New("refused by GOAWAY")

// h2cConn is a connection that clients share. They open a new one when it accepts no more
// requests. They do not use it through http2.Transport, which retries requests.
type h2cConn struct {
	mu   sync.Mutex
	conn *http2.ClientConn
}

// get returns nil if there are no more endpoints.
func (c *h2cConn) get(tr *traffic) (*http2.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.conn.CanTakeNewRequest() {
		return c.conn, nil
	}
	addr, ok := tr.pick()
	if !ok {
		return nil, nil
	}
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	// The server closes the previous connection after its last stream.
	c.conn, err = (&http2.Transport{AllowHTTP: true}).NewClientConn(raw)
	return c.conn, err
}

func (tr *traffic) h2cClient(ctx context.Context, shared *h2cConn, addr, name string) {
	for n := 0; ; n++ {
		conn, err := shared.get(tr)
		if err == nil && conn == nil {
			return
		}
		var sent atomic.Pointer[time.Time]
		if err == nil {
			err = tr.h2cPost(withTimeSent(ctx, &sent), conn, fmt.Sprintf("%s %d", name, n))
		}
		if err != nil {
			now := time.Now()
			tr.lose(addr, *cmp.Or(sent.Load(), &now), fmt.Errorf("%s %d: %w", name, n, err))
		}
	}
}

// withTimeSent stores the time when a request was written.
func withTimeSent(ctx context.Context, sent *atomic.Pointer[time.Time]) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) {
		now := time.Now()
		sent.Store(&now)
	}})
}

func (tr *traffic) h2cPost(ctx context.Context, conn *http2.ClientConn, name string) error {
	tr.mu.Lock()
	tr.sent[name] = true
	tr.mu.Unlock()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://test"+tr.path, strings.NewReader(`{"name":"`+name+`"}`))
	if err != nil {
		return err
	}
	request.Header = process.Header(process.Token())
	request.Header.Set("Content-Type", "application/json")
	response, err := conn.RoundTrip(request)
	switch {
	case err != nil && strings.Contains(err.Error(), "client conn not usable"):
		return nil // GOAWAY arrived before the request was sent
	case err != nil && strings.Contains(err.Error(), "graceful shutdown GOAWAY"):
		return errRefused
	case err != nil:
		return err
	}
	body, err := io.ReadAll(response.Body)
	answer := process.Answer{Status: response.StatusCode, Body: body}
	if err = errors.Join(err, response.Body.Close()); err != nil || answer.Status != 201 {
		return fmt.Errorf("status %d: %s: %w", answer.Status, body, err)
	}
	tr.acknowledge(name, answer)
	return nil
}
