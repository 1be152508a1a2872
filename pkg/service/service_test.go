package service_test

import (
	"bytes"
	"context"
	"io"
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

	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/settings"
)

const patience = time.Minute

func TestMain(m *testing.M) { dbtest.Main(m) }

var migrations = database.Migrations{Service: "toy", Files: fstest.MapFS{
	"sqlite/0001_toy.sql": {Data: []byte("-- +goose Up\nCREATE TABLE blog_toy (id integer PRIMARY KEY);\n")},
	"mysql/0001_toy.sql":  {Data: []byte("-- +goose Up\nCREATE TABLE blog_toy (id bigint PRIMARY KEY);\n")},
}}

func config(t *testing.T) service.Config {
	c := service.Default()
	c.Database = dbtest.SQLite(t)
	c.Server.Host, c.Server.AdminHost = "127.0.0.1", "127.0.0.1"
	c.Server.HTTPPort, c.Server.AdminPort, c.Server.DrainDelay = 0, 0, 0
	return c
}

// all is the Config of a service without settings of its own.
func all(c service.Config) service.Config { return c }

// running is a service in this process.
type running struct {
	*service.Service
	log     *buffer
	url     string
	signals chan os.Signal
	ended   chan error
}

// run starts a service and waits until it serves.
func run(t *testing.T, opts command.Run[service.Config], register func(*service.Service)) *running {
	t.Helper()
	return runLive(t, opts, func(s *service.Service, _ *settings.Live[service.Config]) { register(s) })
}

// runLive is like run, for a service with settings and middleware of its own.
func runLive(t *testing.T, opts command.Run[service.Config], register func(*service.Service, *settings.Live[service.Config]), own ...service.Middleware[service.Config]) *running {
	t.Helper()
	r := &running{log: &buffer{}, signals: make(chan os.Signal, 1), ended: make(chan error, 1)}
	opts.Signals, opts.Stdout = r.signals, r.log
	go func() {
		r.ended <- service.Run(context.WithoutCancel(t.Context()), opts, all, migrations, func(s *service.Service, live *settings.Live[service.Config]) error {
			r.Service = s
			register(s, live)
			return nil
		}, own...)
	}()
	r.url = r.log.address(t)
	return r
}

func (r *running) stop(t *testing.T) {
	t.Helper()
	r.signals <- syscall.SIGTERM
	require.NoError(t, <-r.ended)
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
	c := config(t)
	r := run(t, command.Run[service.Config]{Config: c}, func(*service.Service) {})
	status, _ := get(t, r.url+"/healthz")
	require.Equal(t, 200, status)
	status, body := get(t, r.url+"/readyz")
	require.Equal(t, 503, status, "ready without a schema: %s", body)
	require.Eventually(t, func() bool {
		_, body = get(t, r.url+"/readyz")
		return strings.Contains(body, "the schema is behind: run the command migrate")
	}, patience, 10*time.Millisecond, "it is checked a moment after the start")
	require.Equal(t, 1, strings.Count(r.log.String(), "schema is behind"), "said once")

	require.NoError(t, service.Migrate(t.Context(), c, migrations, io.Discard))
	require.Eventually(t, func() bool {
		status, body = get(t, r.url+"/readyz")
		return status == 200
	}, patience, 50*time.Millisecond, "not ready after the migration: %s", body)

	r.stop(t)
	lines := strings.Split(strings.TrimSpace(r.log.String()), "\n")
	require.Contains(t, lines[0], `"msg":"starting"`)
	require.Contains(t, lines[len(lines)-1], `"msg":"stopped"`)
	require.Error(t, r.DB.Ping(context.Background()), "the database is still open")
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

func TestReadOnlyDatabase(t *testing.T) {
	server := dbtest.NewMySQL(t)
	c := config(t)
	c.Database = server.Config(t)
	c.Health.CheckInterval = 50 * time.Millisecond
	c.Health.Strict = true
	require.NoError(t, service.Migrate(t.Context(), c, migrations, io.Discard))
	r := run(t, command.Run[service.Config]{Config: c}, things)
	shown := func(checks string) func() bool {
		return func() bool {
			status, body := get(t, r.url+"/readyz?full=1")
			return status == 200 && strings.Contains(body, checks)
		}
	}
	const writable, readOnly = `"database":"OK","schema":"OK","writable database":"OK"`, `"database":"OK","schema":"OK","writable database":"reachable, but read-only"`
	require.Eventually(t, shown(writable), patience, 20*time.Millisecond)
	admin := dbtest.Open(t, c.Database)
	require.NoError(t, admin.Gorm(t.Context()).Exec("SET GLOBAL read_only = ON").Error)
	require.Eventually(t, shown(readOnly), patience, 20*time.Millisecond, "ready for reads, and with the reason")
	require.Contains(t, r.log.String(), "the database server rejects writes")
	families, err := r.Metrics.Registry().Gather()
	require.NoError(t, err)
	up := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "achilles_dependency_up" {
				up[metric.GetLabel()[0].GetValue()] = metric.GetGauge().GetValue()
			}
		}
	}
	require.Equal(t, map[string]float64{"database": 1, "writable database": 0}, up)
	require.Equal(t, http.StatusServiceUnavailable, send(t, http.MethodPost, r.url+"/things").StatusCode)
	require.Equal(t, http.StatusOK, send(t, http.MethodGet, r.url+"/things").StatusCode)
	require.Contains(t, r.admin(t, "/metrics"), "achilles_read_only{reason=\"database\"} 1\nachilles_read_only{reason=\"settings\"} 0\n")
	require.NoError(t, admin.Gorm(t.Context()).Exec("SET GLOBAL read_only = OFF").Error)
	require.Eventually(t, shown(writable), patience, 20*time.Millisecond)
	require.Equal(t, http.StatusOK, send(t, http.MethodPost, r.url+"/things").StatusCode)
	r.stop(t)
}
