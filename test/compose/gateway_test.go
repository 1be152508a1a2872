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

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/test/process"
)

// door is the real proxy with the real configuration, in which only addresses
// are others.
type door struct {
	*process.Process
	*names
	addr   string
	ports  map[string]int // of the services, each on all of its addresses
	socket string         // where the proxy tells what it knows
	// trusts says that the proxy believes a replica as soon as it has a name.
	trusts bool
}

func newDoor(t *testing.T) *door {
	t.Helper()
	program := process.Installed(t, "haproxy")
	version := regexp.MustCompile(`version (\d+)\.(\d+)`).FindStringSubmatch(process.Tool(t, ".", nil, "haproxy", "-v"))
	require.NotNil(t, version)
	dir := t.TempDir()
	listener, health := listen(t), listen(t)
	d := &door{
		names: newNames(t), addr: listener.Addr().String(), socket: filepath.Join(dir, "socket"),
		ports:  map[string]int{"tag": reservePort(t), "article": reservePort(t)},
		trusts: version[1] < "3" || version[1] == "3" && version[2] == "0",
	}
	config := strings.NewReplacer(
		"127.0.0.11:53", d.LocalAddr().String(), "bind :8080", "bind fd@3", "bind 127.0.0.1:8404", "bind fd@4",
		" tag:8080", fmt.Sprintf(" tag:%d", d.ports["tag"]), " article:8080", fmt.Sprintf(" article:%d", d.ports["article"]),
		"\nglobal\n", "\nglobal\n  stats socket "+d.socket+"\n",
		"timeout check 1s", "timeout check 30s", // on a busy machine a slow replica is no dead one
	).Replace(read(t, folder+"/haproxy.cfg"))
	if d.trusts { // HAProxy knows the setting from 3.1 on
		config = strings.Replace(config, " init-state down", "", 1)
	}
	file := filepath.Join(dir, "haproxy.cfg")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	command := exec.Command(program, "-db", "-f", file)
	command.ExtraFiles = []*os.File{handOver(t, listener), handOver(t, health)} // 3 and 4
	d.Process = process.StartCommand(t, command)
	process.Await(t, "the proxy to listen", func() bool {
		answer, err := process.Ask("GET", "http://"+health.Addr().String()+"/", nil)
		return err == nil && answer.Status == 503 || d.Ended() // no replica is there yet
	})
	require.False(t, d.Ended(), d.Stderr())
	return d
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
func (d *door) awaitServing(t *testing.T, name, addr string) {
	t.Helper()
	const running = "2"
	process.Await(t, "the proxy to use "+addr+" for "+name, func() bool {
		conn, err := net.Dial("unix", d.socket)
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
func (d *door) awaitOpen(t *testing.T, path string) {
	t.Helper()
	process.Await(t, "an answer behind the door", func() bool {
		answer, err := process.Ask("GET", "http://"+d.addr+path, nil)
		return err == nil && answer.Status < 500
	})
}

// fake is a replica that does with its requests what the test wants.
func (d *door) fake(t *testing.T, name string, handle http.HandlerFunc) {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", d.ports[name]))
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/", handle)
	server := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	d.add(name, "127.0.0.2")
}

func (d *door) ask(t *testing.T, method, path string, header http.Header) process.Answer {
	t.Helper()
	conn, err := process.Dial(d.addr)
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
	want, err := json.Marshal(responses.Problem{Code: int(code), Msg: code.Message("zh"), Details: []string{}})
	require.NoError(t, err)
	require.Equal(t, string(want), string(answer.Body))
}

func TestTheDoorLeadsToTheAPIAlone(t *testing.T) {
	d := newDoor(t)
	requireProblem(t, d.ask(t, "GET", "/api/v1/tags", nil), errcode.Unavailable)
	for _, name := range []string{"tag", "article"} {
		d.fake(t, name, func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprintf(w, "%s of %v at %s", r.URL.Path, r.Header.Values("X-Forwarded-For"), name)
		})
	}
	d.awaitOpen(t, "/api/v1/tags")
	d.awaitOpen(t, "/api/v1/articles")

	for path, name := range map[string]string{
		"/api/v1/tags": "tag", "/api/v1/tags?page=1": "tag", "/api/v1/tags/7": "tag", "/swagger/tag/": "tag",
		"/api/v1/articles": "article", "/api/v1/articles/7/state": "article", "/swagger/article/index.html": "article",
		"/auth": "article",
	} {
		answer := d.ask(t, "GET", path, http.Header{"X-Forwarded-For": {"6.6.6.6", "7.7.7.7"}, "Connection": {"X-Forwarded-For"}})
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
		requireProblem(t, d.ask(t, "GET", path, nil), errcode.NotFound)
	}
	answer := d.ask(t, "GET", "/", nil)
	require.Equal(t, 302, answer.Status)
	require.Equal(t, "/swagger/article/", answer.Header.Get("Location"))
}

// What the proxy says by itself has the form, and the codes, of the API.
func TestTheDoorSpeaksLikeTheServices(t *testing.T) {
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

// Whether a request that got no answer took effect nobody knows: it must reach
// a service once, and the client has to be told.
func TestTheDoorRepeatsNothing(t *testing.T) {
	d := newDoor(t)
	var seen atomic.Int64
	d.fake(t, "tag", func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/tags/1" {
			seen.Add(1)
			panic(http.ErrAbortHandler)
		}
	})
	d.awaitOpen(t, "/api/v1/tags")
	for _, method := range []string{"POST", "GET"} {
		seen.Store(0)
		requireProblem(t, d.ask(t, method, "/api/v1/tags/1", nil), errcode.Unavailable)
		require.EqualValues(t, 1, seen.Load(), method)
	}
}

// When the proxy itself is told to stop, what is under way is finished.
func TestTheDoorFinishesWhatIsUnderWay(t *testing.T) {
	d := newDoor(t)
	arrived, finish := make(chan struct{}), make(chan struct{})
	d.fake(t, "tag", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			close(arrived)
			<-finish
			w.WriteHeader(http.StatusCreated)
		}
	})
	d.awaitOpen(t, "/api/v1/tags")
	conn, err := process.Dial(d.addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.Send("POST", "/api/v1/tags", []byte("x"), 1))
	<-arrived
	d.Signal(t, syscall.SIGUSR1) // as stop_signal says
	process.Await(t, "the door to be closed", func() bool {
		conn, err := process.Dial(d.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(finish)
	answer, err := conn.Receive(http.MethodPost)
	require.NoError(t, err)
	require.Equal(t, http.StatusCreated, answer.Status)
	require.Zero(t, d.Exit(t))
}
