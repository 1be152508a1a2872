package process_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// front is what stands before the replicas of a service: one address whose
// connections go to any replica that takes them.
type front struct {
	endpoints
	net.Listener

	// swallow has the next answer lost on its way.
	swallow atomic.Bool

	open  sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newFront(t *testing.T) *front {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	f := &front{Listener: listener, conns: map[net.Conn]bool{}}
	f.open.Go(f.accept)
	t.Cleanup(f.close)
	return f
}

func (f *front) addr() string { return f.Addr().String() }

func (f *front) accept() {
	for {
		client, err := f.Accept()
		if err != nil {
			return
		}
		f.open.Go(func() { f.forward(client) })
	}
}

func (f *front) forward(client net.Conn) {
	defer f.keep(client)()
	for range 3 {
		addr, ok := f.pick()
		if !ok {
			return
		}
		server, err := net.Dial("tcp", addr)
		if err != nil {
			continue // killed a moment ago
		}
		defer f.keep(server)()
		var copied sync.WaitGroup
		copied.Go(func() { _, _ = io.Copy(server, client); _ = server.Close(); _ = client.Close() })
		if f.swallow.CompareAndSwap(true, false) {
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

// keep remembers an open connection until the function that it returns is
// called.
func (f *front) keep(conn net.Conn) (drop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns[conn] = true
	return func() {
		_ = conn.Close()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.conns, conn)
	}
}

func (f *front) close() {
	_ = f.Close()
	f.mu.Lock()
	for conn := range f.conns {
		_ = conn.Close()
	}
	f.mu.Unlock()
	f.open.Wait()
}
