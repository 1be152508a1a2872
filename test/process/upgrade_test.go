package process_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// Log messages of upgrades.
const (
	upgradeBegun   = "upgrade: starting a new process"
	upgradeFailed  = "upgrade failed: this process serves on; what the new process has printed says more"
	upgradeRefused = "upgrade refused: this process serves on"
	handedOver     = "stopping: another process serves from now on"
	replacedEnded  = "the replaced process has ended"
)

// upgradable is a service that SIGHUP replaces. The Process is the first one, with the
// output of all that follow; it has ended when all have.
type upgradable struct {
	*process.Process
	real    string // the path of the program
	program string // the path by which it is started, where others may be installed
	pidFile string

	settings process.Settings
}

// startUpgradable migrates the database of a service, starts it and waits until it is
// ready.
func startUpgradable(t *testing.T, name string, settings process.Settings) *upgradable {
	t.Helper()
	u := newUpgradable(t, name, settings)
	process.Migrate(t, u.program, u.settings)
	u.start(t, process.Serve(t, u.program, u.settings))
	return u
}

// newUpgradable returns a service that is not started.
func newUpgradable(t *testing.T, name string, settings process.Settings) *upgradable {
	t.Helper()
	heedHangup(t)
	dir := t.TempDir()
	u := &upgradable{real: process.Service(t, name), program: filepath.Join(dir, name), pidFile: filepath.Join(dir, "pid")}
	u.settings = settings.With(process.Settings{"Upgrade.Signal": "SIGHUP", "Upgrade.PIDFile": u.pidFile})
	u.install(t, u.real)
	return u
}

// start waits until a process is ready that has just been started.
func (u *upgradable) start(t *testing.T, p *process.Process) {
	t.Helper()
	u.Process = p
	t.Cleanup(func() { _ = syscall.Kill(-p.PID(), syscall.SIGKILL) }) // the group
	process.Await(t, "the PID file", func() bool { return u.serving() != 0 || u.Ended() })
	require.False(t, u.Ended(), u.Stderr())
}

// install replaces the program, as a package manager does.
func (u *upgradable) install(t *testing.T, program string) {
	t.Helper()
	require.NoError(t, os.Symlink(program, u.program+".new"))
	require.NoError(t, os.Rename(u.program+".new", u.program))
}

// installScript replaces the program by a shell script, in which "$real" is the program.
func (u *upgradable) installScript(t *testing.T, script string) {
	t.Helper()
	u.installFile(t, "#!/bin/sh\nreal="+u.real+"\n"+script+"\n", 0o700)
}

// installFile replaces the program by a file with this content.
func (u *upgradable) installFile(t *testing.T, content string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte(content), mode))
	u.install(t, file)
}

// serving returns the id of the process that serves, 0 for none.
func (u *upgradable) serving() int {
	text, err := os.ReadFile(u.pidFile)
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// send sends a signal to the process that serves.
func (u *upgradable) send(t *testing.T, signal syscall.Signal) {
	t.Helper()
	require.NoError(t, syscall.Kill(u.serving(), signal))
}

// beginUpgrade replaces the process that serves.
func (u *upgradable) beginUpgrade(t *testing.T) {
	t.Helper()
	old, done := u.serving(), len(u.Log(handedOver))
	u.send(t, syscall.SIGHUP)
	process.Await(t, "the new process", func() bool { return len(u.Log(handedOver)) > done || u.Ended() })
	require.NotEqual(t, old, u.serving(), u.Stderr())
}

// upgrade replaces the process that serves, and waits until it has ended.
func (u *upgradable) upgrade(t *testing.T) {
	t.Helper()
	ended := len(u.Log(replacedEnded))
	u.beginUpgrade(t)
	process.Await(t, "the old process to end", func() bool { return len(u.Log(replacedEnded)) > ended || u.Ended() })
}

// stop stops the process that serves, and waits until all have ended.
func (u *upgradable) stop(t *testing.T) {
	t.Helper()
	u.send(t, sigterm)
	require.Zero(t, u.Exit(t), u.Stderr())
	require.NoFileExists(t, u.pidFile)
}

// upgrades is the number of upgrades of each service.
const upgrades = 25

// upgradeDrain is longer than the pauses of the clients.
const upgradeDrain = 700 * time.Millisecond

// beginUpgradeTraffic starts clients of a service that is upgraded.
func beginUpgradeTraffic(t *testing.T, addr, path string, body func(name string) any) *traffic {
	t.Helper()
	tr := newTraffic(path, body)
	tr.maxPause = upgradeDrain
	tr.add(addr)
	tr.begin("client", 10, 50*time.Millisecond)
	tr.beginSilent(20, upgradeDrain)
	tr.awaitMore(t, 50)
	return tr
}

// Both services are upgraded in a row while clients write.
func TestUpgrade(t *testing.T) {
	drain := process.Settings{"Server.DrainDelay": upgradeDrain.String()}
	followed := process.Ready(t, process.Service(t, "tag"), process.On(dbtest.MySQL(t)))
	for _, c := range []struct {
		name, path, query string
		settings          func(database.Config) process.Settings
		body              func(name string) any
	}{
		{"tag", "/api/v1/tags", "SELECT id, name FROM blog_tag", process.On, func(name string) any { return newTag(name) }},
		{
			"article", "/api/v1/articles", "SELECT id, title AS name FROM blog_article",
			func(cfg database.Config) process.Settings { return process.Follow(cfg, followed.Addr(t)) },
			func(name string) any { return newArticle(name) },
		},
	} {
		cfg := dbtest.MySQL(t)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := startUpgradable(t, c.name, c.settings(cfg).With(drain))
			tr := beginUpgradeTraffic(t, u.Addr(t), c.path, c.body)
			for range upgrades {
				u.upgrade(t)
				tr.awaitMore(t, 20)
			}
			tr.end()
			require.Empty(t, tr.lost)
			require.Len(t, tr.acked, len(tr.sent)-int(tr.late.Load()))
			tr.requireStored(t, cfg, c.query)
			u.stop(t)
			t.Logf("%d POSTs, none lost; %d later than a process drains", len(tr.acked), tr.late.Load())
		})
	}
}

// Negative control: clients notice an upgrade that ends the old process at once.
func TestUpgradeWithoutDrainLosesRequests(t *testing.T) {
	cfg := dbtest.MySQL(t)
	u := startUpgradable(t, "tag", process.On(cfg))
	tr := beginUpgradeTraffic(t, u.Addr(t), "/api/v1/tags", func(name string) any { return newTag(name) })
	for range 5 {
		old := u.serving()
		u.beginUpgrade(t)
		require.NoError(t, syscall.Kill(old, syscall.SIGKILL))
		tr.awaitMore(t, 20)
	}
	tr.end()
	require.NotEmpty(t, tr.lost)
	tr.requireStored(t, cfg, "SELECT id, name FROM blog_tag")
}

// A new process that does not become ready changes nothing, and takes no request.
func TestUpgradeFails(t *testing.T) {
	cfg, empty := dbtest.MySQL(t), dbtest.MySQL(t)
	u := startUpgradable(t, "tag", process.On(cfg).With(process.Settings{"Server.DrainDelay": upgradeDrain.String(), "Upgrade.Timeout": "3s"}))
	pid := u.serving()
	tr := beginUpgradeTraffic(t, u.Addr(t), "/api/v1/tags", func(name string) any { return newTag(name) })
	for _, c := range []struct {
		name     string
		install  func(t *testing.T)
		why, say string
	}{
		{"missing", func(t *testing.T) { require.NoError(t, os.Remove(u.program)) }, "no such file or directory", ""},
		{"not executable", func(t *testing.T) { u.installFile(t, "text", 0o600) }, "permission denied", ""},
		{"no program", func(t *testing.T) { u.installFile(t, "text", 0o700) }, "exec format error", ""},
		{"ends", func(t *testing.T) { u.installScript(t, "exit 3") }, "exit status 3", ""},
		{"ends late", func(t *testing.T) { u.installScript(t, "echo 4194304 >"+u.pidFile+"; exit 3") }, "exit status 3", ""},
		{"succeeds", func(t *testing.T) { u.installScript(t, "exit 0") }, "exited", ""},
		{"invalid settings", func(t *testing.T) { u.installScript(t, `ACHILLES_SERVER_MAXREQUESTS=0 exec "$real" "$@"`) }, "exit status 1", "Server.MaxRequests"},
		{"never ready", func(t *testing.T) { u.installScript(t, "ACHILLES_DATABASE_DBNAME="+empty.DBName+` exec "$real" "$@"`) }, "timed out", "run the command migrate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			failures := len(u.Log(upgradeFailed))
			c.install(t)
			u.send(t, syscall.SIGHUP)
			process.Await(t, "the failure", func() bool { return len(u.Log(upgradeFailed)) > failures || u.Ended() })
			require.Contains(t, u.Log(upgradeFailed)[failures]["error"], c.why)
			require.Contains(t, u.Stdout()+u.Stderr(), c.say)
			require.Equal(t, pid, u.serving(), "the PID file is that of the old process")
			tr.awaitMore(t, 20)
		})
	}
	u.install(t, u.real)
	u.upgrade(t)
	tr.awaitMore(t, 20)
	tr.end()
	require.Empty(t, tr.lost)
	require.NotEqual(t, pid, u.serving())
	u.stop(t)
}

// awaitRefusal waits for one more refusal, and requires its reason.
func (u *upgradable) awaitRefusal(t *testing.T, after int, why string) {
	t.Helper()
	process.Await(t, "the refusal", func() bool { return len(u.Log(upgradeRefused)) > after || u.Ended() })
	require.Contains(t, u.Log(upgradeRefused)[after]["error"], why)
}

func TestUpgradeDuringAnother(t *testing.T) {
	u := startUpgradable(t, "tag", process.On(dbtest.MySQL(t)).With(process.Settings{"Server.DrainDelay": "1m"}))
	proceed := filepath.Join(t.TempDir(), "proceed")
	u.installScript(t, `until [ -e `+proceed+` ]; do sleep 0.01; done; exec "$real" "$@"`)
	first := u.serving()
	u.send(t, syscall.SIGHUP)
	u.AwaitLog(t, upgradeBegun)
	u.send(t, syscall.SIGHUP)
	u.awaitRefusal(t, 0, "an upgrade is in progress: wait until it has ended")
	require.Equal(t, first, u.serving())
	require.NoError(t, os.WriteFile(proceed, nil, 0o600))
	u.AwaitLog(t, handedOver)
	require.NotEqual(t, first, u.serving())
	u.send(t, syscall.SIGHUP)
	u.awaitRefusal(t, 1, "the process before this one still finishes its requests: wait until it has ended")
	require.Len(t, u.Log(upgradeBegun), 1)
}

// A process that is told to stop ends the one that it has started to replace it.
func TestSIGTERMDuringUpgrade(t *testing.T) {
	u := startUpgradable(t, "tag", process.On(dbtest.MySQL(t)))
	u.installScript(t, "exec sleep 1000")
	u.send(t, syscall.SIGHUP)
	u.AwaitLog(t, upgradeBegun)
	u.stop(t)
	require.Empty(t, u.Log(upgradeFailed))
	require.Len(t, u.Log("upgrade ended: this process stops"), 1)
}

// As systemd stops a service: with the whole group of processes. The one that was
// replaced still finishes its requests.
func TestSIGTERMAfterUpgrade(t *testing.T) {
	u := startUpgradable(t, "tag", process.On(dbtest.MySQL(t)))
	conn, err := process.Dial(u.Addr(t))
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	body := `{"name":"slow upload"}`
	require.NoError(t, conn.Send("POST", "/api/v1/tags", []byte(body[:5]), len(body)))
	awaitInFlight(t, u.Process, 1)
	u.send(t, syscall.SIGHUP)
	u.AwaitLog(t, handedOver)
	require.NoError(t, syscall.Kill(-u.PID(), sigterm))
	u.AwaitLog(t, "stopping already")
	_, err = conn.Write([]byte(body[5:]))
	require.NoError(t, err)
	answer, err := conn.Receive("POST")
	require.NoError(t, err)
	require.Equal(t, 201, answer.Status, string(answer.Body))
	require.Zero(t, u.Exit(t), u.Stderr())
}

// A new process whose predecessor dies must not stay behind with its sockets.
func TestCrashDuringUpgrade(t *testing.T) {
	empty := dbtest.MySQL(t)
	u := startUpgradable(t, "tag", process.On(dbtest.MySQL(t)))
	u.installScript(t, "ACHILLES_DATABASE_DBNAME="+empty.DBName+` exec "$real" "$@"`)
	u.send(t, syscall.SIGHUP)
	u.AwaitLog(t, "start condition not met")
	u.Kill() // waits for all that have its output
	require.Contains(t, u.Stderr(), "the process that this one was to replace ended too early")
}

func TestUpgradeIsRefused(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		u := startUpgradable(t, "tag", process.On(dbtest.SQLite(t)))
		const why = "the database is SQLite, which is for one process at a time: stop the service and start it again, or use MySQL or MariaDB"
		require.Contains(t, u.AwaitLog(t, "upgrades in place will be refused")["error"], why)
		u.send(t, syscall.SIGHUP)
		u.awaitRefusal(t, 0, why)
		require.Equal(t, 200, ask(t, u.Process, "GET", "/readyz", nil).Status)
		require.Equal(t, 1.0, metric(t, u.Process, `achilles_upgrade_failures_total{reason="refused"}`))
	})
	t.Run("not ready", func(t *testing.T) {
		heedHangup(t)
		settings := process.On(dbtest.MySQL(t)).With(process.Settings{"Upgrade.Signal": "SIGHUP"})
		p := process.Serve(t, process.Service(t, "tag"), settings)
		p.AwaitLog(t, "start condition not met")
		p.Signal(t, syscall.SIGHUP)
		require.Contains(t, p.AwaitLog(t, upgradeRefused)["error"], "this process is not ready yet: wait until it is")
	})
	t.Run("nohup", func(t *testing.T) {
		settings := process.On(dbtest.MySQL(t)).With(process.Settings{"Upgrade.Signal": "SIGHUP"})
		p := process.Start(t, "/usr/bin/nohup", settings, process.Service(t, "tag"), "serve")
		require.Contains(t, p.AwaitLog(t, "upgrades in place will be refused")["error"], "SIGHUP is ignored, as under nohup: set Upgrade.Signal to SIGUSR2")
	})
}

// The new process reads the settings again: other ports, another signal, no upgrades.
func TestUpgradeWithOtherSettings(t *testing.T) {
	heedHangup(t)
	file := filepath.Join(t.TempDir(), "settings.yaml")
	configure := func(servedBy, port, upgrade string) {
		text := "Server: {ServedBy: " + servedBy + ", HttpPort: " + port + "}\nUpgrade: {" + upgrade + "}\n"
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	settings := process.On(dbtest.MySQL(t)).With(process.Settings{"Config": file})
	delete(settings, "Server.HttpPort")
	pidFile := filepath.Join(t.TempDir(), "pid")
	configure("first", "0", "Signal: SIGHUP, PIDFile: "+pidFile)
	program := process.Service(t, "tag")
	process.Migrate(t, program, settings)
	u := &upgradable{pidFile: pidFile}
	u.start(t, process.Serve(t, program, settings))
	before, port := u.Addr(t), freePort(t)
	servedBy := func(addr string) string {
		answer, err := process.Ask("GET", "http://"+addr+"/version", nil)
		require.NoError(t, err)
		return answer.Header.Get("X-Served-By")
	}
	require.Equal(t, "first", servedBy(before))

	configure("second", port, "Signal: SIGUSR2, PIDFile: "+pidFile)
	u.upgrade(t)
	require.Equal(t, "second", servedBy("127.0.0.1:"+port))
	_, err := process.Dial(before)
	require.ErrorIs(t, err, syscall.ECONNREFUSED)

	configure("third", port, "Signal: none")
	u.send(t, syscall.SIGUSR2)
	process.Await(t, "the second upgrade", func() bool { return len(u.Log(replacedEnded)) == 2 || u.Ended() })
	require.Equal(t, "third", servedBy("127.0.0.1:"+port))
}

// freePort returns a port on which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(free.Addr().String())
	require.NoError(t, errors.Join(err, free.Close()))
	return port
}

// A new process that can't answer is noticed before it takes over: its own check does not
// reach the old one.
func TestUpgradeToProcessThatDoesNotAnswer(t *testing.T) {
	u := startUpgradable(t, "tag", process.On(dbtest.MySQL(t)))
	pid := u.serving()
	u.installScript(t, `ACHILLES_SERVER_READHEADERTIMEOUT=1ns exec "$real" "$@"`)
	u.send(t, syscall.SIGHUP)
	process.Await(t, "the end of the upgrade", func() bool { return len(u.Log(upgradeFailed)) > 0 || len(u.Log(handedOver)) > 0 || u.Ended() })
	require.Empty(t, u.Log(handedOver))
	require.Contains(t, u.Stderr(), "the service does not answer its own health check within 8s")
	require.Equal(t, pid, u.serving())
	require.Equal(t, 200, ask(t, u.Process, "GET", "/readyz", nil).Status)
	u.stop(t)
}

// A process that is told to stop ends the new one that it has started, unless it knows that
// the new one is ready. So the new one must not have accepted a connection before.
func TestSIGTERMWhileTheNewProcessTakesOver(t *testing.T) {
	u := startUpgradable(t, "tag", process.On(dbtest.MySQL(t)))
	old, proceed := u.serving(), filepath.Join(t.TempDir(), "proceed")
	addr := u.Addr(t)
	u.installScript(t, `until [ -e `+proceed+` ]; do sleep 0.01; done; exec "$real" "$@"`)
	u.send(t, syscall.SIGHUP)
	u.AwaitLog(t, upgradeBegun)
	require.NoError(t, syscall.Kill(old, syscall.SIGSTOP))
	require.NoError(t, os.WriteFile(proceed, nil, 0o600))
	process.Await(t, "the new process", func() bool { return u.serving() != old || u.Ended() })

	conn, err := process.Dial(addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	body := `{"name":"slow upload"}`
	require.NoError(t, conn.Send("POST", "/api/v1/tags", []byte(body[:5]), len(body)))
	require.Never(t, func() bool { return len(u.Log("up")) > 1 }, time.Second, 10*time.Millisecond,
		"the old process does not know yet that the new one is ready")
	require.NoError(t, syscall.Kill(old, sigterm))
	require.NoError(t, syscall.Kill(old, syscall.SIGCONT))
	process.Await(t, "the stop", func() bool { return len(u.Log("stopping"))+len(u.Log(handedOver)) > 0 })
	_, err = conn.Write([]byte(body[5:]))
	require.NoError(t, err)
	answer, err := conn.Receive("POST")
	require.NoError(t, err)
	require.Equal(t, 201, answer.Status, string(answer.Body))
}
