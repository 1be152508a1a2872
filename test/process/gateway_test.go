package process_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// gateway is a TCP proxy that forwards each connection to one of the replicas.
type gateway struct {
	endpoints
	net.Listener

	// dropNext drops the next response.
	dropNext atomic.Bool

	open  sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &gateway{Listener: listener, conns: map[net.Conn]bool{}}
	g.open.Go(g.accept)
	t.Cleanup(g.close)
	return g
}

func (g *gateway) addr() string { return g.Addr().String() }

func (g *gateway) accept() {
	for {
		client, err := g.Accept()
		if err != nil {
			return
		}
		g.open.Go(func() { g.forward(client) })
	}
}

func (g *gateway) forward(client net.Conn) {
	defer g.track(client)()
	for range 3 {
		addr, ok := g.pick()
		if !ok {
			return
		}
		server, err := net.Dial("tcp", addr)
		if err != nil {
			continue // just killed
		}
		defer g.track(server)()
		var copied sync.WaitGroup
		copied.Go(func() { _, _ = io.Copy(server, client); _ = server.Close(); _ = client.Close() })
		if g.dropNext.CompareAndSwap(true, false) {
			_, _ = server.Read(make([]byte, 1))
		} else {
			_, _ = io.Copy(client, server)
		}
		_ = client.Close()
		_ = server.Close()
		copied.Wait()
		return
	}
}

// keep registers an open connection. The returned function closes it.
func (g *gateway) track(conn net.Conn) (closeConn func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[conn] = true
	return func() {
		_ = conn.Close()
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.conns, conn)
	}
}

func (g *gateway) close() {
	_ = g.Close()
	g.mu.Lock()
	for conn := range g.conns {
		_ = conn.Close()
	}
	g.mu.Unlock()
	g.open.Wait()
}
