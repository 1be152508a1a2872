package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/test/devserver/claim"
)

func TestRunServesAndStops(t *testing.T) {
	// Under nohup the signal is ignored, and processes that are started inherit that.
	heeded := make(chan os.Signal, 1)
	signal.Notify(heeded, syscall.SIGHUP)
	defer signal.Stop(heeded)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "some where")
			s := start(t, dir)
			base := s.base(t)
			var pids []float64
			for _, name := range []string{"tag", "article", "comment"} {
				_, answer := get(t, base+"/api/v1/"+name+"s")
				require.Equal(t, name, answer["service"])
				require.Contains(t, s.out.String(), " "+base+"/api/v1/"+name+"s\n")
				require.Contains(t, s.out.String(), "/metrics ("+name+")\n")
				pids = append(pids, answer["pid"].(float64))
			}
			require.NoError(t, s.Process.Signal(sig))
			require.Zero(t, s.exitCode(t), s.out)
			for i, name := range []string{"tag.db", "article.db", "comment.db"} {
				require.False(t, alive(pids[i]), name)
				content, err := os.ReadFile(filepath.Join(dir, name))
				require.NoError(t, err)
				require.Equal(t, "migrated\nstopped\n", string(content))
			}
		})
	}
}

func TestSettingsOfTheEnvironmentReachTheServices(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, "ACHILLES_CONFIG=/nowhere", "ACHILLES_AUTH_KEYSFILE=/nowhere", "ACHILLES_SERVER_HTTPPORT=1",
		"ACHILLES_DATABASE_HOST=db", "ACHILLES_FEED_URL=", "ACHILLES_LOG_LEVEL=debug", "ACHILLES_LIMITS_READPERSECOND=7",
		"ACHILLES_FEED_RETENTION=1h", "ACHILLES_SERVER_REQUESTTIMEOUT=9s")
	base := s.base(t)
	_, tag := get(t, base+"/api/v1/tags")
	_, article := get(t, base+"/api/v1/articles")
	for _, answer := range []map[string]any{tag, article} {
		for name, want := range map[string]string{
			"ACHILLES_CONFIG": "", "ACHILLES_DATABASE_HOST": "", "ACHILLES_SERVER_HOST": "127.0.0.1",
			"ACHILLES_AUTH_KEYSFILE": filepath.Join(dir, "keys.yaml"),
			"ACHILLES_LOG_LEVEL":     "debug", "ACHILLES_SERVER_REQUESTTIMEOUT": "9s", "ACHILLES_LIMITS_READPERSECOND": "7",
			"ACHILLES_LIMITS_WRITEPERSECOND":     "1000",
			"ACHILLES_LIMITS_SEARCHPERSECOND":    "200",
			"ACHILLES_SERVER_CORSALLOWEDORIGINS": "http://localhost:*,http://127.0.0.1:*",
		} {
			require.Equal(t, want, variable(answer, name), name)
		}
	}
	require.GreaterOrEqual(t, len(variable(tag, "ACHILLES_FEED_TOKEN")), 32)
	require.Equal(t, variable(tag, "ACHILLES_FEED_TOKEN"), variable(article, "ACHILLES_FEED_TOKEN"))
	_, comment := get(t, base+"/api/v1/comments")
	for _, pair := range [][2]map[string]any{{tag, article}, {article, comment}} {
		require.Equal(t, "http://127.0.0.1:"+variable(pair[0], "ACHILLES_SERVER_HTTPPORT"), variable(pair[1], "ACHILLES_FEED_URL"))
	}
	require.Empty(t, variable(tag, "ACHILLES_FEED_URL"))
	require.Equal(t, "1h", variable(tag, "ACHILLES_FEED_RETENTION"))
	require.Empty(t, variable(article, "ACHILLES_FEED_RETENTION"), "a setting that only the tag service knows")
	require.Contains(t, s.out.String(), "Ignored, because make run sets it itself: ACHILLES_AUTH_KEYSFILE, ACHILLES_CONFIG, ACHILLES_DATABASE_HOST, ACHILLES_SERVER_HTTPPORT.\n")
}

func TestRunPrintsCommandsThatAShellUnderstands(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir)
	base := s.base(t)
	own, err := readCredentials(dir)
	require.NoError(t, err)
	var lines []string
	for line := range strings.Lines(s.out.String()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "curl ") || strings.HasPrefix(line, "TOKEN=") {
			lines = append(lines, line)
		}
	}
	require.Len(t, lines, 4)
	// A curl that shows what it was called with, and answers the first time.
	const curl = `curl() {
		case $* in *app_secret*) echo "$*" >&2; echo '{"code":0,"data":{"token":"a.b-c_d","token_type":"Bearer"}}'; return ;; esac
		printf '<%s>' "$@"; echo
	}
`
	output, err := exec.CommandContext(within(t), "sh", "-c", curl+strings.Join(lines, "\n")).CombinedOutput()
	require.NoError(t, err, string(output))
	said := strings.Split(strings.TrimSpace(string(output)), "\n")
	require.Equal(t, fmt.Sprintf("-sS %s/auth -d app_key=%s -d app_secret=%s", base, own.key, own.secret), said[0])
	for _, path := range []string{"/api/v1/tags>", "/api/v1/articles>", "/api/v1/articles?page_size=3>"} {
		require.Contains(t, string(output), "<"+base+path)
	}
	require.Equal(t, 2, strings.Count(string(output), "<-H><Authorization: Bearer a.b-c_d>"), string(output))
}

func TestRunGivesItsClientTokens(t *testing.T) {
	dir := t.TempDir()
	greeted := func() string { // what is the same after every start
		s := start(t, dir)
		s.base(t)
		var stdout, stderr strings.Builder
		require.Zero(t, devserver([]string{"token", "--data", dir}, nil, &stdout, &stderr), stderr.String())
		require.Equal(t, "for demo\n", stdout.String())
		require.NoError(t, s.Process.Signal(syscall.SIGTERM))
		require.Zero(t, s.exitCode(t), s.out)
		return regexp.MustCompile(`app_key .*`).FindString(s.out.String())
	}
	kept := func(name string) string {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
		content, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(content)
	}
	pair, keySet, own := greeted(), kept("keys.yaml"), kept("client")
	require.Regexp(t, `^app_key demo, app_secret \S{26}$`, pair)
	config := auth.Default()
	config.KeysFile = filepath.Join(dir, "keys.yaml")
	_, err := auth.OpenKeySet(config)
	require.NoError(t, err)

	require.Equal(t, pair, greeted())
	require.Equal(t, keySet, kept("keys.yaml"))
	require.Equal(t, own, kept("client"))

	require.NoError(t, os.Remove(filepath.Join(dir, "article.db.demo"))) // as on a new database
	require.Equal(t, pair, greeted())
	require.NoError(t, os.Remove(filepath.Join(dir, "client"))) // as on an old one
	require.NotEqual(t, pair, greeted())
}

func TestTokenSaysWhatIsWrong(t *testing.T) {
	_, port := serveBlog(t, &blog{})
	dir := t.TempDir()
	failure := func(port string) string {
		var stdout, stderr strings.Builder
		require.Equal(t, 1, devserver([]string{"token", "--port", port, "--data", dir}, nil, &stdout, &stderr))
		require.Empty(t, stdout.String(), "nothing that a script could take for a token")
		return stderr.String()
	}
	require.Contains(t, failure(port), "DATA="+dir+" holds no credentials")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "client"), []byte("app_key=demo"), 0o600))
	require.Contains(t, failure(port), "does not contain what make run wrote")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "client"), []byte("app_key=demo&app_secret=another"), 0o600))
	require.Contains(t, failure(port), "rejects the credentials in DATA="+dir)
	require.Contains(t, failure("1"), "nothing runs on http://127.0.0.1:1: start make run")
}

func TestRunFinishesRequestsInProgress(t *testing.T) {
	s := start(t, t.TempDir())
	base := s.base(t)
	body, sender := io.Pipe()
	request, err := http.NewRequestWithContext(within(t), http.MethodPost, base+"/api/v1/tags", body)
	require.NoError(t, err)
	// The gateway asks for the body only once it has begun with the request.
	request.Header.Set("Expect", "100-continue")
	transport := &http.Transport{ExpectContinueTimeout: patience}
	defer transport.CloseIdleConnections()
	answered := make(chan *http.Response, 1)
	go func() {
		defer close(answered)
		if response, err := transport.RoundTrip(request); err == nil {
			_ = response.Body.Close()
			answered <- response
		}
	}()
	_, err = sender.Write([]byte("first half, "))
	require.NoError(t, err)

	require.NoError(t, s.Process.Signal(syscall.SIGTERM))
	s.awaitOutput(t, "Stopping")
	// make repeats the SIGTERM that its process group was sent.
	require.NoError(t, s.Process.Signal(syscall.SIGTERM))
	require.NoError(t, s.Process.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool { // the drain is over
		conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, patience, 10*time.Millisecond)
	_, err = sender.Write([]byte("second half"))
	require.NoError(t, err)
	require.NoError(t, sender.Close())
	response := <-answered
	require.NotNil(t, response, "no answer")
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Zero(t, s.exitCode(t), s.out)
}

// At the maximum of connections the one that is idle longest is closed for a new one.
func TestRunBoundsConnections(t *testing.T) {
	s := start(t, t.TempDir())
	base := s.base(t)
	address := strings.TrimPrefix(base, "http://")
	var idle []net.Conn
	for range gatewayConnections + 50 {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		idle = append(idle, conn)
	}
	status, _ := get(t, base+"/api/v1/tags")
	require.Equal(t, http.StatusOK, status)
	require.NoError(t, idle[0].SetReadDeadline(time.Now().Add(patience)))
	_, err := idle[0].Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it was not closed")
}

func TestRunEndsAtOnceOnASecondSignal(t *testing.T) {
	s := start(t, t.TempDir(), "STANDIN_article=stubborn")
	_, article := get(t, s.base(t)+"/api/v1/articles")
	require.NoError(t, s.Process.Signal(syscall.SIGINT))
	s.awaitOutput(t, "Stopping")
	time.Sleep(lifecycle.RepeatInterval)
	require.NoError(t, s.Process.Signal(syscall.SIGINT))
	require.Equal(t, 1, s.exitCode(t), s.out)
	require.Contains(t, s.out.String(), "ended by a second signal")
	require.False(t, alive(article["pid"].(float64)))
}

func TestRunSaysWhyAServiceFailed(t *testing.T) {
	cases := map[string][]string{
		"STANDIN_tag=migration":     {"tag migrate failed: exit status 1", "tag: the schema is from the future"},
		"STANDIN_article=migration": {"article migrate failed"},
		"STANDIN_comment=start":     {"the comment service ended by itself"},
		"STANDIN_article=start":     {"the article service ended by itself", "article: cannot start"},
	}
	for fault, want := range cases {
		t.Run(fault, func(t *testing.T) {
			s := start(t, t.TempDir(), fault)
			require.Equal(t, 1, s.exitCode(t))
			for _, text := range want {
				require.Contains(t, s.out.String(), text)
			}
			require.NotContains(t, s.out.String(), "Stopping", "there are no requests in progress")
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
	require.Contains(t, s.out.String(), "the tag service ended by itself: exit status 3")
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

func TestRunFailsWithOneLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	takenPort := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	used := t.TempDir()
	holder, err := claim.OpenData(used)
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
		"not built":       {[]string{"run", "--port", "0", "--data", t.TempDir(), "--bin", t.TempDir(), "--root", listed(t)}, "make build"},
		"no list":         {[]string{"run", "--port", "0", "--data", t.TempDir(), "--root", t.TempDir()}, "reading the list of services"},
		"demo, bad port":  {[]string{"demo", "--port", "x"}, "PORT=x is not a port"},
		"demo of nothing": {[]string{"demo", "--port", "1", "--data", clientDir(t)}, "start make run"},
		"no client":       {[]string{"demo", "--data", t.TempDir()}, "holds no credentials"},
		"no command":      {nil, "run, demo or token"},
		"other command":   {[]string{"stop"}, `"stop" is no command`},
		"other flag":      {[]string{"run", "--host", "x"}, "-host"},
		"too much":        {[]string{"run", "fast"}, `"fast" is one argument too many`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			require.Equal(t, 1, devserver(c.args, nil, &stdout, &stderr))
			require.Contains(t, stderr.String(), c.want)
			require.Equal(t, 1, strings.Count(stderr.String(), "\n"), stderr.String())
		})
	}
}

func TestFreePortsDiffer(t *testing.T) {
	ports, err := freePorts(50)
	require.NoError(t, err)
	seen := map[int]bool{}
	for _, port := range ports {
		require.False(t, seen[port])
		seen[port] = true
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		require.NoError(t, err)
		require.NoError(t, ln.Close())
	}
}

func TestLastLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(path, []byte("first\nsecond\nend\n"), 0o600))
	require.Equal(t, []string{"first", "second", "end"}, lastLines(path, 5))
	require.Equal(t, []string{"second", "end"}, lastLines(path, 2))
}

func TestHelp(t *testing.T) {
	var stdout, stderr strings.Builder
	require.Zero(t, devserver([]string{"--help"}, nil, &stdout, &stderr))
	require.Contains(t, stdout.String(), "demo")
	require.Empty(t, stderr.String())
}
