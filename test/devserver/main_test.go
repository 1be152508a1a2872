package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/test/services"
)

// patience bounds every wait for something that is bound to happen.
const patience = 30 * time.Second

// The test binary is also the programs of the process tests: under the name of a
// service it stands in for that service, and under devserver it is the devserver.
func TestMain(m *testing.M) {
	switch name := filepath.Base(os.Args[0]); name {
	case "devserver":
		main()
	case "tag", "article", "comment":
		os.Exit(standIn(name, os.Args[1:]))
	}
	goleak.VerifyTestMain(m)
}

// standIn behaves as the service of that name does, unless the environment
// variable STANDIN_<name> asks for a fault.
func standIn(name string, args []string) int {
	fault := os.Getenv("STANDIN_" + name)
	database := os.Getenv("ACHILLES_DATABASE_DBNAME")
	if args[0] == "client" {
		return standInClients(args[1:], database)
	}
	if slices.Contains(args, "--help") {
		return standInHelp(name)
	}
	if args[0] == "migrate" {
		if fault == "migration" {
			fmt.Fprintln(os.Stderr, name+": the schema is from the future")
			return 1
		}
		return appendTo(database, "migrated\n")
	}
	signals, release := lifecycle.Notify()
	defer release()
	ln, err := net.Listen("tcp", net.JoinHostPort(os.Getenv("ACHILLES_SERVER_HOST"), os.Getenv("ACHILLES_SERVER_HTTPPORT")))
	if err != nil || fault == "start" {
		fmt.Fprintln(os.Stderr, name+": cannot start", err)
		return 1
	}
	if fault == "stubborn" {
		signals = nil
	}
	process := lifecycle.New(lifecycle.Config{ShutdownTimeout: 10 * time.Second}, signals, zap.NewNop())
	process.Serve("http", &http.Server{Handler: standInHandler(name, database), ReadHeaderTimeout: patience}, ln)
	if process.Run() != nil {
		return 1
	}
	return appendTo(database, "stopped\n")
}

func appendTo(path, text string) int {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 1
	}
	defer func() { _ = file.Close() }()
	_, _ = file.WriteString(text)
	return 0
}

// standInHelp names the settings that a service knows.
func standInHelp(name string) int {
	known := []string{"SERVER_HTTPPORT", "DATABASE_DBNAME", "LOG_LEVEL"}
	switch name {
	case "tag":
		known = append(known, "FEED_RETENTION")
	case "article", "comment":
		known = append(known, "FEED_URL")
	}
	for _, setting := range known {
		fmt.Printf("  --flag text  (default 1; ACHILLES_%s)\n", setting)
	}
	return 0
}

// standInClients keeps the secret of a client beside the database.
func standInClients(args []string, database string) int {
	command, key := args[0], args[1]
	secret, err := io.ReadAll(os.Stdin)
	file := database + "." + key
	_, missing := os.Stat(file)
	if err != nil || args[2] != "--secret-file=-" || (command == "add") != (missing != nil) {
		fmt.Fprintln(os.Stderr, "article: cannot", command, "that client")
		return 1
	}
	if os.WriteFile(file, secret, 0o600) != nil {
		return 1
	}
	return 0
}

// standInAuth gives a token to the apps that there are.
func standInAuth(database string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var shown struct {
			Key    string `json:"app_key"`
			Secret string `json:"app_secret"`
		}
		_ = json.NewDecoder(r.Body).Decode(&shown)
		secret, err := os.ReadFile(database + "." + shown.Key)
		if err != nil || string(secret) != shown.Secret {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"code":10000003}`)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"code": 0, "data": map[string]any{"token": "for " + shown.Key}})
	}
}

func standInHandler(name, database string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /auth", standInAuth(database))
	mux.HandleFunc("/api/v1/tags/crash", func(http.ResponseWriter, *http.Request) {
		fmt.Fprintln(os.Stderr, "out of luck")
		os.Exit(3)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"code": 0, "list": []any{}, "service": name, "pid": os.Getpid(),
			"environ": os.Environ(),
		})
	})
	return mux
}

// list is the list of services of the tests.
const list = `
- {name: tag, port: 1, adminPort: 2, paths: [/api/v1/tags], resources: [{name: tag, path: /api/v1/tags}]}
- {name: article, port: 3, adminPort: 4, paths: [/api/v1/articles, /api/v1/file, /auth], issuer: true, follows: [tag], resources: [{name: article, path: /api/v1/articles}]}
- {name: comment, port: 5, adminPort: 6, paths: [/api/v1/comments], follows: [article], resources: [{name: comment, path: /api/v1/comments}]}
`

// listed returns the directory of a repository with the list.
func listed(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "services"), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(root, services.File), []byte(list), 0o600))
	return root
}

// programs returns a directory with the stand-ins and the devserver.
func programs(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	for _, name := range []string{"tag", "article", "comment", "devserver"} {
		require.NoError(t, os.Symlink(self, filepath.Join(dir, name)))
	}
	return dir
}

// started is devserver run as a process.
type started struct {
	*exec.Cmd
	bin, data string
	out       *buffer
	result    chan error
}

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func start(t *testing.T, data string, env ...string) *started {
	t.Helper()
	bin := programs(t)
	s := &started{bin: bin, data: data, out: &buffer{}, result: make(chan error, 1)}
	s.Cmd = exec.Command(filepath.Join(bin, "devserver"), "run", "--port", "0", "--data", data, "--bin", bin, "--root", listed(t))
	// Under the race detector each of the processes would wait a second to end.
	s.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), env...)
	s.Stdout, s.Stderr = s.out, s.out
	require.NoError(t, s.Start())
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		s.result <- s.Wait()
	}()
	t.Cleanup(func() {
		_ = s.Process.Kill()
		<-exited
	})
	return s
}

// base waits until the system is ready and returns its address.
func (s *started) base(t *testing.T) string {
	t.Helper()
	var found []string
	require.Eventually(t, func() bool {
		found = regexp.MustCompile(`ready on (http://\S+)\n(?s:.*)Ctrl-C stops`).FindStringSubmatch(s.out.String())
		return found != nil
	}, patience, 10*time.Millisecond, "it never said that it is ready")
	return found[1]
}

func (s *started) awaitOutput(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(s.out.String(), text) }, patience, time.Millisecond)
}

func (s *started) exitCode(t *testing.T) int {
	t.Helper()
	select {
	case err := <-s.result:
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			return exit.ExitCode()
		}
		require.NoError(t, err)
		return 0
	case <-time.After(patience):
		t.Fatalf("it does not end:\n%s", s.out)
		return 0
	}
}

// get returns the answer to a GET without reusing a connection.
func get(t *testing.T, address string) (status int, body map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	_ = json.NewDecoder(response.Body).Decode(&body)
	return response.StatusCode, body
}

// variable returns the value of an environment variable of the stand-in that
// answered; the last one holds.
func variable(answer map[string]any, name string) string {
	found := ""
	for _, each := range answer["environ"].([]any) {
		if value, ok := strings.CutPrefix(each.(string), name+"="); ok {
			found = value
		}
	}
	return found
}

func alive(pid float64) bool { return syscall.Kill(int(pid), 0) == nil }

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
