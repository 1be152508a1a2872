package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRunServesAndStops(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "some where")
			s := start(t, dir, "ACHILLES_CONFIG=/nowhere", "ACHILLES_LOG_LEVEL=debug")
			base := s.base(t)
			_, tag := get(t, base+"/api/v1/tags")
			_, article := get(t, base+"/api/v1/articles")
			require.Equal(t, "tag", tag["service"])
			require.Equal(t, "article", article["service"])
			require.NotEmpty(t, tag["token"])
			require.Equal(t, tag["token"], article["token"], "both know the token")
			require.Empty(t, tag["config"], "a configuration meant for something else")
			require.Equal(t, "debug", tag["level"])
			require.Contains(t, article["feed"], "http://127.0.0.1:")

			require.NoError(t, s.Process.Signal(sig))
			require.Zero(t, s.exitCode(t), s.out)
			require.False(t, alive(tag["pid"].(float64)))
			require.False(t, alive(article["pid"].(float64)))
			for _, name := range []string{"tag.db", "article.db"} {
				content, err := os.ReadFile(filepath.Join(dir, name))
				require.NoError(t, err)
				require.Equal(t, "migrated\nstopped\n", string(content))
			}
		})
	}
}

func TestRunPrintsCommandsThatAShellUnderstands(t *testing.T) {
	s := start(t, t.TempDir())
	s.base(t)
	ran := 0
	for line := range strings.Lines(s.out.String()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "curl ") {
			// A curl that shows what it was called with.
			output, err := exec.CommandContext(within(t), "sh", "-c", `curl() { printf '<%s>' "$@"; }; `+line).CombinedOutput()
			require.NoError(t, err, string(output))
			require.Contains(t, string(output), "http://127.0.0.1:")
			ran++
		}
	}
	require.Equal(t, 3, ran)
}

func TestRunFinishesWhatIsUnderWay(t *testing.T) {
	s := start(t, t.TempDir())
	response, err := http.Post(s.base(t)+"/api/v1/tags/slow", "text/plain", strings.NewReader("kept"))
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.NoError(t, s.Process.Signal(syscall.SIGTERM))
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, "kept", string(body))
	require.Zero(t, s.exitCode(t), s.out)
}

// make passes the SIGTERM on that its whole process group was sent.
func TestRunTakesASignalThatComesTwiceAtOnceForOne(t *testing.T) {
	s := start(t, t.TempDir())
	s.base(t)
	require.NoError(t, s.Process.Signal(syscall.SIGTERM))
	require.NoError(t, s.Process.Signal(syscall.SIGINT))
	require.Zero(t, s.exitCode(t), s.out)
}

func TestRunEndsAtOnceOnASecondSignal(t *testing.T) {
	s := start(t, t.TempDir(), "STANDIN_article=stubborn")
	_, article := get(t, s.base(t)+"/api/v1/articles")
	require.NoError(t, s.Process.Signal(syscall.SIGINT))
	require.Eventually(t, func() bool { return strings.Contains(s.out.String(), "Stopping") }, patience, time.Millisecond)
	<-time.After(2 * sameSignal) // a person's second Ctrl-C
	began := time.Now()
	require.NoError(t, s.Process.Signal(syscall.SIGINT))
	require.Equal(t, 1, s.exitCode(t), s.out)
	require.Less(t, time.Since(began), 5*time.Second)
	require.False(t, alive(article["pid"].(float64)))
}

func TestRunTellsWhyAServiceFailed(t *testing.T) {
	cases := map[string][]string{
		"STANDIN_tag=migration":     {"migrating the database of the tag service failed", "tag: the schema is from the future"},
		"STANDIN_article=migration": {"migrating the database of the article service failed"},
		"STANDIN_article=start":     {"the article service ended by itself", "article: cannot start"},
	}
	for fault, want := range cases {
		t.Run(fault, func(t *testing.T) {
			s := start(t, t.TempDir(), fault)
			require.Equal(t, 1, s.exitCode(t))
			for _, text := range want {
				require.Contains(t, s.out.String(), text)
			}
		})
	}
}

func TestRunEndsWhenAServiceCrashes(t *testing.T) {
	s := start(t, t.TempDir())
	base := s.base(t)
	_, article := get(t, base+"/api/v1/articles")
	status, body := get(t, base+"/api/v1/tags/crash")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.InDelta(t, 10000014, body["code"], 0)
	require.Equal(t, 1, s.exitCode(t))
	require.Contains(t, s.out.String(), "the tag service ended by itself, with exit status 3")
	require.Contains(t, s.out.String(), "out of luck")
	require.False(t, alive(article["pid"].(float64)))
}

func TestRunLeavesNoServiceBehindWhenKilled(t *testing.T) {
	if _, err := os.Stat("/proc/self"); err != nil {
		t.Skip("only Linux ends the children of a killed process")
	}
	s := start(t, t.TempDir())
	base := s.base(t)
	_, tag := get(t, base+"/api/v1/tags")
	_, article := get(t, base+"/api/v1/articles")
	require.NoError(t, s.Process.Kill())
	require.Eventually(t, func() bool {
		return !running(tag["pid"].(float64)) && !running(article["pid"].(float64))
	}, patience, 10*time.Millisecond)
}

// running is alive, but for a process that only waits to be reaped.
func running(pid float64) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", int(pid)))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestRunRefusesInOneLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	takenPort := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	used := t.TempDir()
	holder, err := openData(used)
	require.NoError(t, err)
	defer func() { _ = holder.Close() }()

	cases := map[string]struct {
		args []string
		want string
	}{
		"no number":       {[]string{"run", "--port", "http"}, "PORT=http is not a port"},
		"no such port":    {[]string{"run", "--port", "70000"}, "PORT=70000 is not a port"},
		"taken port":      {[]string{"run", "--port", takenPort, "--data", t.TempDir()}, "port " + takenPort + " can't be used: it is taken; choose another one"},
		"data is a file":  {[]string{"run", "--port", "0", "--data", file}, "it is a file, not a directory"},
		"below a file":    {[]string{"run", "--port", "0", "--data", file + "/var"}, "not a directory"},
		"not writable":    {[]string{"run", "--port", "0", "--data", "/proc/achilles"}, "DATA=/proc/achilles can't be used"},
		"no data":         {[]string{"run", "--port", "0", "--data", ""}, "DATA is empty"},
		"data in use":     {[]string{"run", "--port", "0", "--data", used}, fmt.Sprintf("another make run (process %d)", os.Getpid())},
		"not built":       {[]string{"run", "--port", "0", "--data", t.TempDir(), "--bin", t.TempDir()}, "make build"},
		"demo, no port":   {[]string{"demo", "--port", ""}, "PORT= is not a port"},
		"demo of nothing": {[]string{"demo", "--port", "1"}, "start it with make run"},
		"no command":      {nil, "run or demo"},
		"other command":   {[]string{"stop"}, `"stop" is no command`},
		"other flag":      {[]string{"run", "--host", "x"}, "-host"},
		"too much":        {[]string{"run", "fast"}, `"fast" is one argument too many`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			require.Equal(t, 1, local(c.args, nil, &stdout, &stderr))
			require.Contains(t, stderr.String(), c.want)
			require.Equal(t, 1, strings.Count(stderr.String(), "\n"), stderr.String())
		})
	}
}

func TestDataIsFreeAgainAfterwards(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		d, err := openData(dir)
		require.NoError(t, err)
		require.NoError(t, d.Close())
	}
}

func TestLogsKeepOneStart(t *testing.T) {
	d, err := openData(t.TempDir())
	require.NoError(t, err)
	defer func() { _ = d.Close() }()
	for _, text := range []string{"first", "second", "third"} {
		file, err := d.newLog("tag")
		require.NoError(t, err)
		_, err = file.WriteString(text + "\nend\n")
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	require.Equal(t, []string{"third", "end"}, lastLines(d.path("log", "tag.log"), 5))
	require.Equal(t, []string{"end"}, lastLines(d.path("log", "tag.log.1"), 1))
	require.Equal(t, []string{"second", "end"}, lastLines(d.path("log", "tag.log.1"), 2))
}

func TestFreePortsDiffer(t *testing.T) {
	ports, err := freePorts(50)
	require.NoError(t, err)
	seen := map[int]bool{}
	for _, port := range ports {
		require.False(t, seen[port])
		seen[port] = true
		ln, err := listen(port)
		require.NoError(t, err)
		require.NoError(t, ln.Close())
	}
}

func TestHelp(t *testing.T) {
	var stdout, stderr strings.Builder
	require.Zero(t, local([]string{"--help"}, nil, &stdout, &stderr))
	require.Contains(t, stdout.String(), "demo")
	require.Empty(t, stderr.String())
}
