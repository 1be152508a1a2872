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

// each runs a test on both services, with settings that let each start.
func each(t *testing.T, test func(t *testing.T, program string, settings process.Settings)) {
	for _, name := range []string{"tag", "article"} {
		t.Run(name, func(t *testing.T) {
			settings := process.On(dbtest.SQLite(t))
			if name == "article" {
				settings["Feed.URL"] = "http://" + nobody
			}
			test(t, process.Service(t, name), settings)
		})
	}
}

// nobody is an address on which nobody listens: its port is never given away
// as a free one.
const nobody = "127.0.0.1:1"

// refuses checks that a start ends with one line on standard error.
func refuses(t *testing.T, program string, settings process.Settings, command string, says ...string) {
	t.Helper()
	p, exit := process.Run(t, program, settings, command)
	require.Equal(t, 1, exit, p.Stdout())
	require.Equal(t, 1, strings.Count(p.Stderr(), "\n"), p.Stderr())
	require.True(t, strings.HasPrefix(p.Stderr(), filepath.Base(program)+": "), p.Stderr())
	for _, text := range says {
		require.Contains(t, p.Stderr(), text)
	}
}

func TestATakenPort(t *testing.T) {
	each(t, func(t *testing.T, program string, settings process.Settings) {
		process.Migrate(t, program, settings)
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer func() { _ = taken.Close() }()
		port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
		refuses(t, program, settings.With(process.Settings{"Server.HttpPort": port}), "serve",
			"port "+port+" is in use by another program", "--server.httpport")
		refuses(t, program, settings.With(process.Settings{"Server.AdminPort": port}), "serve",
			"port "+port+" is in use by another program", "--server.adminport")
	})
}

func TestAnUnwritableDirectory(t *testing.T) {
	each(t, func(t *testing.T, program string, settings process.Settings) {
		// A file where a folder should be is in the way of root as well.
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		settings["Database.DBName"] = filepath.Join(file, "data.db")
		refuses(t, program, settings, "serve", file, "Database.DBName")
		refuses(t, program, settings, "migrate", file, "Database.DBName")
		settings["Database.DBName"], settings["Log.LogSavePath"] = filepath.Join(t.TempDir(), "data.db"), filepath.Join(file, "logs")
		refuses(t, program, settings, "serve", file, "Log.LogSavePath")
	})
}

func TestSettingsThatCannotBe(t *testing.T) {
	each(t, func(t *testing.T, program string, settings process.Settings) {
		refuses(t, program, settings.With(process.Settings{"Server.HttpPrt": "1"}), "serve", "HttpPort", "ACHILLES_SERVER_HTTPPRT")
		refuses(t, program, settings.With(process.Settings{"Server.ShutdownTimeout": "1s"}), "serve", "Server.ShutdownTimeout", "WriteTimeout")
		refuses(t, program, settings, "server", `unknown command "server"`, "serve")
	})
}

// A service that never answers itself says why, and ends: here its connections
// get no time to send anything.
func TestAServiceThatDoesNotAnswerItselfEnds(t *testing.T) {
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

// silentDatabase accepts connections and never says a word.
func silentDatabase(t *testing.T) database.Config {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	cfg := database.Default()
	cfg.Username, cfg.DBName, cfg.Host = "root", "achilles", listener.Addr().String()
	return cfg
}

func TestSIGTERMDuringTheStart(t *testing.T) {
	each(t, func(t *testing.T, program string, settings process.Settings) {
		refused := database.Default()
		refused.Username, refused.DBName, refused.Host = "root", "achilles", nobody
		for name, cfg := range map[string]database.Config{"refused": refused, "silent": silentDatabase(t)} {
			t.Run("database "+name, func(t *testing.T) {
				on := process.On(cfg)
				delete(on, "Feed.Token")
				p := process.Serve(t, program, settings.With(on))
				p.AwaitLog(t, "not ready: waiting for the database")
				p.Signal(t, sigterm)
				require.Zero(t, p.Exit(t), p.Stderr())
				require.Empty(t, p.Stderr())
			})
		}
	})
}

// As early as a signal can come that does not simply end the process: whatever
// the service is doing then, it ends.
func TestSIGTERMAtAnyMomentOfTheStart(t *testing.T) {
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

func TestOverrunOfTheWindowExits1(t *testing.T) {
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
