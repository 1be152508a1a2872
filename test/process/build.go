package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
)

// The build information of the programs.
const (
	Version   = "v9.8.7"
	Commit    = "0123456789abcdef0123456789abcdef01234567"
	BuildTime = "2026-01-02T03:04:05Z"
)

// built are the programs and the token of this test binary. It must be a package
// variable because it outlives a test.
var built struct {
	sync.Mutex
	dir      string
	token    string
	programs map[string]string
}

// Main is the body of TestMain. It runs the tests, removes the programs, stops the
// shared database server, and fails on leaked goroutines.
func Main(m *testing.M) {
	if err := prepare(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "process:", err)
		os.Exit(1)
	}
	dbtest.Main(m, func() { _ = os.RemoveAll(built.dir) })
}

// Service returns the path of the program of a service, which it builds once per test
// binary.
func Service(t testing.TB, name string) string {
	t.Helper()
	return Program(t, filepath.Join(root(t), "services", name))
}

// Release is like Service, without the race detector, which takes many times the memory.
func Release(t testing.TB, name string) string {
	t.Helper()
	return program(t, filepath.Join(root(t), "services", name), false)
}

// Program returns the path of the program in dir, which it builds once per test binary.
// The program has the race detector if the test has. In short mode Program skips the
// test.
func Program(t testing.TB, dir string) string {
	t.Helper()
	return program(t, dir, raceDetector)
}

func program(t testing.TB, dir string, race bool) string {
	t.Helper()
	skipIfShort(t)
	built.Lock()
	defer built.Unlock()
	key := fmt.Sprint(dir, race)
	if program := built.programs[key]; program != "" {
		return program
	}
	path := filepath.Join(built.dir, map[bool]string{true: "race", false: "release"}[race], filepath.Base(dir))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, build(dir, path, race))
	if built.programs == nil {
		built.programs = map[string]string{}
	}
	built.programs[key] = path
	return path
}

func skipIfShort(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short starts no processes")
	}
}

// build builds a program with go run -exec cp, because Go caches programs linked by
// go run, so that test binaries share them.
func build(dir, program string, race bool) error {
	const stamp = "-X github.com/achilles-blog/achilles/pkg/buildinfo."
	flags := stamp + "version=" + Version + " " + stamp + "commit=" + Commit + " " + stamp + "buildTime=" + BuildTime
	args := []string{"run", "-buildvcs=false", "-ldflags", flags, "-exec", "cp"}
	if race {
		args = append(args, "-race", "-gcflags=modernc.org/...=-race=false -d=checkptr=0") // as make test
	}
	command := exec.Command("go", append(args, ".", program)...) // #nosec G204 -- the go command on a package of this repository
	command.Dir = dir
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", dir, err, output)
	}
	return nil
}

// root returns the root directory of the repository.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "services", "tag", "main.go")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		require.NotEqual(t, parent, dir, "not within the repository")
		dir = parent
	}
}
