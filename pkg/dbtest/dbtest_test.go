package dbtest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/settings"
)

const envOrphan = "DBTEST_ORPHAN"

// TestMain is also the program that starts a server and doesn't stop it.
func TestMain(m *testing.M) {
	if program := os.Getenv(envOrphan); program != "" {
		s, err := startRedis(program)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.process.Pid, s.dir)
		select {}
	}
	Main(m)
}

func TestEachUsesNewDatabases(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		Each(t, func(t *testing.T, cfg database.Config) {
			require.False(t, seen[cfg.DBName])
			seen[cfg.DBName] = true
			require.NoError(t, settings.Validate(&cfg))
			require.NoError(t, Open(t, cfg).Gorm(t.Context()).Exec("CREATE TABLE a (id int)").Error)
		})
	}
}

func TestDatabaseIsDropped(t *testing.T) {
	var names []string
	t.Run("using one", func(t *testing.T) { names = append(names, MySQL(t).DBName) })
	db := Open(t, MySQL(t))
	var left int
	require.NoError(t, db.Gorm(t.Context()).Raw("SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name IN ?", names).Scan(&left).Error)
	require.Zero(t, left)
}

func TestRunningServer(t *testing.T) {
	server := NewMySQL(t)
	db := Open(t, server.Config(t))
	require.NoError(t, db.Gorm(t.Context()).Exec("CREATE USER outside@'127.0.0.1' IDENTIFIED BY 'p@ss:word'").Error)
	require.NoError(t, db.Gorm(t.Context()).Exec("GRANT ALL ON *.* TO outside@'127.0.0.1'").Error)
	t.Setenv(EnvMySQL, "outside:p@ss:word@"+server.Addr())
	cfg := MySQL(t)
	require.Equal(t, server.Addr(), cfg.Host)
	require.NoError(t, Open(t, cfg).Ping(t.Context()))
}

func TestOutages(t *testing.T) {
	server := NewMySQL(t)
	cfg := server.Config(t)
	db := Open(t, cfg)
	cfg.Timeout = 200 * time.Millisecond
	shortTimeout := Open(t, cfg)
	works := func() bool { return shortTimeout.Ping(t.Context()) == nil }
	require.NoError(t, db.Gorm(t.Context()).Exec("CREATE TABLE a (id int)").Error)
	address := server.Addr()
	for name, outage := range map[string]struct{ begin, end func(testing.TB) }{
		"Stop": {server.Stop, server.Start}, "Kill": {server.Kill, server.Start}, "Pause": {server.Pause, server.Resume},
	} {
		outage.begin(t)
		require.False(t, works(), name)
		require.Equal(t, name == "Pause", server.Running())
		outage.end(t)
		require.Eventually(t, works, generous, 10*time.Millisecond, name)
		require.True(t, server.Running())
	}
	require.Equal(t, address, server.Addr())
	require.NoError(t, db.Gorm(t.Context()).Exec("SELECT * FROM a").Error, "the data is still there")
}

// The error contains the log of the server.
func TestServerFailsToStart(t *testing.T) {
	_, err := startMySQL(find(t, "mariadbd"), "--no-such-option")
	require.ErrorContains(t, err, "no-such-option")
}

type recorder struct {
	testing.TB
	skipped, failed string
}

func (r *recorder) Helper()                           {}
func (r *recorder) Skip(args ...any)                  { r.skipped = fmt.Sprint(args...) }
func (r *recorder) Errorf(format string, args ...any) { r.failed = fmt.Sprintf(format, args...) }
func (r *recorder) FailNow()                          { panic(r) }
func (r *recorder) Fatal(args ...any)                 { r.failed = fmt.Sprint(args...); panic(r) }

func TestMissingProgram(t *testing.T) {
	t.Setenv(EnvRequire, "")
	r := &recorder{TB: t}
	installed(r, "no-such-program")
	require.Equal(t, "no-such-program is not installed", r.skipped)

	t.Setenv(EnvRequire, "all")
	r = &recorder{TB: t}
	require.Panics(t, func() { installed(r, "no-such-program") })
	require.Equal(t, "no-such-program is not installed", r.failed)
	require.Empty(t, r.skipped)
}

func TestServersAreKilledWithTheTests(t *testing.T) {
	orphan := exec.Command(os.Args[0]) // #nosec G204 -- the test binary
	orphan.Env = append(os.Environ(), envOrphan+"="+find(t, "redis-server"))
	output, err := orphan.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, orphan.Start())
	line, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	number, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
	pid, err := strconv.Atoi(number)
	require.NoError(t, err, line)
	require.DirExists(t, dir)
	require.NoError(t, syscall.Kill(pid, 0))
	require.NoError(t, orphan.Process.Kill())
	require.Error(t, orphan.Wait())
	require.Eventually(t, func() bool {
		_, gone := os.Stat(dir)
		return os.IsNotExist(gone) && ended(pid)
	}, generous, 10*time.Millisecond)
}

// ended reports whether a process has exited, even if it is still a zombie.
func ended(pid int) bool {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return syscall.Kill(pid, 0) != nil || strings.Contains(string(status), ") Z ")
}

func TestWithin(t *testing.T) {
	times := 0
	Within(t, time.Minute, func() { times++ })
	require.Equal(t, 1, times)
	Within(t, 500*time.Millisecond, func() {
		if times++; times == 2 {
			time.Sleep(500 * time.Millisecond) // like a stalled machine
		}
	})
	require.GreaterOrEqual(t, times, 3)
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{TB: t}
		require.Panics(t, func() { Within(r, time.Second, func() { time.Sleep(time.Second) }) })
		require.Contains(t, r.failed, "never less than 1s")
	})
}
