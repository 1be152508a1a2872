package settings

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// watching starts Watch until the end of the test, and returns a channel of the contents when it calls changed.
func watching(t *testing.T, file string) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	seen, ended := make(chan string, 100), make(chan error, 1)
	target, err := filepath.EvalSymlinks(file)
	require.NoError(t, err)
	probe := filepath.Join(filepath.Dir(target), "probe")
	go func() {
		ended <- Watch(ctx, file, nil, func(content []byte) { seen <- string(content) })
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(time.Minute):
			t.Error("Watch did not end with its context")
		}
	})
	ready(t, file, probe, seen)
	return seen
}

// ready waits until the directory is watched. Earlier changes are not noticed.
func ready(t *testing.T, file, probe string, seen <-chan string) {
	t.Helper()
	original, err := os.ReadFile(file)
	require.NoError(t, err)
	for i := range 100 {
		replace(t, file, probe, fmt.Sprint(string(original), i))
		select {
		case <-seen:
			replace(t, file, probe, string(original))
			expect(t, seen, string(original))
			return
		case <-time.After(3 * readDelay):
		}
	}
	t.Fatal("the watch never began")
}

// replace replaces the file by a rename, as editors do.
func replace(t *testing.T, file, probe, content string) {
	t.Helper()
	target, err := filepath.EvalSymlinks(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(probe, []byte(content), 0o600))
	require.NoError(t, os.Rename(probe, target))
}

func expect(t *testing.T, seen <-chan string, want string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case got := <-seen:
			if got == want {
				return
			}
		case <-deadline:
			t.Fatalf("no change to %q was reported", want)
		}
	}
}

func expectNothing(t *testing.T, seen <-chan string) {
	t.Helper()
	select {
	case got := <-seen:
		t.Fatalf("a change to %q was reported", got)
	case <-time.After(4 * readDelay):
	}
}

func TestWatchPlainFile(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what takes seconds")
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("one"), 0o600))
	seen := watching(t, file)

	require.NoError(t, os.WriteFile(file, []byte("two"), 0o600))
	expect(t, seen, "two")
	replace(t, file, file+".swp", "three")
	expect(t, seen, "three")
	require.NoError(t, os.Remove(file))
	expectNothing(t, seen)
	require.NoError(t, os.WriteFile(file, []byte("four"), 0o600))
	expect(t, seen, "four")

	now := time.Now().Add(time.Hour)
	require.NoError(t, os.Chtimes(file, now, now))
	replace(t, file, file+".swp", "four")
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(file), "neighbour"), []byte("x"), 0o600))
	expectNothing(t, seen)
}

func TestWatchInABusyDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("one"), 0o600))
	seen := watching(t, file)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(readDelay / 20):
				_ = os.WriteFile(filepath.Join(filepath.Dir(file), "busy.log"), []byte("x"), 0o600)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	require.NoError(t, os.WriteFile(file, []byte("two"), 0o600))
	expect(t, seen, "two")
}

// A file that is written in parts, as by a shell's redirection, is not read before it is complete.
func TestWatchAFileThatIsWrittenSlowly(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what takes seconds")
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("one"), 0o600))
	seen := watching(t, file)
	part := "part of a long file\n"
	written, err := os.Create(file)
	require.NoError(t, err)
	for range 20 {
		_, err = written.WriteString(part)
		require.NoError(t, err)
		time.Sleep(readDelay / 4) // the speed of the writer
	}
	require.NoError(t, written.Close())
	require.Equal(t, strings.Repeat(part, 20), <-seen)
	expectNothing(t, seen)
}

// A change between the time when the caller has read the file and the beginning of the watch is noticed.
func TestWatchKnowsTheContent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("two"), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var seen []string
	require.NoError(t, Watch(ctx, file, []byte("one"), func(content []byte) {
		seen = append(seen, string(content))
		cancel()
	}))
	require.Equal(t, []string{"two"}, seen)
}

// A ConfigMap is mounted as config.yaml -> ..data/config.yaml, ..data -> ..2026_01; an update makes a new directory, swaps
// ..data by a rename and removes the old directory.
func TestWatchConfigMap(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what takes seconds")
	}
	dir := t.TempDir()
	publish := func(version, content string) {
		t.Helper()
		require.NoError(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, version, "config.yaml"), []byte(content), 0o600))
		require.NoError(t, os.Symlink(version, filepath.Join(dir, "..data_tmp")))
		old, _ := os.Readlink(filepath.Join(dir, "..data"))
		require.NoError(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		if old != "" {
			require.NoError(t, os.RemoveAll(filepath.Join(dir, old)))
		}
	}
	publish("..2026_01", "one")
	file := filepath.Join(dir, "config.yaml")
	require.NoError(t, os.Symlink(filepath.Join("..data", "config.yaml"), file))
	seen := watching(t, file)
	for _, version := range []string{"02", "03", "04"} {
		publish("..2026_"+version, "content "+version)
		expect(t, seen, "content "+version)
	}
	publish("..2026_05", "content 04")
	expectNothing(t, seen)
}

func TestWatchLinkToAnotherDirectory(t *testing.T) {
	if testing.Short() {
		t.Skip("-short leaves out what takes seconds")
	}
	target, file := filepath.Join(t.TempDir(), "real.yaml"), filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(target, []byte("one"), 0o600))
	require.NoError(t, os.Symlink(target, file))
	seen := watching(t, file)
	require.NoError(t, os.WriteFile(target, []byte("two"), 0o600))
	expect(t, seen, "two")

	other := filepath.Join(t.TempDir(), "other.yaml")
	require.NoError(t, os.WriteFile(other, []byte("three"), 0o600))
	require.NoError(t, os.Symlink(other, file+".new"))
	require.NoError(t, os.Rename(file+".new", file))
	expect(t, seen, "three")
	require.NoError(t, os.WriteFile(other, []byte("four"), 0o600))
	expect(t, seen, "four")
}

func TestWatchEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	changed := func([]byte) { t.Error("changed") }
	require.NoError(t, Watch(ctx, "", nil, changed))
	require.NoError(t, Watch(ctx, filepath.Join(t.TempDir(), "none.yaml"), nil, changed))
	err := Watch(ctx, "/nowhere/config.yaml", nil, changed)
	require.ErrorContains(t, err, "watching the configuration file /nowhere/config.yaml: no such file or directory; check that its directory exists")
}

// A reload uses all sources: a flag overrides the file, and a bare number is seconds.
func TestReloadKeepsPrecedenceAndUnits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("Server: {ReadTimeout: 1, HttpPort: 1}"), 0o600))
	args, environ := []string{"--server.httpport=3"}, []string{"ACHILLES_SERVER_SIZE=2"}
	seen := watching(t, file)
	require.NoError(t, os.WriteFile(file, []byte("Server: {ReadTimeout: 7, HttpPort: 8, Size: 9}"), 0o600))
	expect(t, seen, "Server: {ReadTimeout: 7, HttpPort: 8, Size: 9}")
	c, _, err := loadFile(t, file, environ, args)
	require.NoError(t, err)
	require.Equal(t, 7*time.Second, c.Server.ReadTimeout)
	require.Equal(t, 3, c.Server.HTTPPort)
	require.EqualValues(t, 2, c.Server.Size)
}

// A release is switched by a link to its directory, or the directory is made anew: no event tells of either.
func TestWatchAnotherDirectory(t *testing.T) {
	dir := t.TempDir()
	publish := func(version, content string) {
		t.Helper()
		require.NoError(t, os.Mkdir(filepath.Join(dir, version), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, version, "config.yaml"), []byte(content), 0o600))
		require.NoError(t, os.Symlink(version, filepath.Join(dir, "current.new")))
		require.NoError(t, os.Rename(filepath.Join(dir, "current.new"), filepath.Join(dir, "current")))
	}
	publish("1", "one")
	seen := make(chan string, 100)
	file := filepath.Join(dir, "current", "config.yaml")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- watchEvery(ctx, readDelay, file, []byte("one"), func(content []byte) { seen <- string(content) })
	}()
	publish("2", "two")
	expect(t, seen, "two")
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "2")))
	publish("3", "three")
	expect(t, seen, "three")
	cancel()
	require.NoError(t, <-ended)
}

// Reading it would block for ever, and the process could not end.
func TestWatchIgnoresPipes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("one"), 0o600))
	seen := watching(t, file)
	require.NoError(t, os.Remove(file))
	require.NoError(t, syscall.Mkfifo(file, 0o600))
	expectNothing(t, seen)
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.WriteFile(file, []byte("two"), 0o600))
	expect(t, seen, "two")
}

// A file of any size takes no more memory than one that is a little too large, which is rejected.
func TestWatchHugeFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("one"), 0o600))
	seen := watching(t, file)
	require.NoError(t, os.Truncate(file, 1<<40)) // sparse
	content := <-seen
	require.Len(t, content, maxFile+1)
	c := defaults()
	err := Load(&c, Source{File: file, Content: []byte(content)})
	require.ErrorContains(t, err, "is larger than 1 MiB: it cannot be a configuration")
	require.ErrorContains(t, Load(&c, Source{File: file}), "is larger than 1 MiB: it cannot be a configuration")
	require.NoError(t, os.WriteFile(file, []byte("Server: {ReadTimeout: 1}"+strings.Repeat("\n", maxFile-24)), 0o600))
	require.Len(t, <-seen, maxFile)
}
