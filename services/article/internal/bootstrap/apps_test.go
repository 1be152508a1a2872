package bootstrap

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/access"
	"github.com/achilles-blog/achilles/services/article/internal/store"
)

// console is a terminal on a machine with a database of its own.
type console struct {
	t    *testing.T
	file string // the database
}

func newConsole(t *testing.T) console {
	c := console{t: t, file: filepath.Join(t.TempDir(), "article.db")}
	t.Setenv("ACHILLES_DATABASE_DBNAME", c.file)
	return c
}

// run runs a command line as main does, but for stdin, which is always empty.
func (c console) run(args ...string) (exit int, stdout, stderr string) {
	c.t.Helper()
	return runOn(c.t, Command(), args)
}

func runOn(t *testing.T, service command.Service[Config], args []string) (exit int, stdout, stderr string) {
	t.Helper()
	var out, problems bytes.Buffer
	exit = service.Main(args, os.Environ(), &out, &problems)
	return exit, out.String(), problems.String()
}

func (c console) succeed(args ...string) string {
	c.t.Helper()
	exit, stdout, stderr := c.run(args...)
	require.Zero(c.t, exit, stderr)
	require.Empty(c.t, stderr)
	return stdout
}

// fail wants a failure that says each of the words on stderr, and nothing else.
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

// apps are those that the commands have left in the database.
func (c console) apps() *access.Service {
	c.t.Helper()
	config := Defaults().Database
	config.DBName = c.file
	db, err := database.Open(config, zap.NewNop())
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = db.Close() })
	return access.NewService(store.NewApps(db))
}

var printed = regexp.MustCompile(`\n {2}app_key {5}(\S+)\n {2}app_secret {2}([A-Za-z0-9_-]{43})\n`)

func secretIn(t *testing.T, stdout, key string) string {
	t.Helper()
	found := printed.FindStringSubmatch(stdout)
	require.NotNil(t, found, stdout)
	require.Equal(t, key, found[1])
	require.Equal(t, 1, strings.Count(stdout, found[2]))
	return found[2]
}

func (c console) admitted(key, secret string) bool {
	c.t.Helper()
	_, err := c.apps().Authenticate(c.t.Context(), key, secret)
	return err == nil
}

func TestAppCommands(t *testing.T) {
	c := newConsole(t)
	c.succeed("migrate")
	require.Contains(t, c.succeed("app", "list"), "article app add KEY")

	stdout := c.succeed("app", "add", "demo")
	require.Contains(t, stdout, "not shown again")
	first := secretIn(t, stdout, "demo")
	require.True(t, c.admitted("demo", first))
	c.succeed("app", "add", "reader", "--scope", "")

	list := c.succeed("app", "list")
	lines := strings.Split(strings.TrimSpace(list), "\n")
	require.Len(t, lines, 3)
	require.Regexp(t, `^demo +write +20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ +20\S+Z$`, lines[1])
	require.Regexp(t, `^reader +- +20`, lines[2])
	require.NotContains(t, list, "$2a$")

	second := secretIn(t, c.succeed("app", "rotate", "demo"), "demo")
	require.NotEqual(t, first, second)
	require.False(t, c.admitted("demo", first))

	require.Contains(t, c.succeed("app", "remove", "demo"), "demo is removed")
	c.fail([]string{"app", "remove", "demo"}, "demo: there is no app with this key", "article app list")
	c.fail([]string{"app", "rotate", "demo"}, "demo: there is no app with this key", "article app list")
	c.fail([]string{"app", "add", "reader"}, "reader: an app with this key exists already", "article app rotate")

	content, err := os.ReadFile(c.file)
	require.NoError(t, err)
	require.NotContains(t, string(content), second, "secrets are kept as hashes only")
}

func TestSecretFromAFile(t *testing.T) {
	c := newConsole(t)
	c.succeed("migrate")
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte("the secret of the file\r\n"), 0o600))
	require.Equal(t, "demo added.\n", c.succeed("app", "add", "demo", "--secret-file", file), "it is not printed")
	require.True(t, c.admitted("demo", "the secret of the file"))
	require.NoError(t, os.WriteFile(file, []byte("another secret from it"), 0o600))
	require.Equal(t, "demo has another secret.\n", c.succeed("app", "rotate", "demo", "--secret-file="+file))

	for name, content := range map[string]string{
		"short": "fifteen bytes..", "long": strings.Repeat("a", 73), "empty": "", "two lines": "sixteen bytes...\nand more", "disk image": strings.Repeat("a", maxInput+1),
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
			stderr := c.fail([]string{"app", "rotate", "demo", "--secret-file", file}, "secret")
			require.NotContains(t, stderr, "teen bytes")
			require.Less(t, len(stderr), 300)
		})
	}
	require.True(t, c.admitted("demo", "another secret from it"))
	c.fail([]string{"app", "add", "new", "--secret-file", file + ".none"}, "--secret-file", "no such file")
}

func TestSecretFromStdin(t *testing.T) {
	c := newConsole(t)
	c.succeed("migrate")
	service := Command()
	service.Commands = func(bind command.Bind[Config]) []*cobra.Command {
		group := appCommand(bind)
		group.SetIn(strings.NewReader("the secret of a pipe\n"))
		return []*cobra.Command{group}
	}
	exit, stdout, stderr := runOn(t, service, []string{"app", "add", "demo", "--secret-file", "-"})
	require.Zero(t, exit, stderr)
	require.Equal(t, "demo added.\n", stdout)
	require.True(t, c.admitted("demo", "the secret of a pipe"))
}

// Every mistake is told with what to do, and what was typed in the wrong place
// is not repeated: it may be a secret.
func TestMistakes(t *testing.T) {
	c := newConsole(t)
	c.fail([]string{"app", "list"}, "schema is behind", "run article migrate", c.file)
	c.succeed("migrate")
	for _, typed := range []struct {
		args  string
		words string
	}{
		{"app", "article app needs a command: add, list, remove, rotate"},
		{"app lst", "did you mean article app list?"},
		{"key", "article key needs a command: new, rotate"},
		{"app add", "write article app add KEY, but got 0 argument(s)"},
		{"app add demo S3cr3t", "write article app add KEY, but got 2 argument(s)"},
		{"app list S3cr3t", "article app list takes flags only"},
		{"app add S3cr3t/", "an app key is 1 to 64 letters, digits, '.', '_' or '-'"},
		{"app remove S3cr3t/", "an app key is"},
		{"app rotate S3cr3t/", "an app key is"},
		{"app add demo --scope admin", "it is write or empty"},
		{"app add demo --skope write", "did you mean --scope?"},
		{"app add demo --secret-file", "--secret-file needs a value"},
		{"app add demo --database.timeout 1ms", "Database.Timeout"},
		{"app add demo --config /none.yaml", "/none.yaml"},
		{"app add demo --database.dbname /none/article.db", "/none/article.db"},
	} {
		t.Run(typed.args, func(t *testing.T) {
			stderr := c.fail(strings.Fields(typed.args), typed.words)
			require.NotContains(t, stderr, "S3cr3t")
		})
	}
	c.fail([]string{"app", "list", "--database.dbtype=mysql", "--database.username=u", "--database.host=127.0.0.1:1", "--database.dbname=none"},
		"the database none cannot be used", "check the section Database")
	require.Empty(t, mustList(t, c))
}

func mustList(t *testing.T, c console) []access.App {
	t.Helper()
	list, err := c.apps().List(t.Context())
	require.NoError(t, err)
	return list
}

// The commands find the database as serve does: flag, environment, file.
func TestAppCommandsUseTheSettings(t *testing.T) {
	c := newConsole(t)
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("Database: {DBName: "+c.file+"}"), 0o600))
	t.Setenv("ACHILLES_DATABASE_DBNAME", "")
	c.succeed("migrate", "--config", file)
	c.succeed("app", "add", "one", "--config", file)
	t.Setenv("ACHILLES_CONFIG", file)
	c.succeed("app", "add", "two")
	t.Setenv("ACHILLES_CONFIG", "")
	c.succeed("app", "add", "three", "--database.dbname", c.file)
	require.Len(t, mustList(t, c), 3)
}

func TestKeyCommands(t *testing.T) {
	c := newConsole(t)
	keySet := filepath.Join(t.TempDir(), "keys.yaml")
	require.NoError(t, os.WriteFile(keySet, []byte(c.succeed("key", "new")), 0o600))
	config := auth.Default()
	config.KeysFile = keySet
	opened, err := auth.OpenKeySet(config)
	require.NoError(t, err)
	token, err := opened.Sign("demo", []string{auth.ScopeWrite}, time.Now())
	require.NoError(t, err)

	rotated := c.succeed("key", "rotate", keySet, "--in", "5m")
	require.Equal(t, 2, strings.Count(rotated, "signs_from"))
	require.NoError(t, os.WriteFile(keySet, []byte(rotated), 0o600))
	opened, err = auth.OpenKeySet(config)
	require.NoError(t, err)
	_, err = opened.Verify(token, time.Now())
	require.NoError(t, err, "what was signed before stays valid")
	later, err := opened.Sign("demo", nil, time.Now().Add(5*time.Minute))
	require.NoError(t, err)
	sooner, err := opened.Sign("demo", nil, time.Now().Add(4*time.Minute))
	require.NoError(t, err)
	header := func(token string) string { return strings.Split(token, ".")[0] }
	require.Equal(t, header(token), header(sooner))
	require.NotEqual(t, header(token), header(later))

	_, err = os.Stat(c.file)
	require.ErrorIs(t, err, os.ErrNotExist, "they need no database")
	secret := regexp.MustCompile(`secret: "(.+)"`).FindStringSubmatch(rotated)[1]
	require.NoError(t, os.WriteFile(keySet, []byte(strings.Replace(rotated, secret, secret[:20], 1)), 0o600))
	require.NotContains(t, c.fail([]string{"key", "rotate", keySet}, keySet, "the secret of the key"), secret[:8])
	c.fail([]string{"key", "rotate", keySet + ".none"}, "no such file", "article key new")
	c.fail([]string{"key", "rotate"}, "write article key rotate FILE")
	c.fail([]string{"key", "rotate", keySet, "--in=-1m"}, "must not be negative")
	c.fail([]string{"key", "rotate", "-"}, "the key set -: it has no key")
}
