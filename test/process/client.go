package process

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"time"
)

// Answer is a response.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// Closing reports whether the server closes the connection after the response.
	Closing bool
}

// JSON decodes the body into a value.
func (a Answer) JSON(into any) error { return json.Unmarshal(a.Body, into) }

// ID returns the id of the object in the response, or 0.
func (a Answer) ID() uint64 {
	var envelope struct {
		Data struct{ ID uint64 }
	}
	_ = a.JSON(&envelope)
	return envelope.Data.ID
}

// Ask sends a request with Token on a new connection. body, if not nil, is encoded as
// JSON.
func Ask(method, url string, body any) (Answer, error) { return AskWith(nil, method, url, body) }

// AskWith is like Ask, with additional headers, which take precedence.
func AskWith(more http.Header, method, url string, body any) (Answer, error) {
	rest, ok := strings.CutPrefix(url, "http://")
	if !ok {
		return Answer{}, fmt.Errorf("not an http URL: %s", url)
	}
	addr, path, _ := strings.Cut(rest, "/")
	conn, err := Dial(addr)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = conn.Close() }()
	maps.Copy(conn.Header, more)
	return conn.Ask(method, "/"+path, body)
}

// Conn is an HTTP/1.1 connection. It never retries a request. Each write and each read
// has the timeout Patience.
type Conn struct {
	net.Conn
	// Header is sent with each request.
	Header http.Header
	reader *bufio.Reader
}

// Dial opens a connection that sends Token with each request.
func Dial(addr string) (*Conn, error) {
	conn, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		return nil, err
	}
	c := &Conn{Conn: conn, Header: Header(built.token)}
	c.reader = bufio.NewReader(c)
	return c, nil
}

// Ask sends a request and reads the response.
func (c *Conn) Ask(method, path string, body any) (Answer, error) {
	var payload []byte
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return Answer{}, err
		}
		payload = encoded
	}
	if err := c.Send(method, path, payload, len(payload)); err != nil {
		return Answer{}, err
	}
	return c.Receive(method)
}

// Send writes a request with the Content-Length length in a single write.
func (c *Conn) Send(method, path string, body []byte, length int) error {
	var request bytes.Buffer
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: test\r\n", method, path)
	_ = c.Header.Write(&request) // never fails
	if length > 0 {
		fmt.Fprintf(&request, "Content-Type: application/json\r\nContent-Length: %d\r\n", length)
	}
	request.WriteString("\r\n")
	request.Write(body)
	_, err := c.Write(request.Bytes())
	return err
}

// Write implements net.Conn.
func (c *Conn) Write(text []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(Patience)); err != nil {
		return 0, err
	}
	return c.Conn.Write(text)
}

// Read implements net.Conn.
func (c *Conn) Read(into []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		return 0, err
	}
	return c.Conn.Read(into)
}

// Receive reads the response to a request of the given method.
func (c *Conn) Receive(method string) (Answer, error) {
	response, err := c.Begin(method)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return Answer{Status: response.StatusCode, Header: response.Header, Body: body, Closing: response.Close}, err
}

// Begin reads the header of the response to a request of the given method. The caller reads
// its body.
func (c *Conn) Begin(method string) (*http.Response, error) {
	return http.ReadResponse(c.reader, &http.Request{Method: method})
}

// AwaitClose waits until the server closes the connection. It returns an error if the
// server sends anything before.
func (c *Conn) AwaitClose() error {
	if next, err := c.reader.ReadByte(); err != io.EOF {
		return fmt.Errorf("got byte %q, error %w", next, err)
	}
	return nil
}
