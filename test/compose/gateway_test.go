package compose_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/test/process"
	"github.com/achilles-blog/achilles/test/services"
)

// gateway is the real proxy with the real configuration, in which only the
// addresses are replaced.
type gateway struct {
	*process.Process
	*dns
	addr   string
	ports  map[string]int // of the services, each on all of its addresses
	socket string         // of the proxy's runtime API
	// trusts says that the proxy believes a replica as soon as it has a name.
	trusts bool
}

// newGateway starts a gateway. replace are further texts of its configuration, each followed by
// what is to be there instead.
func newGateway(t *testing.T, replace ...string) *gateway {
	t.Helper()
	program := process.Installed(t, "haproxy")
	version := regexp.MustCompile(`version (\d+)\.(\d+)`).FindStringSubmatch(process.Tool(t, ".", nil, "haproxy", "-v"))
	require.NotNil(t, version)
	dir := t.TempDir()
	listener, health := listen(t), listen(t)
	g := &gateway{
		dns: newDNS(t), addr: listener.Addr().String(), socket: filepath.Join(dir, "socket"),
		ports:  map[string]int{},
		trusts: version[1] < "3" || version[1] == "3" && version[2] == "0",
	}
	replace = append(replace,
		"127.0.0.11:53", g.LocalAddr().String(), "bind :8080", "bind fd@3", "bind 127.0.0.1:8404", "bind fd@4",
		"\nglobal\n", "\nglobal\n  stats socket "+g.socket+"\n",
		"timeout check 1s", "timeout check 30s", // on a busy machine a slow replica is not dead
	)
	for _, name := range names(t) {
		g.ports[name] = reservePort(t)
		replace = append(replace, " "+name+":8080", fmt.Sprintf(" %s:%d", name, g.ports[name]))
	}
	config := strings.NewReplacer(replace...).Replace(read(t, folder+"/haproxy.cfg"))
	if g.trusts { // HAProxy knows the setting from 3.1 on
		config = strings.Replace(config, " init-state down", "", 1)
	}
	file := filepath.Join(dir, "haproxy.cfg")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	command := exec.Command(program, "-db", "-f", file)
	command.ExtraFiles = []*os.File{handOver(t, listener), handOver(t, health)} // 3 and 4
	g.Process = process.StartCommand(t, command)
	process.Await(t, "the proxy to listen", func() bool {
		answer, err := process.Ask("GET", "http://"+health.Addr().String()+"/", nil)
		return err == nil && answer.Status == 503 || g.Ended() // no replica is there yet
	})
	require.False(t, g.Ended(), g.Stderr())
	return g
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	return listener
}

// handOver returns the file of a listener, which is then its only owner.
func handOver(t *testing.T, listener *net.TCPListener) *os.File {
	t.Helper()
	file, err := listener.File()
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return file
}

// reservePort returns a port that is free on the other addresses of the
// loopback: until the end of the test it is taken on the first, which is where
// all other programs look for one.
func reservePort(t *testing.T) int {
	t.Helper()
	listener := listen(t)
	t.Cleanup(func() { _ = listener.Close() })
	return listener.Addr().(*net.TCPAddr).Port
}

// awaitServing waits until the proxy sends requests for a service to an address.
func (g *gateway) awaitServing(t *testing.T, name, addr string) {
	t.Helper()
	const running = "2"
	process.Await(t, "the proxy to use "+addr+" for "+name, func() bool {
		conn, err := net.Dial("unix", g.socket)
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		_, err = fmt.Fprintf(conn, "show servers state %s\n", name)
		require.NoError(t, err)
		table, err := io.ReadAll(conn)
		require.NoError(t, err)
		for line := range strings.Lines(string(table)) {
			if fields := strings.Fields(line); len(fields) > 5 && fields[4] == addr && fields[5] == running {
				return true
			}
		}
		return false
	})
}

// awaitOpen waits until requests for the path are answered.
func (g *gateway) awaitOpen(t *testing.T, path string) {
	t.Helper()
	process.Await(t, "an answer through the gateway", func() bool {
		answer, err := process.Ask("GET", "http://"+g.addr+path, nil)
		return err == nil && answer.Status < 500
	})
}

// fake starts a replica that answers with handle.
func (g *gateway) fake(t *testing.T, name string, handle http.HandlerFunc) {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", g.ports[name]))
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/", handle)
	server := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	g.add(name, "127.0.0.2")
}

func (g *gateway) ask(t *testing.T, method, path string, header http.Header) process.Answer {
	t.Helper()
	conn, err := process.Dial(g.addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: test\r\n", method, path)
	require.NoError(t, err)
	require.NoError(t, header.Write(conn))
	_, err = conn.Write([]byte("Content-Length: 0\r\n\r\n"))
	require.NoError(t, err)
	answer, err := conn.Receive(method)
	require.NoError(t, err)
	return answer
}

func requireProblem(t *testing.T, answer process.Answer, code errcode.Code) {
	t.Helper()
	require.Equal(t, code.Status(), answer.Status)
	require.Equal(t, "application/json; charset=utf-8", answer.Header.Get("Content-Type"))
	want, err := json.Marshal(responses.Problem{Code: int(code), Msg: code.Message("zh"), Details: []string{}, Errors: []responses.FieldError{}})
	require.NoError(t, err)
	require.Equal(t, string(want), string(answer.Body))
}

func TestGatewayPassesOnTheAPIAlone(t *testing.T) {
	g := newGateway(t)
	requireProblem(t, g.ask(t, "GET", "/api/v1/tags", nil), errcode.Unavailable)
	for _, name := range names(t) {
		g.fake(t, name, func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "%s of %v at %s", r.URL.Path, r.Header.Values("X-Forwarded-For"), name)
		})
	}
	routes := map[string]string{"/api/v1/tags?page=1": "tag", "/api/v1/tags/7": "tag", "/api/v1/articles/7/state": "article", "/swagger/article/index.html": "article"}
	all, err := services.Read(root)
	require.NoError(t, err)
	for _, s := range all {
		g.awaitOpen(t, s.Paths[0])
		for _, path := range append(s.Paths, "/swagger/"+s.Name+"/") {
			routes[path] = s.Name
		}
	}
	for path, name := range routes {
		answer := g.ask(t, "GET", path, http.Header{"X-Forwarded-For": {"6.6.6.6", "7.7.7.7"}, "Connection": {"X-Forwarded-For"}})
		plain, _, _ := strings.Cut(path, "?")
		require.Equal(t, fmt.Sprintf("%s of [127.0.0.1] at %s", plain, name), string(answer.Body))
	}
	for _, path := range []string{
		"/internal/v1/tag-changes?after=0", "/internal/v1/tag-snapshot", "/readyz", "/healthz", "/version", "/metrics", "/api", "/api/v1/tagsandmore",
		"/authority", "/Auth", "/auth/../internal/v1/tag-snapshot",
		"/api/v1/tags/../../../internal/v1/tag-snapshot", "/api/v1/tags/..%2f..%2f..%2finternal/v1/tag-snapshot",
		"/api/v1/tags/%2e%2e/%2E%2E/%2e%2e/internal/v1/tag-snapshot", "/api/v1/tags/.", "/api/v1/tags//1", "//internal/v1/tag-snapshot",
		"http://test/internal/v1/tag-snapshot",
	} {
		requireProblem(t, g.ask(t, "GET", path, nil), errcode.NotFound)
	}
	answer := g.ask(t, "GET", "/", nil)
	require.Equal(t, 302, answer.Status)
	require.Equal(t, "/swagger/article/", answer.Header.Get("Location"))
}

// The proxy's own errors have the envelope and the codes of the API.
func TestGatewayErrorsAreThoseOfTheAPI(t *testing.T) {
	said := 0
	for _, line := range regexp.MustCompile(`status (\d+) .* string '([^']+)'`).FindAllStringSubmatch(read(t, folder+"/haproxy.cfg"), -1) {
		said++
		var problem responses.Problem
		require.NoError(t, json.Unmarshal([]byte(line[2]), &problem))
		code := errcode.Code(problem.Code)
		require.Equal(t, code.Message("zh"), problem.Msg)
		if line[1] == "502" { // made a 503 on its way out
			line[1] = "503"
		}
		require.Equal(t, fmt.Sprint(code.Status()), line[1])
	}
	require.Equal(t, 7, said)
}

// A request that got no answer may have taken effect: it must reach a service
// once, and the client gets an error.
func TestGatewayRepeatsNothing(t *testing.T) {
	g := newGateway(t)
	var seen atomic.Int64
	g.fake(t, "tag", func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/tags/1" {
			seen.Add(1)
			panic(http.ErrAbortHandler)
		}
	})
	g.awaitOpen(t, "/api/v1/tags")
	for _, method := range []string{"POST", "GET"} {
		seen.Store(0)
		requireProblem(t, g.ask(t, method, "/api/v1/tags/1", nil), errcode.Unavailable)
		require.EqualValues(t, 1, seen.Load(), method)
	}
}

// The proxy finishes the requests in progress before it stops.
func TestGatewayFinishesRequestsInProgress(t *testing.T) {
	g := newGateway(t)
	arrived, finish := make(chan struct{}), make(chan struct{})
	g.fake(t, "tag", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			close(arrived)
			<-finish
			w.WriteHeader(http.StatusCreated)
		}
	})
	g.awaitOpen(t, "/api/v1/tags")
	conn, err := process.Dial(g.addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.Send("POST", "/api/v1/tags", []byte("x"), 1))
	<-arrived
	g.Signal(t, syscall.SIGUSR1) // as stop_signal says
	process.Await(t, "the gateway to be closed", func() bool {
		conn, err := process.Dial(g.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(finish)
	answer, err := conn.Receive(http.MethodPost)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, answer.Status)
	require.Zero(t, g.Exit(t))
}

// A file of 10 MiB gets through, and so do a client and a service that are slow, as long as
// they don't stop: here for several times the timeouts.
func TestGatewayPassesOnFiles(t *testing.T) {
	const size, pieces = 10 << 20, 40
	pause := 100 * time.Millisecond
	g := newGateway(t, "timeout client 30s", "timeout client 1s", "timeout server 70s", "timeout server 1s", "timeout http-request 10s", "timeout http-request 1s")
	g.fake(t, "article", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			for range pieces {
				_, _ = w.Write(make([]byte, size/pieces))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(pause)
			}
			return
		}
		got, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprint(w, got, err)
	})
	g.awaitOpen(t, "/auth")
	conn, err := process.Dial(g.addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.Send("POST", "/api/v1/file/upload", nil, size))
	for range pieces {
		_, err := conn.Write(make([]byte, size/pieces))
		require.NoError(t, err)
		time.Sleep(pause)
	}
	answer, err := conn.Receive(http.MethodPost)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(size, nil), string(answer.Body))
	answer, err = conn.Ask("GET", "/api/v1/file/download/1", nil)
	require.NoError(t, err)
	require.Len(t, answer.Body, size)
}
