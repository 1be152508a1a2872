package process

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
)

// Installed returns the path of an installed program. It skips the test in short mode or
// if the program is not installed; with dbtest.EnvRequire the test fails instead.
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

// Tool runs an installed program in a directory, with additional environment variables.
// It fails the test if the program fails, and returns the output.
func Tool(t testing.TB, dir string, environ []string, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(Installed(t, program), args...) // #nosec G204 -- an installed program
	cmd.Dir, cmd.Env = dir, append(os.Environ(), environ...)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return string(output)
}

// Outputs runs a program with an input and returns its outputs.
func Outputs(stdin, program string, args ...string) (stdout, stderr string, err error) {
	var out, problems strings.Builder
	cmd := exec.Command(program, args...) // #nosec G204 -- a program of the test
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &problems
	err = cmd.Run()
	return out.String(), problems.String(), err
}
