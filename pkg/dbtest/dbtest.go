// Package dbtest gives tests real databases: a SQLite file, a MariaDB server and
// a Redis server of their own, started from the programs on this machine.
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

// Environment variables that change where tests find their servers.
const (
	// EnvMySQL, as user:password@host:port, is a running server to use in the
	// place of one started for the tests. The account may create databases.
	EnvMySQL = "ACHILLES_TEST_MYSQL"
	// EnvRequire, when it is "all", makes a test fail where it would be skipped
	// for want of a program.
	EnvRequire = "ACHILLES_TEST_REQUIRE"
)

// generous keeps a machine that is busy, or stands still for a while, from
// failing tests that are not about time.
const generous = time.Minute

// shared is the one server that the tests of a binary share. The testing package
// offers no other place to keep what outlives a test.
var shared struct {
	sync.Mutex
	server *Server
	err    error
}

// Main is the body of TestMain: it runs the tests, stops what they shared, runs
// the cleanups, fails on leaked goroutines and ends the process.
func Main(m *testing.M, cleanups ...func()) {
	// A server waits half a second for whoever it cuts off in a request.
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

// Each runs a test on each dialect, in a fresh and empty database. It allows
// more time than production does; a test about time sets Timeout itself.
func Each(t *testing.T, test func(t *testing.T, cfg database.Config)) {
	t.Helper()
	t.Run(database.SQLite, func(t *testing.T) { test(t, SQLite(t)) })
	t.Run(database.MySQL, func(t *testing.T) { test(t, MySQL(t)) })
}

// SQLite is the configuration of a fresh database in a file.
func SQLite(t testing.TB) database.Config {
	t.Helper()
	cfg := database.Default()
	cfg.DBType, cfg.Timeout = database.SQLite, generous
	cfg.DBName = filepath.Join(t.TempDir(), "test.db")
	return cfg
}

// MySQL is the configuration of a fresh database on the server that all tests
// of the binary share; the first caller starts it. Do not disturb that server:
// see NewMySQL.
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

// running is a server that somebody else started.
func running(t testing.TB, account string) *Server {
	t.Helper()
	at := strings.LastIndex(account, "@")
	require.Positive(t, at, "%s must be user:password@host:port", EnvMySQL)
	user, password, _ := strings.Cut(account[:at], ":")
	return &Server{user: user, password: password, addr: account[at+1:]}
}

// Config is the configuration of a fresh database on this server, which is
// dropped at the end of the test.
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
	// A cleanup comes after the end of the test's own context.
	_, err = db.SQL().ExecContext(context.WithoutCancel(t.Context()), statement)
	require.NoError(t, err)
}

// Open opens a database until the end of the test.
func Open(t testing.TB, cfg database.Config) *database.DB {
	t.Helper()
	db, err := database.Open(cfg, zaptest.NewLogger(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// find returns the path of a server program. It skips the test in short mode,
// and where the program is not installed.
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

// A distribution puts servers where only root's PATH leads.
func lookUp(program string) (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin") {
		path := filepath.Join(dir, program)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", program)
}
