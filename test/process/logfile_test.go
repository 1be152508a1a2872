package process_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// logrotate rotates the log file of a service, as deploy/logrotate says, also after an
// upgrade. No line is lost.
func TestLogrotate(t *testing.T) {
	dir := t.TempDir()
	u := startUpgradable(t, "tag", process.On(dbtest.MySQL(t)).With(process.Settings{"Log.LogSavePath": dir, "Log.LogFileName": "tag.log", "Log.MaxSize": "0"}))
	config := filepath.Join(t.TempDir(), "achilles")
	write(t, config, read(t, "logrotate/achilles", "/var/log/achilles", dir, "    su achilles achilles\n", "",
		"systemctl kill --signal=SIGUSR1 'achilles@*.service'", "kill -USR1 $(cat "+u.pidFile+")"))
	rotate := func(written string) {
		process.Await(t, "the lines until now", func() bool { return strings.Contains(contents(t, filepath.Join(dir, "tag.log")), written) })
		reopened := len(u.Log("log file reopened"))
		process.Tool(t, dir, nil, "logrotate", "--force", "--state", filepath.Join(t.TempDir(), "state"), config)
		process.Await(t, "the signal", func() bool { return len(u.Log("log file reopened")) > reopened })
	}
	rotate(`"msg":"starting"`)
	u.upgrade(t)
	rotate(replacedEnded)
	require.Equal(t, 200, ask(t, u.Process, "GET", "/version", nil).Status)
	u.stop(t)

	require.FileExists(t, filepath.Join(dir, "tag.log.1"))
	unpacked := process.Tool(t, dir, nil, "gzip", "--decompress", "--stdout", filepath.Join(dir, "tag.log.2.gz"))
	files := []string{unpacked, contents(t, filepath.Join(dir, "tag.log.1")), contents(t, filepath.Join(dir, "tag.log"))}
	require.Contains(t, files[0], `"msg":"starting"`)
	require.Contains(t, files[1], replacedEnded)
	require.Contains(t, files[2], `"msg":"request"`)
	requireSameLines(t, u.Stdout(), strings.Join(files, ""))
}

// The service rotates the file by itself, and both processes of an upgrade write to it.
func TestRotationDuringUpgrade(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "tag.log"), strings.Repeat("{}\n", (1<<20-1<<14)/3)) // nearly full
	u := startUpgradable(t, "tag", process.On(dbtest.MySQL(t)).With(process.Settings{
		"Log.LogSavePath": dir, "Log.LogFileName": "tag.log", "Log.MaxSize": "1", "Log.MaxBackups": "0", "Server.DrainDelay": upgradeDrain.String(),
	}))
	tr := beginUpgradeTraffic(t, u.Addr(t), "/api/v1/tags", func(name string) any { return newTag(name) })
	process.Await(t, "the rotation", func() bool { return len(logFiles(t, dir)) == 2 })
	for range 2 {
		u.upgrade(t)
		tr.awaitMore(t, 20)
	}
	tr.end()
	u.send(t, syscall.SIGUSR1)
	process.Await(t, "the signal", func() bool { return strings.Contains(contents(t, filepath.Join(dir, "tag.log")), "log file reopened") })
	u.stop(t)
	var all strings.Builder
	for _, file := range logFiles(t, dir) {
		all.WriteString(contents(t, file))
	}
	requireSameLines(t, u.Stdout(), all.String())
}

// requireSameLines requires that the log files have the lines of the standard output, besides
// those of the command migrate.
func requireSameLines(t *testing.T, stdout, files string) {
	t.Helper()
	missing := map[string]bool{}
	for line := range strings.Lines(stdout) {
		missing[line] = true
	}
	for line := range strings.Lines(files) {
		require.True(t, json.Valid([]byte(line)), line)
		delete(missing, line)
	}
	require.Empty(t, missing)
}

func logFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "tag*"))
	require.NoError(t, err)
	return files
}

func contents(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}
