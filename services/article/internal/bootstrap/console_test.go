package bootstrap

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/command/commandtest"
)

// console runs commands on its own database.
type console struct {
	commandtest.Console
	file string // the database
}

func newConsole(t *testing.T) console {
	c := console{commandtest.New(t, Command().Main), filepath.Join(t.TempDir(), "article.db")}
	t.Setenv("ACHILLES_DATABASE_DBNAME", c.file)
	return c
}

// The service issues tokens: it has the commands of pkg/issuer, and a check of its own.
func TestIssuesTokens(t *testing.T) {
	c := newConsole(t)
	c.Succeed("migrate")
	require.Contains(t, c.Succeed("client", "add", "demo"), "app_secret")
	require.Contains(t, c.Succeed("client", "list"), "demo")
	require.Contains(t, c.Succeed("key", "new"), "keys:")
	require.Equal(t, 1, strings.Count(c.Succeed("help"), "\n  check "))
	require.Contains(t, c.Succeed("check", "--help"), "a tag, an article")
}
