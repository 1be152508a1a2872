package bootstrap

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// console runs commands on its own database.
type console struct {
	t    *testing.T
	file string // the database
}

func newConsole(t *testing.T) console {
	c := console{t: t, file: filepath.Join(t.TempDir(), "article.db")}
	t.Setenv("ACHILLES_DATABASE_DBNAME", c.file)
	return c
}

// run runs a command line as main does, with an empty stdin.
func (c console) run(args ...string) (exit int, stdout, stderr string) {
	c.t.Helper()
	var out, problems bytes.Buffer
	exit = Command().Main(args, os.Environ(), &out, &problems)
	return exit, out.String(), problems.String()
}

func (c console) succeed(args ...string) string {
	c.t.Helper()
	exit, stdout, stderr := c.run(args...)
	require.Zero(c.t, exit, stderr)
	require.Empty(c.t, stderr)
	return stdout
}

// fail requires a failure with each of the words on stderr and nothing on stdout.
func (c console) fail(args []string, words ...string) string {
	c.t.Helper()
	exit, stdout, stderr := c.run(args...)
	require.Equal(c.t, 1, exit, stdout)
	require.Empty(c.t, stdout)
	for _, word := range words {
		require.Contains(c.t, stderr, word)
	}
	return stderr
}

// The service issues tokens: it has the commands of pkg/issuer, and a check of its own.
func TestIssuesTokens(t *testing.T) {
	c := newConsole(t)
	c.succeed("migrate")
	require.Contains(t, c.succeed("client", "add", "demo"), "app_secret")
	require.Contains(t, c.succeed("client", "list"), "demo")
	require.Contains(t, c.succeed("key", "new"), "keys:")
	require.Equal(t, 1, strings.Count(c.succeed("help"), "\n  check "))
	require.Contains(t, c.succeed("check", "--help"), "a tag, an article")
}
