package process

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
)

// Installed returns the path of a program of this machine, or skips the test,
// also with -short; where nothing may be left out it fails it.
func Installed(t testing.TB, program string) string {
	t.Helper()
	skipIfShort(t)
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	missing := program + " is not installed"
	if os.Getenv(dbtest.EnvRequire) == "all" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// Tool runs a program of this machine in a folder, with some more environment.
// It has to succeed, and what it printed is returned.
func Tool(t testing.TB, dir string, environ []string, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(Installed(t, program), args...) // #nosec G204 -- a program that was looked up
	cmd.Dir, cmd.Env = dir, append(os.Environ(), environ...)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return string(output)
}

// Outputs runs a program with an input and returns what it printed on each of
// its outputs.
func Outputs(stdin, program string, args ...string) (stdout, stderr string, err error) {
	var out, problems strings.Builder
	cmd := exec.Command(program, args...) // #nosec G204 -- the caller's own program
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &problems
	err = cmd.Run()
	return out.String(), problems.String(), err
}
