package service_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tracetest"
)

var (
	hookLine  = regexp.MustCompile(`"msg":"running a stop hook".*"name":"([^"]+)"`)
	adminLine = regexp.MustCompile(`"msg":"metrics and profiles".*"address":"([^"]+)"`)
)

func matches(re *regexp.Regexp, text string) []string {
	var found []string
	for _, match := range re.FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}

// isOpen reports whether this process has a file open whose path begins with path, such
// as a SQLite database and its journal. It is always false where /proc doesn't tell.
// The files beside a database don't: connections that are closed at the same moment can
// leave them behind.
func isOpen(t *testing.T, path string) bool {
	t.Helper()
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	require.NoError(t, err)
	descriptors, err := filepath.Glob("/proc/self/fd/*")
	require.NoError(t, err)
	return slices.ContainsFunc(descriptors, func(descriptor string) bool {
		file, err := os.Readlink(descriptor)
		return err == nil && strings.HasPrefix(file, filepath.Join(dir, filepath.Base(path)))
	})
}

// A start that fails at any step stops what it has started, by the hooks and in
// the order of a graceful stop.
func TestFailedStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	port := taken.Addr().(*net.TCPAddr).Port
	noDirectory := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(noDirectory, []byte("not a key set"), 0o600))
	collector := tracetest.New(t)
	cause := errors.New("register failed")

	for _, step := range []struct {
		name     string
		spoil    func(*service.Config)
		register error
		message  string
		hooks    []string
	}{
		{"log file", func(c *service.Config) { c.Log.LogSavePath = noDirectory }, nil, "Log.LogSavePath", nil},
		{"admin port", func(c *service.Config) { c.Server.AdminPort = port }, nil, "--server.adminport",
			[]string{"log"}},
		{"database", func(c *service.Config) { c.Database.DBName = noDirectory + "/db" }, nil, "Database.DBName",
			[]string{"tracing", "admin", "log"}},
		{"key set", func(c *service.Config) { c.Auth.KeysFile = noDirectory }, nil, noDirectory,
			[]string{"redis", "database", "tracing", "admin", "log"}},
		{"engine", func(c *service.Config) { c.Server.TrustedProxies = []string{"x"} }, nil, "trusted proxies",
			[]string{"redis", "database", "tracing", "admin", "log"}},
		{"register", func(*service.Config) {}, cause, cause.Error(),
			[]string{"own", "redis", "database", "tracing", "admin", "log"}},
		{"HTTP port", func(c *service.Config) { c.Server.HTTPPort = port }, nil, "--server.httpport",
			[]string{"own", "redis", "database", "tracing", "admin", "log"}},
		{"none", func(c *service.Config) { c.Server.DrainDelay = 0 }, nil, "",
			[]string{"own", "redis", "database", "tracing", "admin", "log"}},
	} {
		t.Run(step.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			c, log, signals := config(t), &buffer{}, make(chan os.Signal, 1)
			c.Log.Level, c.Tracing.Endpoint, c.Redis.Addresses = "debug", collector.URL, []string{taken.Addr().String()}
			c.Server.DrainDelay = time.Hour // which a failed start does not wait for
			step.spoil(&c)
			var started *service.Service
			if step.message == "" {
				signals <- syscall.SIGTERM
			}
			err := service.Run(t.Context(), command.Run[service.Config]{Config: c, Signals: signals, Stdout: log}, all, migrations,
				func(s *service.Service, _ *settings.Live[service.Config]) error {
					_, err := s.DB.SQL().ExecContext(t.Context(), "CREATE TABLE own (id integer)")
					require.NoError(t, err)
					require.Equal(t, runtime.GOOS == "linux", isOpen(t, c.Database.DBName))
					started = s
					s.Process.OnStop("own", service.StopTimeout, func(context.Context) error { return nil })
					return step.register
				})
			if step.message == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, step.message)
			}
			require.Equal(t, step.hooks, matches(hookLine, log.String()))
			for _, address := range matches(adminLine, log.String()) {
				_, err := net.Dial("tcp", address)
				require.ErrorIs(t, err, syscall.ECONNREFUSED)
			}
			require.Eventually(t, func() bool { // a health check may end a moment after the worker that began it
				return !isOpen(t, c.Database.DBName)
			}, patience, time.Millisecond, "the database is open")
			if started != nil {
				require.ErrorIs(t, started.Redis.Ping(t.Context()).Err(), redis.ErrClosed)
			}
			collector.CloseClientConnections()
			goleak.VerifyNone(t, before)
		})
	}
}
