package compose_test

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// names are what Docker's DNS is: the addresses of the replicas that run, by
// the name of their service.
type names struct {
	net.PacketConn

	mu    sync.Mutex
	known map[string][]netip.Addr
}

func newNames(t *testing.T) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	n := &names{PacketConn: conn, known: map[string][]netip.Addr{}}
	done := make(chan struct{})
	go func() { defer close(done); n.serve() }()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return n
}

func (n *names) add(name, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known[name] = append(n.known[name], netip.MustParseAddr(addr))
}

func (n *names) remove(name, addr string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.known[name] = slices.DeleteFunc(n.known[name], func(a netip.Addr) bool { return a.String() == addr })
}

func (n *names) serve() {
	buffer := make([]byte, 4096)
	for {
		length, from, err := n.ReadFrom(buffer)
		if err != nil {
			return
		}
		if answer, err := n.answer(buffer[:length]); err == nil {
			_, _ = n.WriteTo(answer, from)
		}
	}
}

func (n *names) answer(query []byte) ([]byte, error) {
	var asked dnsmessage.Message
	if err := asked.Unpack(query); err != nil {
		return nil, err
	}
	question := asked.Questions[0]
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: asked.ID, Response: true, RecursionAvailable: true},
		Questions: asked.Questions,
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	found := n.known[strings.TrimSuffix(question.Name.String(), ".")]
	if len(found) == 0 {
		answer.RCode = dnsmessage.RCodeNameError
	}
	for _, addr := range found {
		if question.Type == dnsmessage.TypeA {
			answer.Answers = append(answer.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: 600},
				Body:   &dnsmessage.AResource{A: addr.As4()},
			})
		}
	}
	return answer.Pack()
}
