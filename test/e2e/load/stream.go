package load

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// streams are cleartext HTTP/2 connections, one per address, which workers may share.
// They are not used through http2.Transport, which retries requests.
type streams struct {
	load *Load
	mu   sync.Mutex
	open map[string]*stream
}

type stream struct {
	*http2.ClientConn
	id  uint64
	mu  sync.Mutex
	pod string
}

func newStreams(l *Load) *streams { return &streams{load: l, open: map[string]*stream{}} }

func (s *streams) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.open {
		_ = conn.Close()
	}
}

func (s *streams) send(ctx context.Context, to Endpoint, r request) (answer, error) {
	for {
		conn, err := s.connect(ctx, to.Addr)
		if err != nil {
			return answer{began: time.Now()}, err
		}
		got, err := conn.send(ctx, to, r)
		// GOAWAY arrived before the request was sent.
		if err == nil || !strings.Contains(err.Error(), "client conn not usable") {
			return got, err
		}
	}
}

// connect returns the open connection, or a new one if it accepts no more requests. The
// server closes the old connection after its last stream.
func (s *streams) connect(ctx context.Context, addr string) (*stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if conn := s.open[addr]; conn != nil && conn.CanTakeNewRequest() {
		return conn, nil
	} else if conn != nil {
		s.load.results.reconnected()
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	raw, err := dialer.DialContext(context.WithoutCancel(ctx), "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn, err := (&http2.Transport{AllowHTTP: true}).NewClientConn(raw)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	s.open[addr] = &stream{ClientConn: conn, id: s.load.conns.Add(1)}
	return s.open[addr], nil
}

func (s *stream) send(ctx context.Context, to Endpoint, r request) (answer, error) {
	got := answer{pod: s.setPod(""), conn: s.id, began: time.Now()}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	sent, err := http.NewRequestWithContext(ctx, r.method, "http://"+to.Host+r.path, bytes.NewReader(r.body))
	if err != nil {
		return got, err
	}
	if r.body != nil {
		sent.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		sent.Header.Set("Authorization", "Bearer "+r.token)
	}
	if r.key != "" {
		sent.Header.Set(keyHeader, r.key)
	}
	response, err := s.RoundTrip(sent)
	if err != nil {
		if refused(err) {
			return got, fmt.Errorf("%w: %w", errRefused, err)
		}
		return got, err
	}
	defer func() { _ = response.Body.Close() }()
	got.pod = s.setPod(response.Header.Get(podHeader))
	if got.body, err = io.ReadAll(response.Body); err != nil {
		return got, fmt.Errorf("%w: %w", errTruncated, err)
	}
	got.describe(response)
	return got, nil
}

// setPod sets the pod of the connection unless it is empty, and returns the pod.
func (s *stream) setPod(pod string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if pod != "" {
		s.pod = pod
	}
	return s.pod
}

// refused reports whether the server has not processed the request (RFC 9113, 6.8 and
// 8.7).
func refused(err error) bool {
	return strings.Contains(err.Error(), "graceful shutdown GOAWAY") || strings.Contains(err.Error(), "REFUSED_STREAM")
}
