package load

import (
	"bufio"
	"bytes"
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
	// patience is far beyond everything that a service may take.
	patience = 60 * time.Second
	// chunks is how many pieces a slow upload has.
	chunks = 20

	keyHeader = "Idempotency-Key"
)

// request is sent once, whatever happens, unless it has a key and its worker
// sends it again.
type request struct {
	method, path string
	body         []byte
	// token is shown, where there is one.
	token string
	// key is its Idempotency-Key; again says that it was sent before.
	key   string
	again bool
	// over is how long the sending of the body takes.
	over time.Duration
	// last closes the connection after the answer.
	last bool
}

// answer is what came back, and over which connection.
type answer struct {
	status int
	body   []byte
	pod    string
	conn   uint64
	// replayed says that it is the answer which was made when the request came
	// for the first time.
	replayed bool
	// began is when the request was sent on an open connection, or when one was
	// tried for in vain.
	began time.Time
}

// transport sends a request to an endpoint. The answer tells of the connection
// and, where it is known, of the pod also when there is an error.
type transport interface {
	send(ctx context.Context, to Endpoint, r request) (answer, error)
	close()
}

// wires are the HTTP/1.1 connections of one worker, one for each address.
// net/http's client is no use here: it repeats requests.
type wires struct {
	load *Load
	open map[string]*wire
}

type wire struct {
	net.Conn
	reader  *bufio.Reader
	id      uint64
	pod     string
	watched chan struct{} // see watch; closed when nobody watches any more
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
	got.status, got.body, got.replayed = response.StatusCode, body, replayed(response)
	return got, nil
}

// connect returns the open connection, or a new one if there is none or the
// server has closed it while it was idle: nothing had been sent on it, so this
// repeats nothing.
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

// watch closes the connection as soon as the server does, as every client does
// that reads in the background. Closed only at its next use, it says good-bye to
// a pod that is gone and cannot answer: the kernel of the node then holds the
// translation of this address and port to that pod for another 30 s, and sends
// whoever gets the same port in that time nowhere (nf_conntrack ignores a SYN
// in LAST_ACK).
func (w *wire) watch() {
	w.watched = make(chan struct{})
	go func() {
		defer close(w.watched)
		if _, err := w.reader.Peek(1); !errors.Is(err, os.ErrDeadlineExceeded) {
			_ = w.Close()
		}
	}()
}

// alive ends the watch, and looks once more without waiting whether the server
// has closed the connection or has something to say that nobody asked for.
func (w *wire) alive() bool {
	_ = w.SetReadDeadline(time.Now())
	<-w.watched
	_ = w.SetReadDeadline(time.Time{})
	raw, err := w.Conn.(*net.TCPConn).SyscallConn()
	if err != nil || w.reader.Buffered() > 0 {
		return false
	}
	nothing := false
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		nothing = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && nothing
}

func replayed(response *http.Response) bool {
	return response.Header.Get("Idempotency-Replayed") == "true"
}

func (w *wire) exchange(host string, r request) (*http.Response, []byte, error) {
	if err := w.SetDeadline(time.Now().Add(patience + r.over)); err != nil {
		return nil, nil, err
	}
	// An early answer may come while the body is still on its way, and the
	// connection be closed: the answer says more than the broken write.
	writeErr := w.write(host, r)
	response, err := http.ReadResponse(w.reader, &http.Request{Method: r.method})
	if err != nil {
		return nil, nil, errors.Join(writeErr, err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errCutShort, err)
	}
	return response, body, nil
}

func (w *wire) write(host string, r request) error {
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n", r.method, r.path, host)
	if r.body != nil {
		fmt.Fprintf(&head, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(r.body))
	}
	if r.token != "" {
		fmt.Fprintf(&head, "Authorization: Bearer %s\r\n", r.token)
	}
	if r.key != "" {
		fmt.Fprintf(&head, "%s: %s\r\n", keyHeader, r.key)
	}
	head.WriteString("\r\n")
	if r.over == 0 {
		head.Write(r.body)
		_, err := w.Write(head.Bytes())
		return err
	}
	if _, err := w.Write(head.Bytes()); err != nil {
		return err
	}
	began := time.Now()
	for n := range chunks {
		time.Sleep(time.Until(began.Add(r.over * time.Duration(n+1) / chunks)))
		from, to := len(r.body)*n/chunks, len(r.body)*(n+1)/chunks
		if _, err := w.Write(r.body[from:to]); err != nil {
			return err
		}
	}
	return nil
}
