package load

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

const (
	dialTimeout = 5 * time.Second
	// requestTimeout is much longer than any timeout of a service.
	requestTimeout = 60 * time.Second
	// chunks is the number of chunks of a slow upload.
	chunks = 20

	keyHeader   = "Idempotency-Key"
	retryHeader = "Retry-After"
)

// request is a request. Without a key it is never repeated.
type request struct {
	method, path string
	body         []byte
	contentType  string // of the body; empty for JSON
	// token is the bearer token, if any.
	token string
	// key is the Idempotency-Key. again reports whether the request is a repetition.
	key   string
	again bool
	// uploadTime is the time to send the body, downloadTime that to read the response's.
	uploadTime, downloadTime time.Duration
	// last closes the connection after the response.
	last bool
}

// answer is a response and its connection.
type answer struct {
	status int
	body   []byte
	pod    string
	conn   uint64
	// replayed reports whether the request had been applied before.
	replayed bool
	// retryAfter is when the service asks the client to send the request again, if it does.
	retryAfter string
	// began is when the request was sent, or when connecting began if it failed.
	began time.Time
}

// transport sends requests. If there is an error, the answer has the connection and, if
// known, the pod.
type transport interface {
	send(ctx context.Context, to Endpoint, r request) (answer, error)
	close()
}

// wires are the HTTP/1.1 connections of a worker, one per address. They don't use
// http.Client, which retries requests.
type wires struct {
	load *Load
	open map[string]*wire
}

type wire struct {
	net.Conn
	reader  *bufio.Reader
	id      uint64
	pod     string
	watched chan struct{} // closed when watch has returned
}

func newWires(l *Load) *wires { return &wires{load: l, open: map[string]*wire{}} }

func (ws *wires) close() {
	for _, w := range ws.open {
		_ = w.Close()
	}
}

func (ws *wires) send(ctx context.Context, to Endpoint, r request) (answer, error) {
	began := time.Now()
	w, err := ws.connect(ctx, to.Addr)
	if err != nil {
		return answer{began: began}, err
	}
	got := answer{pod: w.pod, conn: w.id, began: time.Now()}
	response, body, err := w.exchange(to.Host, r)
	if err != nil || response.Close || r.last {
		_ = w.Close()
		delete(ws.open, to.Addr)
	} else {
		w.watch()
	}
	if err != nil {
		return got, err
	}
	if pod := response.Header.Get(podHeader); pod != "" {
		w.pod, got.pod = pod, pod
	}
	got.body = body
	got.describe(response)
	return got, nil
}

// connect returns the open connection, or a new one if there is none or if the server
// has closed it while it was idle. No request was sent on it, so none is repeated.
func (ws *wires) connect(ctx context.Context, addr string) (*wire, error) {
	if w := ws.open[addr]; w != nil {
		if w.alive() {
			return w, nil
		}
		ws.load.results.reconnected()
		_ = w.Close()
		delete(ws.open, addr)
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(context.WithoutCancel(ctx), "tcp", addr)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn, reader: bufio.NewReader(conn), id: ws.load.conns.Add(1)}
	ws.open[addr] = w
	return w, nil
}

// openAhead connects for a later request, unless a connection is open.
func (ws *wires) openAhead(ctx context.Context, addr string) error {
	if ws.open[addr] != nil {
		return nil
	}
	w, err := ws.connect(ctx, addr)
	if err == nil {
		w.watch()
	}
	return err
}

// watch closes the connection as soon as the server closes it, like clients that read
// in the background. If it were closed at its next use, the pod would be deleted and
// not acknowledge the FIN. The conntrack entry of the node would then stay in LAST_ACK
// for 30 s, and a new connection with the same port would be sent to the deleted pod.
func (w *wire) watch() {
	w.watched = make(chan struct{})
	go func() {
		defer close(w.watched)
		if _, err := w.reader.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			_ = w.Close()
		}
	}()
}

// alive stops the watch, and reports whether the server has neither closed the
// connection nor sent anything.
func (w *wire) alive() bool {
	_ = w.SetReadDeadline(time.Now())
	<-w.watched
	_ = w.SetReadDeadline(time.Time{})
	raw, err := w.Conn.(*net.TCPConn).SyscallConn()
	if err != nil || w.reader.Buffered() > 0 {
		return false
	}
	idle := false
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		idle = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && idle
}

// describe sets what the header of a response says.
func (a *answer) describe(response *http.Response) {
	a.status, a.retryAfter = response.StatusCode, response.Header.Get(retryHeader)
	a.replayed = response.Header.Get("Idempotency-Replayed") == "true"
}

func (w *wire) exchange(host string, r request) (*http.Response, []byte, error) {
	if err := w.SetDeadline(time.Now().Add(requestTimeout + r.uploadTime + r.downloadTime)); err != nil {
		return nil, nil, err
	}
	// The server may respond early and close the connection while the body is being
	// sent. The response is more useful than the write error.
	writeErr := w.write(host, r)
	response, err := http.ReadResponse(w.reader, &http.Request{Method: r.method})
	if err != nil {
		return nil, nil, errors.Join(writeErr, err)
	}
	body, err := readSlowly(response.Body, response.ContentLength, r.downloadTime)
	_ = response.Body.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errTruncated, err)
	}
	return response, body, nil
}

// readSlowly reads a body in a time, at once if the time is 0.
func readSlowly(body io.Reader, size int64, takes time.Duration) ([]byte, error) {
	var read bytes.Buffer
	for began, n := time.Now(), int64(0); takes > 0 && n < chunks; n++ {
		time.Sleep(time.Until(began.Add(takes * time.Duration(n) / chunks)))
		if _, err := io.CopyN(&read, body, size/chunks); err != nil {
			return read.Bytes(), err
		}
	}
	_, err := read.ReadFrom(body)
	return read.Bytes(), err
}

func (w *wire) write(host string, r request) error {
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.method, r.path, host)
	if r.body != nil {
		fmt.Fprintf(&head, "Content-Type: %s\r\nContent-Length: %d\r\n", cmp.Or(r.contentType, "application/json"), len(r.body))
	}
	if r.token != "" {
		fmt.Fprintf(&head, "Authorization: Bearer %s\r\n", r.token)
	}
	if r.key != "" {
		fmt.Fprintf(&head, "%s: %s\r\n", keyHeader, r.key)
	}
	head.WriteString("\r\n")
	if r.uploadTime == 0 {
		head.Write(r.body)
		_, err := w.Write(head.Bytes())
		return err
	}
	if _, err := w.Write(head.Bytes()); err != nil {
		return err
	}
	began := time.Now()
	for n := range chunks {
		time.Sleep(time.Until(began.Add(r.uploadTime * time.Duration(n+1) / chunks)))
		from, to := len(r.body)*n/chunks, len(r.body)*(n+1)/chunks
		if _, err := w.Write(r.body[from:to]); err != nil {
			return err
		}
	}
	return nil
}
