package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/cache"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/logging"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/service"
)

const patience = time.Minute

func TestMain(m *testing.M) { dbtest.Main(m) }

var migrations = database.Migrations{Service: "toy", Files: fstest.MapFS{
	"sqlite/0001_toy.sql": {Data: []byte("-- +goose Up\nCREATE TABLE blog_toy (id integer PRIMARY KEY);\n")},
	"mysql/0001_toy.sql":  {Data: []byte("-- +goose Up\nCREATE TABLE blog_toy (id bigint PRIMARY KEY);\n")},
}}

func config(t *testing.T) service.Config {
	c := service.Config{Server: server.Default(), Database: dbtest.SQLite(t), Log: logging.Default(), Health: health.Default(),
		Redis: cache.Default(), Auth: auth.Default(), Limits: ratelimit.Default()}
	c.Server.Host, c.Server.AdminHost = "127.0.0.1", "127.0.0.1"
	c.Server.HTTPPort, c.Server.AdminPort, c.Server.DrainDelay = 0, 0, 0
	return c
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

var upLine = regexp.MustCompile(`"msg":"up".*"address":"([^"]+)"`)

func (b *buffer) address(t *testing.T) string {
	var found []string
	require.Eventually(t, func() bool {
		found = upLine.FindStringSubmatch(b.String())
		return found != nil
	}, patience, 10*time.Millisecond, "the service did not say that it is up")
	return "http://" + found[1]
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	require.NoError(t, err)
	defer func() { require.NoError(t, answer.Body.Close()) }()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(body)
}

func TestLife(t *testing.T) {
	log, signals, c := &buffer{}, make(chan os.Signal, 1), config(t)
	running, err := service.New(t.Context(), c, migrations, signals, log)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- running.Run(t.Context()) }()
	base := log.address(t)

	status, _ := get(t, base+"/healthz")
	require.Equal(t, 200, status)
	status, body := get(t, base+"/readyz")
	require.Equal(t, 503, status, "ready without a schema: %s", body)
	require.Contains(t, body, "schema")

	require.NoError(t, service.Migrate(t.Context(), c, migrations, io.Discard))
	require.Eventually(t, func() bool {
		status, body = get(t, base+"/readyz")
		return status == 200
	}, patience, 50*time.Millisecond, "not ready after the migration: %s", body)

	signals <- syscall.SIGTERM
	require.NoError(t, <-ended)
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	require.Contains(t, lines[0], `"msg":"starting"`)
	require.Contains(t, lines[len(lines)-1], `"msg":"stopped"`)
	require.Error(t, running.DB.Ping(context.Background()), "the database is still open")
}

func TestTakenPorts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	port := taken.Addr().(*net.TCPAddr).Port

	admin := config(t)
	admin.Server.AdminPort = port
	_, err = service.New(t.Context(), admin, migrations, nil, io.Discard)
	require.ErrorContains(t, err, "--server.adminport")
}

func TestMigrateSaysWhatItDid(t *testing.T) {
	var out bytes.Buffer
	c := config(t)
	require.NoError(t, service.Migrate(t.Context(), c, migrations, &out))
	require.Contains(t, out.String(), `"msg":"the schema is current","from":0,"to":1`)
	out.Reset()
	require.NoError(t, service.Migrate(t.Context(), c, migrations, &out))
	require.Contains(t, out.String(), `"from":1,"to":1`)
}

func TestWatchSettings(t *testing.T) {
	log, signals, c := &buffer{}, make(chan os.Signal, 1), config(t)
	file := t.TempDir() + "/settings.yaml"
	write := func(level string) { require.NoError(t, os.WriteFile(file, []byte(level), 0o600)) }
	write("info")
	running, err := service.New(t.Context(), c, migrations, signals, log)
	require.NoError(t, err)
	running.WatchSettings(file, func() (logging.Config, error) {
		level, err := os.ReadFile(file)
		changed := c.Log
		changed.Level = string(level)
		return changed, err
	})
	ended := make(chan error, 1)
	go func() { ended <- running.Run(t.Context()) }()
	log.address(t)

	debugged := func() bool {
		running.Log.Debug("whispered")
		return strings.Contains(log.String(), "whispered")
	}
	require.False(t, debugged())
	write("debug")
	require.Eventually(t, debugged, patience, 50*time.Millisecond)
	write("loud")
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "the changed settings are not used") },
		patience, 50*time.Millisecond)

	signals <- syscall.SIGTERM
	require.NoError(t, <-ended)
	for line := range strings.Lines(log.String()) {
		require.True(t, json.Valid([]byte(line)), "%s", line)
	}
}
