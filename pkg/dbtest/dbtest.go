// Package dbtest provides real databases for tests: SQLite files, and MariaDB and Redis
// servers that it starts from the installed programs.
package dbtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// Environment variables.
const (
	// EnvMySQL, user:password@host:port, is a running server to use instead of
	// starting one. The account must be allowed to create databases.
	EnvMySQL = "ACHILLES_TEST_MYSQL"
	// EnvRequire, if "all", makes tests fail instead of being skipped if a program
	// is not installed.
	EnvRequire = "ACHILLES_TEST_REQUIRE"
)

// generous is a timeout that a busy machine does not reach.
const generous = time.Minute

// shared is the server that all tests of a binary share. It must be a package variable
// because it outlives a test.
var shared struct {
	sync.Mutex
	server *Server
	err    error
}

// Main is the body of TestMain. It runs the tests, stops the shared server, runs the
// cleanups, fails on leaked goroutines, and exits.
func Main(m *testing.M, cleanups ...func()) {
	// net/http waits half a second when it closes a connection during a request.
	goleak.VerifyTestMain(suite{m, cleanups}, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

type suite struct {
	*testing.M
	cleanups []func()
}

// Run implements goleak.TestingM.
func (s suite) Run() int {
	code := s.M.Run()
	if shared.server != nil {
		shared.server.remove()
	}
	for _, clean := range s.cleanups {
		clean()
	}
	return code
}

// Each runs a test on each dialect, in a new empty database. The default Timeout is
// longer than in production.
func Each(t *testing.T, test func(t *testing.T, cfg database.Config)) {
	t.Helper()
	t.Run(database.SQLite, func(t *testing.T) { test(t, SQLite(t)) })
	t.Run(database.MySQL, func(t *testing.T) { test(t, MySQL(t)) })
}

// SQLite returns the configuration of a new database file.
func SQLite(t testing.TB) database.Config {
	t.Helper()
	cfg := database.Default()
	cfg.DBType, cfg.Timeout = database.SQLite, generous
	cfg.DBName = filepath.Join(t.TempDir(), "test.db")
	return cfg
}

// MySQL returns the configuration of a new database on the server that all tests of the
// binary share. The first call starts it. Tests that stop or pause a server must use
// NewMySQL.
func MySQL(t testing.TB) database.Config {
	t.Helper()
	if account := os.Getenv(EnvMySQL); account != "" {
		return running(t, account).Config(t)
	}
	program := find(t, "mariadbd")
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = startMySQL(program)
	}
	require.NoError(t, shared.err)
	return shared.server.Config(t)
}

// running returns a server that was not started by this package.
func running(t testing.TB, account string) *Server {
	t.Helper()
	at := strings.LastIndex(account, "@")
	require.Positive(t, at, "%s must be user:password@host:port", EnvMySQL)
	user, password, _ := strings.Cut(account[:at], ":")
	return &Server{user: user, password: password, addr: account[at+1:]}
}

// Config returns the configuration of a new database on this server, which is dropped
// at the end of the test.
func (s *Server) Config(t testing.TB) database.Config {
	t.Helper()
	cfg := s.config()
	cfg.DBName = "test_" + strings.ToLower(rand.Text()[:12])
	admin := cfg
	admin.DBName = "mysql"
	s.execute(t, admin, "CREATE DATABASE "+cfg.DBName+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
	t.Cleanup(func() {
		if s.Running() {
			s.execute(t, admin, "DROP DATABASE IF EXISTS "+cfg.DBName)
		}
	})
	return cfg
}

func (s *Server) config() database.Config {
	cfg := database.Default()
	cfg.Username, cfg.Password, cfg.Host, cfg.DBName = s.user, settings.Secret(s.password), s.addr, "mysql"
	cfg.Timeout = generous
	return cfg
}

func (s *Server) execute(t testing.TB, cfg database.Config, statement string) {
	t.Helper()
	db, err := database.Open(cfg, zaptest.NewLogger(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	// Cleanups run after the context of the test is canceled.
	_, err = db.SQL().ExecContext(context.WithoutCancel(t.Context()), statement)
	require.NoError(t, err)
}

// Open opens a database and closes it at the end of the test.
func Open(t testing.TB, cfg database.Config) *database.DB {
	t.Helper()
	db, err := database.Open(cfg, zaptest.NewLogger(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// find returns the path of a server program. It skips the test in short mode, or if the
// program is not installed.
func find(t testing.TB, program string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short starts no servers: this test needs " + program)
	}
	return installed(t, program)
}

func installed(t testing.TB, program string) string {
	t.Helper()
	path, err := lookUp(program)
	if err == nil {
		return path
	}
	missing := program + " is not installed"
	if os.Getenv(EnvRequire) == "all" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// lookUp also searches directories that are only in root's PATH.
func lookUp(program string) (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin") {
		path := filepath.Join(dir, program)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", program)
}

// Work runs a worker until the end of the test, and requires that it ends without an error.
func Work(t testing.TB, worker func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- worker(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
}
