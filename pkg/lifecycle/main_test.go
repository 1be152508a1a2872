package lifecycle_test

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
)

// patience is the timeout of every wait that a passing test does not reach.
const patience = time.Minute

// pause is longer than the machine is likely to be suspended. It is the delay of
// drains in which a test has something to do.
const pause = 4 * time.Second

func TestMain(m *testing.M) {
	if drain := os.Getenv("LIFECYCLE_CHILD_DRAIN"); drain != "" {
		os.Exit(child(drain))
	}
	flag.Parse()
	_ = flag.Set("test.parallel", "8") // slow tests only wait
	// net/http ends it by itself after half a second.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// slow runs a test in parallel, and skips it in short mode.
func slow(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short waits for no drains")
	}
	t.Parallel()
}

// service is a process under test with one server.
type service struct {
	*lifecycle.Process
	addr    string
	signals chan os.Signal
	logs    *observer.ObservedLogs
	result  chan error
}

func newService(t *testing.T, cfg lifecycle.Config, handler http.Handler) *service {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	s := &service{signals: make(chan os.Signal, 2), logs: logs, result: make(chan error, 1)}
	s.Process = lifecycle.New(cfg, s.signals, zap.New(core))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.addr = ln.Addr().String()
	s.Serve("http", newServer(handler), ln)
	return s
}

func newServer(handler http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{Handler: handler, Protocols: protocols, ReadHeaderTimeout: patience}
}

func (s *service) start() { go func() { s.result <- s.Run() }() }

func (s *service) draining() bool {
	select {
	case <-s.Draining():
		return true
	default:
		return false
	}
}

func (s *service) signal() { s.signals <- syscall.SIGTERM }

func (s *service) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.result:
		return err
	case <-time.After(patience):
		t.Fatal("Run did not return")
		return nil
	}
}

func await(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatal("never happened: " + what)
	}
}

// conn is a client that never retries or redials.
type conn struct {
	net.Conn
	reader *bufio.Reader
}

func dial(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &conn{c, bufio.NewReader(c)}, c.SetDeadline(time.Now().Add(patience))
}

func mustDial(t *testing.T, addr string) *conn {
	t.Helper()
	c, err := dial(addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (c *conn) send(method, path, body string) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n%s", method, path, len(body), body)
	return err
}

// receive returns the response's body and whether the server closes the connection.
func (c *conn) receive() (status int, body string, closing bool, err error) {
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return 0, "", false, err
	}
	data, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	return response.StatusCode, string(data), response.Close, err
}

func (c *conn) post(body string) (status int, answer string, closing bool, err error) {
	if err := c.send(http.MethodPost, "/", body); err != nil {
		return 0, "", false, err
	}
	return c.receive()
}

func echo(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(w, r.Body)
}

func lines(logs *observer.ObservedLogs) string {
	var text strings.Builder
	for _, e := range logs.All() {
		fmt.Fprintln(&text, e.Message, e.ContextMap())
	}
	return text.String()
}
