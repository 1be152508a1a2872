package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// build runs build.sh with a go that prints what is given, and returns its
// messages and its exit code.
func build(t *testing.T, list, compile string) (messages string, code int) {
	t.Helper()
	dir := t.TempDir()
	script := "#!/bin/sh\ncase $1 in\nlist)\n" + list + "\n;;\nbuild)\necho \"args: $*\" >&2\n" + compile + "\n;;\nesac\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), []byte(script), 0o700)) // #nosec G306 -- a program
	cmd := exec.CommandContext(within(t), "sh", "build.sh", "bin/", "-trimpath", "./services/tag")
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if _, failed := err.(*exec.ExitError); !failed {
		require.NoError(t, err)
	}
	require.Empty(t, string(output))
	return stderr.String(), cmd.ProcessState.ExitCode()
}

const manyStale = `n=0; while [ $n -lt 60 ]; do n=$((n+1)); echo "package/$n"; done`

func TestBuildShowsErrorsAndKeepsTheExitCode(t *testing.T) {
	messages, code := build(t, manyStale, manyStale+` >&2
printf '%s\n' '# package/61' 'main.go:3:1: undefined: x' '	have (int)' 'too many errors' >&2; exit 7`)
	require.Equal(t, 7, code)
	require.Equal(t, `Compiling 60 packages: a few minutes the first time, seconds from then on.
args: build -v -o bin/ -trimpath ./services/tag
compiled 50 of 60 packages: package/50
# package/61
main.go:3:1: undefined: x
	have (int)
too many errors
`, messages)
}

func TestBuildSucceeds(t *testing.T) {
	_, code := build(t, manyStale, manyStale+" >&2")
	require.Zero(t, code)
}

func TestBuildOfLittleSaysNothing(t *testing.T) {
	messages, code := build(t, "echo package/1", "echo broken >&2; exit 3")
	require.Equal(t, 3, code)
	require.Equal(t, "args: build -o bin/ -trimpath ./services/tag\nbroken\n", messages)
}

func TestBuildShowsDownloads(t *testing.T) {
	messages, code := build(t, `echo 'go: downloading example.com/module v1.0.0' >&2; echo 'go: no network' >&2; exit 1`,
		"echo 'go: no network' >&2; exit 1")
	require.Equal(t, 1, code)
	require.Equal(t, "Downloading modules, which takes a minute or so the first time.\nargs: build -o bin/ -trimpath ./services/tag\ngo: no network\n", messages)
}
