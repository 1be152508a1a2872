package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/achilles-blog/achilles/pkg/server"
)

// listen serves the service with the server of production, and returns its address.
func (s *service) listen(t *testing.T, change ...func(*server.Config)) string {
	t.Helper()
	cfg := server.Default()
	cfg.Host, cfg.HTTPPort = "127.0.0.1", 0
	for _, c := range change {
		c(&cfg)
	}
	listener, err := server.Listen(t.Context(), cfg)
	require.NoError(t, err)
	serving := server.NewHTTPServer(cfg, s.handler, zap.NewNop())
	done := make(chan struct{})
	go func() { defer close(done); _ = serving.Serve(listener) }()
	t.Cleanup(func() { _ = serving.Close(); <-done })
	return listener.Addr().String()
}

// dial connects from a local address, with a small receive buffer.
func dial(t *testing.T, from, to string) net.Conn {
	t.Helper()
	dialer := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)},
		Control: func(_, _ string, raw syscall.RawConn) error {
			var failed error
			err := raw.Control(func(fd uintptr) {
				failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
			})
			return errors.Join(err, failed)
		},
	}
	c, err := dialer.DialContext(t.Context(), "tcp", to)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// heap returns the bytes of the objects that live on the heap, without garbage.
func heap() int64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64()) // #nosec G115 -- far below
}

const largestPage = articlesPath + "?include=content&page_size=100"

// Clients from many addresses ask for the largest page and don't read it. The heap
// stays bounded, a well-behaved client is answered meanwhile, and the connections are
// closed.
func TestClientsThatDoNotReadDoNotFillTheMemory(t *testing.T) {
	s := embedded(t)
	for n := range 100 {
		s.create(t, fields{"title": fmt.Sprint(n), "content": strings.Repeat("<", 50_000), "tag_ids": []int{1, 2, 3}})
	}
	address := s.listen(t)
	before := heap()
	const clients = 150
	for n := range clients {
		c := dial(t, fmt.Sprintf("127.0.0.%d", 2+n%100), address)
		_, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", largestPage)
		require.NoError(t, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var good sync.WaitGroup
	var answered atomic.Int64
	good.Go(func() {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		client := http.Client{Transport: transport, Timeout: patience}
		for ctx.Err() == nil {
			response, err := client.Get("http://" + address + at(1))
			if err != nil {
				t.Errorf("the good client: %v", err)
				return
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || response.StatusCode != http.StatusOK || len(body) < 50_000 {
				t.Errorf("the good client: %s, %.200s, %v", response.Status, body, err)
			}
			answered.Add(1)
			time.Sleep(20 * time.Millisecond)
		}
	})
	var most int64
	require.Eventually(t, func() bool {
		most = max(most, heap()-before)
		reserved := s.memory.Reserved()
		require.LessOrEqual(t, reserved, int64(40<<20))
		return len(s.pages()) == clients
	}, 2*patience, 50*time.Millisecond, "the clients are not cut off")
	stop()
	good.Wait()
	t.Logf("at most %d MiB for %d clients; the good client got %d responses", most>>20, clients, answered.Load())
	require.Less(t, most, int64(64<<20))
	require.NotZero(t, answered.Load())
	require.Zero(t, s.memory.Reserved())
	complete := 0
	for _, fields := range s.pages() {
		if fields["status"] == int64(http.StatusOK) && fields["incomplete"] == nil {
			complete++
		}
	}
	require.Zero(t, complete)
}

// pages returns the fields of the access log's lines about lists.
func (s *service) pages() (lines []map[string]any) {
	for _, line := range s.logs.FilterMessage("request").All() {
		if fields := line.ContextMap(); fields["route"] == articlesPath && fields["method"] == http.MethodGet {
			lines = append(lines, fields)
		}
	}
	return lines
}

// The same over HTTP/2, where the client opens no window.
func TestHTTP2ClientsThatDoNotRead(t *testing.T) {
	s := embedded(t)
	for n := range 40 {
		s.create(t, fields{"title": fmt.Sprint(n), "content": strings.Repeat("<", 50_000)})
	}
	address := s.listen(t)
	before := heap()
	for n := range 20 {
		c := dial(t, fmt.Sprintf("127.0.0.%d", 2+n), address)
		_, err := io.WriteString(c, http2.ClientPreface)
		require.NoError(t, err)
		framer := http2.NewFramer(c, c)
		require.NoError(t, framer.WriteSettings())
		for stream := range uint32(10) {
			require.NoError(t, framer.WriteHeaders(http2.HeadersFrameParam{
				StreamID: 1 + 2*stream, EndStream: true, EndHeaders: true, BlockFragment: requestBlock(t, largestPage),
			}))
		}
	}
	var most int64
	require.Eventually(t, func() bool {
		most = max(most, heap()-before)
		return len(s.pages()) == 200
	}, 2*patience, 50*time.Millisecond, "the clients are not cut off")
	t.Logf("at most %d MiB", most>>20)
	require.Less(t, most, int64(64<<20))
	require.Zero(t, s.memory.Reserved())
}

// requestBlock returns the header block of a GET.
func requestBlock(t *testing.T, path string) []byte {
	t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "x"}, {":path", path}} {
		require.NoError(t, encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
	}
	return block.Bytes()
}
