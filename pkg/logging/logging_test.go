package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/settings"
)

func TestMain(m *testing.M) {
	// lumberjack never stops its goroutine for a file.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun"))
}

// entries parses JSON lines.
func entries(t *testing.T, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(text) {
		entry := map[string]any{}
		require.NoError(t, json.Unmarshal([]byte(line), &entry), line)
		all = append(all, entry)
	}
	return all
}

func TestRelease(t *testing.T) {
	t.Setenv("TZ", "Asia/Shanghai")
	var out bytes.Buffer
	log, err := New(Default(), true, &out)
	require.NoError(t, err)
	before := time.Now().Truncate(time.Millisecond)
	log.Debug("hidden")
	log.Named("feed").Info("up\nand running", zap.Duration("took", 1500*time.Millisecond), zap.Error(errors.New("odd")),
		zap.Any("password", settings.Secret("hunter2")))
	require.NoError(t, log.Close())

	all := entries(t, out.String())
	require.Len(t, all, 1)
	ts, err := time.Parse("2006-01-02T15:04:05.000Z", all[0]["ts"].(string))
	require.NoError(t, err, "UTC with milliseconds")
	require.False(t, ts.Before(before) || ts.After(time.Now()), ts)
	delete(all[0], "ts")
	require.Equal(t, map[string]any{
		"level": "info", "logger": "feed", "msg": "up\nand running", "took": 1.5, "error": "odd", "password": "******",
	}, all[0], "without the caller")
}

func TestTimeIsUTC(t *testing.T) {
	var out bytes.Buffer
	log, err := New(Default(), true, &out)
	require.NoError(t, err)
	zone := time.FixedZone("east", 8*60*60)
	log.Info("x", zap.Time("at", time.Date(2026, 1, 2, 11, 4, 5, 6e6, zone)))
	require.NoError(t, log.Sync())
	require.Equal(t, "2026-01-02T03:04:05.006Z", entries(t, out.String())[0]["at"])
}

func TestConsole(t *testing.T) {
	var out bytes.Buffer
	log, err := New(Default(), false, &out)
	require.NoError(t, err)
	log.Warn("look", zap.String("key", "value"))
	require.NoError(t, log.Sync())
	require.Regexp(t, `^\d\d:\d\d:\d\d\.\d{3}\tWARN\tlook\t\{"key": "value"\}\n$`, out.String())
}

func TestLevels(t *testing.T) {
	for i, level := range levels {
		cfg := Default()
		cfg.Level = level
		var out bytes.Buffer
		log, err := New(cfg, true, &out)
		require.NoError(t, err)
		log.Debug("debug")
		log.Info("info")
		log.Warn("warn")
		log.Error("error")
		require.NoError(t, log.Sync())
		require.Len(t, entries(t, out.String()), len(levels)-i)
		require.Equal(t, level, entries(t, out.String())[0]["level"])
	}
}

func TestSetLevel(t *testing.T) {
	var out bytes.Buffer
	log, err := New(Default(), true, &out)
	require.NoError(t, err)
	child := log.With(zap.Int("n", 1))
	child.Debug("hidden")
	require.NoError(t, log.SetLevel("debug"))
	child.Debug("shown")
	require.EqualError(t, log.SetLevel("loud"), "Level: loud is not allowed; it must be debug, info, warn or error")
	child.Debug("still shown")
	require.NoError(t, log.Sync())
	require.Len(t, entries(t, out.String()), 2)
}

func TestFile(t *testing.T) {
	cfg := Default()
	cfg.LogSavePath, cfg.LogFileName = filepath.Join(t.TempDir(), "new", "logs"), "tag.log"
	var out bytes.Buffer
	log, err := New(cfg, false, &out)
	require.NoError(t, err)
	log.Info("one")
	require.NoError(t, log.Close())
	log, err = New(cfg, false, &out)
	require.NoError(t, err, "appends to the existing file")
	require.NoError(t, log.SetLevel("error"))
	log.Info("hidden in both")
	log.Error("two")
	require.NoError(t, log.Close())

	path := filepath.Join(cfg.LogSavePath, "tag.log")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	all := entries(t, string(content))
	require.Len(t, all, 2, "JSON even if standard output has console lines")
	require.Equal(t, "one", all[0]["msg"])
	require.Equal(t, "two", all[1]["msg"])
	require.Equal(t, 2, strings.Count(out.String(), "\n"))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077, "other users cannot read the log")
}

func TestRotation(t *testing.T) {
	cfg := Default()
	cfg.LogSavePath, cfg.MaxSize, cfg.MaxBackups = t.TempDir(), 1, 1
	log, err := New(cfg, true, &bytes.Buffer{})
	require.NoError(t, err)
	line := strings.Repeat("x", 100<<10)
	for range 40 {
		log.Info(line)
		require.NoError(t, log.Sync())
	}
	require.NoError(t, log.Close())
	require.Eventually(t, func() bool {
		files, err := os.ReadDir(cfg.LogSavePath)
		return err == nil && len(files) == 2
	}, time.Minute, 10*time.Millisecond, "one file and one backup are kept")
	info, err := os.Stat(filepath.Join(cfg.LogSavePath, cfg.LogFileName))
	require.NoError(t, err)
	require.LessOrEqual(t, info.Size(), int64(1<<20))
}

// A file that can't be renamed, here because the name would be too long, grows on: no line is lost.
func TestRotationFails(t *testing.T) {
	cfg := Default()
	cfg.LogSavePath, cfg.LogFileName, cfg.MaxSize = t.TempDir(), strings.Repeat("x", 250), 1
	log, err := New(cfg, true, &bytes.Buffer{})
	require.NoError(t, err)
	for range 25 {
		log.Info(strings.Repeat("x", 100<<10))
		require.NoError(t, log.Sync())
	}
	require.NoError(t, log.Close())
	require.Zero(t, testutil.ToFloat64(log.Collector()))
	content, err := os.ReadFile(filepath.Join(cfg.LogSavePath, cfg.LogFileName))
	require.NoError(t, err)
	require.Len(t, entries(t, string(content)), 25)
}

// The part of a line that a full disk has taken is not the beginning of the next line.
func TestFullDisk(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	cfg := Default()
	cfg.LogSavePath = t.TempDir()
	log, err := New(cfg, true, &bytes.Buffer{})
	require.NoError(t, err)
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 250, Max: before.Max}))
	for range 3 {
		log.Info(strings.Repeat("x", 100))
		require.NoError(t, log.Sync())
	}
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before))
	log.Info("room again")
	require.NoError(t, log.Close())
	require.Equal(t, 2.0, testutil.ToFloat64(log.Collector()))
	content, err := os.ReadFile(filepath.Join(cfg.LogSavePath, cfg.LogFileName))
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	require.Len(t, lines, 3)
	require.Equal(t, "room again", entries(t, lines[2])[0]["msg"])
}

// Another program renames the file, and the lines after Reopen are in a new one.
func TestReopen(t *testing.T) {
	cfg := Default()
	cfg.LogSavePath, cfg.MaxSize = t.TempDir(), 0
	log, err := New(cfg, true, &bytes.Buffer{})
	require.NoError(t, err)
	path := filepath.Join(cfg.LogSavePath, cfg.LogFileName)
	messages := func(path string) (all []any) {
		require.NoError(t, log.Sync())
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, entry := range entries(t, string(content)) {
			all = append(all, entry["msg"])
		}
		return all
	}
	log.Info("one")
	require.Equal(t, []any{"one"}, messages(path))
	require.NoError(t, os.Rename(path, path+".1"))
	log.Info("two")
	require.Equal(t, []any{"one", "two"}, messages(path+".1"), "the same file under another name")
	reopened, err := log.Reopen()
	require.NoError(t, err)
	require.True(t, reopened)
	log.Info("three")
	require.Equal(t, []any{"three"}, messages(path))
	require.Equal(t, []any{"one", "two"}, messages(path+".1"))
	require.NoError(t, log.Close())

	log, err = New(Default(), true, &bytes.Buffer{})
	require.NoError(t, err)
	reopened, err = log.Reopen()
	require.NoError(t, err)
	require.False(t, reopened, "there is no file")
}

// Another process, such as migrate, writes to the file that a rotation has made.
func TestFileOfTwoProcesses(t *testing.T) {
	cfg := Default()
	cfg.LogSavePath, cfg.MaxSize, cfg.MaxBackups = t.TempDir(), 1, 0
	start := func() *Logger {
		log, err := New(cfg, true, &bytes.Buffer{})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, log.Close()) })
		return log
	}
	written := 0
	write := func(log *Logger, size int) {
		log.Info(strings.Repeat("x", size), zap.Int("n", written))
		written++
		require.NoError(t, log.Sync())
	}
	files := func() (paths []string) {
		paths, err := filepath.Glob(filepath.Join(cfg.LogSavePath, "*"))
		require.NoError(t, err)
		return paths
	}
	one, other := start(), start()
	write(one, megabyte/2)
	write(one, megabyte*3/4)
	require.Len(t, files(), 2)
	for range 10 {
		write(other, 100)
		write(one, 100)
	}
	// While the file is shared, it grows. Then it is rotated.
	require.NoError(t, one.ShareFile(true))
	require.NoError(t, other.ShareFile(true))
	for range 3 {
		write(one, megabyte/2)
		write(other, megabyte/2)
	}
	require.Len(t, files(), 2)
	require.NoError(t, one.ShareFile(false))
	write(one, 100)
	require.Len(t, files(), 3)

	seen := map[any]bool{}
	for _, path := range files() {
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, entry := range entries(t, string(content)) {
			seen[entry["n"]] = true
		}
	}
	require.Len(t, seen, written)
}

// MaxSize 0 leaves the rotation to another program.
func TestNoRotation(t *testing.T) {
	cfg := Default()
	cfg.LogSavePath, cfg.MaxSize = t.TempDir(), 0
	require.NoError(t, settings.Validate(&cfg))
	path := filepath.Join(cfg.LogSavePath, cfg.LogFileName)
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Truncate(path, 200<<20)) // lumberjack's default is 100 MB
	log, err := New(cfg, true, &bytes.Buffer{})
	require.NoError(t, err)
	log.Info("x")
	require.NoError(t, log.Close())
	files, err := os.ReadDir(cfg.LogSavePath)
	require.NoError(t, err)
	require.Len(t, files, 1)
}

func TestUnwritableFile(t *testing.T) {
	const advice = "; set Log.LogSavePath to a directory that this user can write, or leave it empty to log to standard output only"
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "achilles.log"), 0o700))
	for path, why := range map[string]string{filepath.Join(dir, "file"): "not a directory", dir: "is a directory", "/proc/1/none": "no such file or directory"} {
		cfg := Default()
		cfg.LogSavePath = path
		_, err := New(cfg, true, &bytes.Buffer{})
		require.EqualError(t, err, "log file "+filepath.Join(path, "achilles.log")+" cannot be written: "+why+advice)
	}
}

func TestClosedStdout(t *testing.T) {
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	defer func() { _ = reader.Close() }()
	log, err := New(Default(), true, writer)
	require.NoError(t, err)
	require.NoError(t, log.Sync(), "Sync ignores pipes")
	require.NoError(t, writer.Close())
	require.NoError(t, log.Sync())
	require.NoError(t, log.Close())
}

func TestValidate(t *testing.T) {
	cfg := Default()
	require.NoError(t, settings.Validate(&cfg))
	cfg = Config{Level: "loud", LogSavePath: "logs", LogFileName: "../x", MaxSize: -1, MaxBackups: -1, MaxAge: -2}
	require.EqualError(t, settings.Validate(&cfg), strings.Join([]string{
		"MaxSize: -1 is not allowed; it must be a number of megabytes, or 0 if another program rotates the file",
		"MaxBackups: -1 is not allowed; it must be a number of files, or 0 to keep all",
		"MaxAge: -2 is not allowed; it must be a number of days, or 0 to keep them for ever",
		"Level: loud is not allowed; it must be debug, info, warn or error",
		"LogFileName: ../x is not allowed; it must be a file name without a directory, such as tag.log",
	}, "\n"))
	for _, name := range []string{"", ".", "..", "a/b", `a\b`} {
		cfg := Default()
		cfg.LogFileName = name
		require.NoError(t, settings.Validate(&cfg), "without a path the name is ignored")
		cfg.LogSavePath = "logs"
		require.Error(t, settings.Validate(&cfg), name)
	}
	_, err := New(Config{}, true, &bytes.Buffer{})
	require.EqualError(t, err, `Level: "" is not allowed; it must be debug, info, warn or error`)
}

func TestLoadedByKey(t *testing.T) {
	cfg := struct {
		Log Config `mapstructure:"Log"`
	}{Default()}
	err := settings.Load(&cfg, settings.Source{Environ: []string{"ACHILLES_LOG_LEVEL=loud", "ACHILLES_LOG_MAXSIZE=5"}})
	require.EqualError(t, err, "Log.Level: loud is not allowed; it must be debug, info, warn or error (from environment variable ACHILLES_LOG_LEVEL)")
	require.Equal(t, 5, cfg.Log.MaxSize)
}
