package process_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// each runs a test for both services.
func each(t *testing.T, test func(t *testing.T, program string, settings process.Settings)) {
	for _, name := range []string{"tag", "article"} {
		t.Run(name, func(t *testing.T) {
			settings := process.On(dbtest.SQLite(t))
			if name == "article" {
				settings["Feed.URL"] = "http://" + closedAddr
			}
			test(t, process.Service(t, name), settings)
		})
	}
}

// closedAddr is an address on which nobody listens. Its port is never chosen as a free
// port.
const closedAddr = "127.0.0.1:1"

// requireFailure requires that a command fails with one line on standard error.
func requireFailure(t *testing.T, program string, settings process.Settings, command string, texts ...string) {
	t.Helper()
	p, exit := process.Run(t, program, settings, command)
	require.Equal(t, 1, exit, p.Stdout())
	require.Equal(t, 1, strings.Count(p.Stderr(), "\n"), p.Stderr())
	require.True(t, strings.HasPrefix(p.Stderr(), filepath.Base(program)+": "), p.Stderr())
	for _, text := range texts {
		require.Contains(t, p.Stderr(), text)
	}
}

func TestPortInUse(t *testing.T) {
	each(t, func(t *testing.T, program string, settings process.Settings) {
		process.Migrate(t, program, settings)
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer func() { _ = taken.Close() }()
		port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
		requireFailure(t, program, settings.With(process.Settings{"Server.HttpPort": port}), "serve",
			"port "+port+" is in use by another program", "--server.httpport")
		requireFailure(t, program, settings.With(process.Settings{"Server.AdminPort": port}), "serve",
			"port "+port+" is in use by another program", "--server.adminport")
	})
}

func TestUnwritableDirectory(t *testing.T) {
	each(t, func(t *testing.T, program string, settings process.Settings) {
		// A file instead of a directory is an error for root too.
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		settings["Database.DBName"] = filepath.Join(file, "data.db")
		requireFailure(t, program, settings, "serve", file, "Database.DBName")
		requireFailure(t, program, settings, "migrate", file, "Database.DBName")
		settings["Database.DBName"], settings["Log.LogSavePath"] = filepath.Join(t.TempDir(), "data.db"), filepath.Join(file, "logs")
		requireFailure(t, program, settings, "serve", file, "Log.LogSavePath")
	})
}

func TestInvalidSettings(t *testing.T) {
	each(t, func(t *testing.T, program string, settings process.Settings) {
		requireFailure(t, program, settings.With(process.Settings{"Server.HttpPrt": "1"}), "serve", "HttpPort", "ACHILLES_SERVER_HTTPPRT")
		requireFailure(t, program, settings.With(process.Settings{"Server.ShutdownTimeout": "1s"}), "serve", "Server.ShutdownTimeout", "WriteTimeout")
		requireFailure(t, program, settings, "server", `unknown command "server"`, "serve")
	})
}

// A service exits if it cannot reach its own health check, here because of a tiny
// timeout.
func TestSelfCheckFails(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, program string, settings process.Settings) {
		t.Parallel()
		process.Migrate(t, program, settings)
		p, exit := process.Run(t, program, settings.With(process.Settings{"Server.ReadHeaderTimeout": "1ns"}), "serve")
		require.Equal(t, 1, exit)
		require.Contains(t, p.Stderr(), "the service does not answer its own health check within 8s")
		require.Contains(t, p.Stderr(), "/healthz")
		require.Empty(t, p.Log("up"))
	})
}

// hangingDatabase returns a server that accepts connections and never responds.
func hangingDatabase(t *testing.T) database.Config {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	cfg := database.Default()
	cfg.Username, cfg.DBName, cfg.Host = "root", "achilles", listener.Addr().String()
	return cfg
}

func TestSIGTERMWithoutDatabase(t *testing.T) {
	each(t, func(t *testing.T, program string, settings process.Settings) {
		refused := database.Default()
		refused.Username, refused.DBName, refused.Host = "root", "achilles", closedAddr
		for name, cfg := range map[string]database.Config{"refused": refused, "hanging": hangingDatabase(t)} {
			t.Run("database "+name, func(t *testing.T) {
				on := process.On(cfg)
				delete(on, "Feed.Token")
				p := process.Serve(t, program, settings.With(on))
				p.AwaitLog(t, "start condition not met")
				p.Signal(t, sigterm)
				require.Zero(t, p.Exit(t), p.Stderr())
				require.Empty(t, p.Stderr())
			})
		}
	})
}

// A signal at any moment of the start stops the service.
func TestSIGTERMDuringStart(t *testing.T) {
	cfg := dbtest.SQLite(t)
	program, settings := process.Service(t, "tag"), process.On(cfg)
	process.Migrate(t, program, settings)
	for _, at := range []string{"starting", "metrics and profiles", "up"} {
		p := process.Serve(t, program, settings)
		p.AwaitLog(t, at)
		p.Signal(t, sigterm)
		require.Zero(t, p.Exit(t), p.Stderr())
	}
}

func TestShutdownTimeout(t *testing.T) {
	p := process.Start(t, process.Program(t, "testdata/stubborn"), nil)
	conn, err := process.Dial(p.Addr(t))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.Send("GET", "/hang", nil, 0))
	p.AwaitLog(t, "hanging")
	p.Signal(t, sigterm)
	require.Equal(t, 1, p.Exit(t))
	require.Contains(t, p.Stderr(), "requests were still running 1s after the drain and were cut off")
	_, err = conn.Receive("GET")
	require.Error(t, err)
}
