// Package commandtest runs the command lines of a service in tests.
package commandtest

import (
	"bytes"
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// Console runs command lines as main does, with the environment of the test.
type Console struct {
	t    testing.TB
	main func(args, environ []string, stdout, stderr io.Writer) int
}

// New returns a console for the method Main of a command.Service.
func New(t testing.TB, main func(args, environ []string, stdout, stderr io.Writer) int) Console {
	return Console{t: t, main: main}
}

// Run returns the exit code of a command line and what it has written.
func (c Console) Run(args ...string) (exit int, stdout, stderr string) {
	c.t.Helper()
	var out, problems bytes.Buffer
	exit = c.main(args, os.Environ(), &out, &problems)
	return exit, out.String(), problems.String()
}

// Succeed requires success with nothing on stderr, and returns stdout.
func (c Console) Succeed(args ...string) string {
	c.t.Helper()
	exit, stdout, stderr := c.Run(args...)
	require.Zero(c.t, exit, stderr)
	require.Empty(c.t, stderr)
	return stdout
}

// Fail requires a failure with each of the words on stderr and nothing on stdout, and returns
// stderr.
func (c Console) Fail(args []string, words ...string) string {
	c.t.Helper()
	exit, stdout, stderr := c.Run(args...)
	require.Equal(c.t, 1, exit, stdout)
	require.Empty(c.t, stdout)
	for _, word := range words {
		require.Contains(c.t, stderr, word)
	}
	return stderr
}
