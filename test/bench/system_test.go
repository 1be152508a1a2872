package bench_test

import (
	"database/sql"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/bench/corpus"
	"github.com/achilles-blog/achilles/test/bench/seed"
	"github.com/achilles-blog/achilles/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

// system is a database server, Redis, and a tag service with all tags.
type system struct {
	article, ceiling    string // programs
	mysql               *dbtest.Server
	redis               string
	tags                server
	databaseID, redisID int
}

// server is a running HTTP server that is measured.
type server struct {
	*process.Process
	addr, admin string
	log         *os.File // truncated before each measurement
}

func (s server) stop(t *testing.T) {
	t.Helper()
	s.Signal(t, os.Interrupt)
	require.Zero(t, s.Exit(t))
}

// dataset is a database with articles and the service that serves it.
type dataset struct {
	*system
	server
	articles int
	config   database.Config
	settings process.Settings
	db       *sql.DB
}

// production are the settings of process.On that are not those of production.
var production = process.Settings{
	"Server.RequestTimeout": "15s", "Server.ReadTimeout": "15s", "Server.WriteTimeout": "18s", "Server.ShutdownTimeout": "20s",
	"Database.Timeout": "1.5s",
}

func newSystem(t *testing.T, tag, article string) *system {
	t.Helper()
	s := &system{article: article, ceiling: process.Release(t, "../test/bench/ceiling")}
	s.mysql = dbtest.NewMySQL(t, "--innodb-buffer-pool-size=1G", "--innodb-log-file-size=256M")
	s.redis = dbtest.NewRedis(t).Addr()
	s.redisID = redisPID(t, s.redis)
	cfg := s.mysql.Config(t)
	s.databaseID = databasePID(t, openSQL(t, cfg))
	settings := process.On(cfg).With(production)
	process.Migrate(t, tag, settings)
	s.tags, _ = serve(t, tag, settings)
	createTags(t, s.tags.addr)
	return s
}

func createTags(t *testing.T, addr string) {
	t.Helper()
	conn, err := process.Dial(addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	for id := uint64(1); id <= corpus.Tags; id++ {
		answer, err := conn.Ask("POST", "/api/v1/tags", map[string]any{"name": corpus.TagName(id)})
		require.NoError(t, err)
		require.Equal(t, id, answer.ID(), "%s", answer.Body)
	}
}

// load returns a dataset of n articles whose service is ready.
func (s *system) load(t *testing.T, n int) *dataset {
	t.Helper()
	d := &dataset{system: s, articles: n, config: s.mysql.Config(t)}
	d.db = openSQL(t, d.config)
	d.settings = process.Follow(d.config, s.tags.addr).With(production).With(process.Settings{"Redis.Addresses": s.redis})
	process.Migrate(t, s.article, d.settings)
	first, _ := serve(t, s.article, d.settings) // loads the tags
	first.stop(t)
	require.NoError(t, seed.Articles(t.Context(), d.db, n))
	recount(t, s.article, d.settings)
	d.server, _ = serve(t, s.article, d.settings)
	return d
}

// serve starts a service and returns how long it took from exec until it was ready.
func serve(t *testing.T, program string, settings process.Settings) (server, time.Duration) {
	t.Helper()
	ports := freePorts(t, 2)
	cmd := process.Command(t, program, settings.With(process.Settings{"Server.HttpPort": ports[0], "Server.AdminPort": ports[1]}), "serve")
	log := logFile(t)
	cmd.Stdout = log
	start := time.Now()
	p := process.StartCommand(t, cmd)
	addr := net.JoinHostPort("127.0.0.1", ports[0])
	for {
		if answer, err := process.Ask("GET", "http://"+addr+"/readyz", nil); err == nil && answer.Status == 200 {
			break
		}
		require.False(t, p.Ended(), p.Stderr())
		require.Less(t, time.Since(start), process.Patience, "the service isn't ready")
		time.Sleep(time.Millisecond)
	}
	return server{p, addr, net.JoinHostPort("127.0.0.1", ports[1]), log}, time.Since(start)
}

// startCeiling starts one of the servers to compare with.
func (d *dataset) startCeiling(t *testing.T, kind, source string) server {
	t.Helper()
	log := logFile(t)
	cmd := process.Command(t, d.ceiling, nil, kind, source)
	cmd.Stdout = log
	p := process.StartCommand(t, cmd)
	var lines []string
	process.Await(t, "the ceiling to serve", func() bool {
		text, err := os.ReadFile(log.Name())
		require.NoError(t, err)
		lines = strings.Split(string(text), "\n")
		return len(lines) > 2 || p.Ended()
	})
	require.Greater(t, len(lines), 2, p.Stderr())
	return server{p, lines[0], lines[1], log}
}

// logFile returns a file for the log of a server, like that of a container.
func logFile(t *testing.T) *os.File {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(t.TempDir(), "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var ports []string
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer func() { _ = listener.Close() }()
		ports = append(ports, strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
	}
	return ports
}

// dsn returns the data source name of a database, with the parameters that the
// documentation of gorm recommends.
func dsn(cfg database.Config) string {
	return fmt.Sprintf("%s:%s@tcp(%s)/%s?charset=utf8mb4&parseTime=True&loc=Local", cfg.Username, cfg.Password.Reveal(), cfg.Host, cfg.DBName)
}

func openSQL(t *testing.T, cfg database.Config) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", dsn(cfg)+"&interpolateParams=True")
	require.NoError(t, err)
	db.SetMaxIdleConns(64)
	t.Cleanup(func() { _ = db.Close() })
	return db
}
