package load

import (
	"bufio"
	"fmt"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// Exchange makes the requests of one connection and verifies their responses.
type Exchange interface {
	// Append appends the next request, as HTTP/1.1 has it.
	Append(to []byte) []byte
	// Check verifies the response to the last request. It must not keep response.
	Check(response *fasthttp.Response) error
}

// Conn is a Worker with one connection, on which it never retries a request. It is opened
// again when the server closes it.
type Conn struct {
	dialer   net.Dialer
	addr     string
	exchange Exchange

	conn     net.Conn
	used     time.Time
	deadline time.Time // of conn
	reader   *bufio.Reader
	request  []byte
	response fasthttp.Response
}

// NewConn returns a Worker that sends the requests of exchange to the host:port addr, from
// an IP address of this machine, or from any if it is nil.
func NewConn(from net.IP, addr string, exchange Exchange) *Conn {
	c := &Conn{dialer: net.Dialer{Timeout: 10 * time.Second}, addr: addr, exchange: exchange, reader: bufio.NewReaderSize(nil, 16<<10)}
	if from != nil {
		c.dialer.LocalAddr = &net.TCPAddr{IP: from}
	}
	return c
}

// A Conn that was not used for maxIdle is opened again, because the server may close it.
const maxIdle = time.Minute

// Do implements Worker.
func (c *Conn) Do() error {
	now := time.Now()
	if now.Sub(c.used) > maxIdle {
		c.Close()
	}
	c.used = now
	if c.conn == nil {
		conn, err := c.dialer.Dial("tcp", c.addr)
		if err != nil {
			return err
		}
		c.conn, c.deadline = conn, time.Time{}
		c.reader.Reset(conn)
	}
	// Not for each request, because each change costs time.
	if c.deadline.Sub(now) < maxIdle {
		c.deadline = now.Add(2 * maxIdle)
		if err := c.conn.SetDeadline(c.deadline); err != nil {
			return err
		}
	}
	c.request = c.exchange.Append(c.request[:0])
	if _, err := c.conn.Write(c.request); err != nil {
		return fmt.Errorf("sending %.100q: %w", c.request, err)
	}
	if err := c.response.Read(c.reader); err != nil {
		return fmt.Errorf("reading the response to %.100q: %w", c.request, err)
	}
	if c.response.ConnectionClose() {
		c.Close()
	}
	return c.exchange.Check(&c.response)
}

// Close closes the connection.
func (c *Conn) Close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
