package middleware

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/settings"
)

const patience = time.Minute

// output is a log that may be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

var up = regexp.MustCompile(`"msg":"up".*"address":"([^"]+)"`)

// The middleware runs, follows its settings while the service runs, and rejects invalid ones.
func TestService(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "example.yaml")
	write := func(sunset string) {
		t.Helper()
		text := "Server: {Host: 127.0.0.1, HttpPort: 0, AdminPort: 0, DrainDelay: 0}\nDatabase: {DBType: sqlite, DBName: " + filepath.Join(dir, "db") + "}\n" + sunset
		require.NoError(t, os.WriteFile(file+".new", []byte(text), 0o600))
		require.NoError(t, os.Rename(file+".new", file))
	}
	write("")
	load := func(content []byte) (Config, error) {
		config := defaults()
		err := settings.Load(&config, settings.Source{File: file, Content: content})
		return config, err
	}
	config, err := load(nil)
	require.NoError(t, err)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	log, signals, ended := &output{}, make(chan os.Signal, 1), make(chan error, 1)
	run := command.Run[Config]{Config: config, ConfigFile: file, FileContent: content, Reload: load, Stdout: log, Signals: signals}
	require.NoError(t, Command().Migrate(t.Context(), run))
	go func() { ended <- serve(context.WithoutCancel(t.Context()), run) }()
	await := func(text string) {
		t.Helper()
		require.Eventually(t, func() bool { return strings.Contains(log.String(), text) }, patience, 5*time.Millisecond, text)
	}
	await(`"msg":"up"`)
	url := "http://" + up.FindStringSubmatch(log.String())[1] + "/api/v0/things"
	header := func() string {
		response, err := http.Get(url) // #nosec G107 -- of this test
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.Header.Get("Sunset")
	}
	require.Empty(t, header())
	write("Sunset: {Prefix: /api/v0/, Date: '2027-01-31'}")
	await("Sunset.Prefix")
	require.Eventually(t, func() bool { return header() == "Sun, 31 Jan 2027 00:00:00 GMT" }, patience, time.Millisecond)
	write("Sunset: {Prefix: /api/v0/, Date: soon}")
	await("Sunset.Date: soon is not allowed; it must be a day such as 2027-01-31")
	require.Equal(t, "Sun, 31 Jan 2027 00:00:00 GMT", header())
	signals <- syscall.SIGTERM
	require.NoError(t, <-ended)
}

// docs/middleware.md quotes this package.
func TestDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/middleware.md")
	require.NoError(t, err)
	var code strings.Builder
	for _, file := range []string{"sunset.go", "service.go", "sunset_test.go"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		code.Write(text)
	}
	quoted := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Len(t, quoted, 5)
	for _, block := range quoted {
		for line := range strings.Lines(block[1]) {
			if line = strings.TrimSpace(line); line != "" && line != "…" {
				require.Contains(t, code.String(), line, "docs/middleware.md")
			}
		}
	}
}
