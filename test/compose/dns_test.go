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

// dns is a name server like Docker's: it has the addresses of the running
// replicas by the name of their service.
type dns struct {
	net.PacketConn

	mu    sync.Mutex
	known map[string][]netip.Addr
}

func newDNS(t *testing.T) *dns {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &dns{PacketConn: conn, known: map[string][]netip.Addr{}}
	done := make(chan struct{})
	go func() { defer close(done); d.serve() }()
	t.Cleanup(func() { _ = conn.Close(); <-done })
	return d
}

func (d *dns) add(name, addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known[name] = append(d.known[name], netip.MustParseAddr(addr))
}

func (d *dns) remove(name, addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known[name] = slices.DeleteFunc(d.known[name], func(a netip.Addr) bool { return a.String() == addr })
}

func (d *dns) serve() {
	buffer := make([]byte, 4096)
	for {
		length, from, err := d.ReadFrom(buffer)
		if err != nil {
			return
		}
		if answer, err := d.answer(buffer[:length]); err == nil {
			_, _ = d.WriteTo(answer, from)
		}
	}
}

func (d *dns) answer(query []byte) ([]byte, error) {
	var asked dnsmessage.Message
	if err := asked.Unpack(query); err != nil {
		return nil, err
	}
	question := asked.Questions[0]
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: asked.ID, Response: true, RecursionAvailable: true},
		Questions: asked.Questions,
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	found := d.known[strings.TrimSuffix(question.Name.String(), ".")]
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
