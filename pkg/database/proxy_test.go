package database_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy forwards TCP connections until silence, after which it keeps them open and
// forwards nothing.
type proxy struct {
	addr   string
	silent chan struct{}
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{addr: listener.Addr().String(), silent: make(chan struct{})}
	var open, accepting sync.WaitGroup
	var conns []net.Conn
	accepting.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			conns = append(conns, client, server)
			open.Go(func() { p.forward(server, client) })
			open.Go(func() { p.forward(client, server) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		accepting.Wait()
		p.silence()
		for _, conn := range conns {
			_ = conn.Close()
		}
		open.Wait()
	})
	return p
}

func (p *proxy) forward(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-p.silent:
			_, _ = io.Copy(io.Discard, from)
			return
		default:
		}
		if n > 0 {
			_, _ = to.Write(buffer[:n])
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

func (p *proxy) silence() {
	select {
	case <-p.silent:
	default:
		close(p.silent)
	}
}
