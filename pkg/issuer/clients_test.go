package issuer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/command/commandtest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/issuer/access"
	"github.com/achilles-blog/achilles/pkg/issuer/store"
	"github.com/achilles-blog/achilles/pkg/service"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// config has the settings of a service, one of them its own.
type config struct {
	service.Config `mapstructure:",squash"`
	App            struct {
		PageSize int `mapstructure:"PageSize" usage:"a setting of the service's own"`
	}
}

func defaults() config {
	c := config{Config: service.Default()}
	c.Database.DBType, c.Database.DBName = database.SQLite, "article"
	return c
}

func shared(c config) service.Config { return c.Config }

func migrations() database.Migrations {
	return database.Migrations{Service: "article", Files: fstest.MapFS{"mysql": {Mode: fs.ModeDir}, "sqlite": {Mode: fs.ModeDir}}, Shared: map[int64]fs.FS{1: Schema()}}
}

// program returns a service that issues tokens.
func program() command.Service[config] {
	return command.Service[config]{
		Name: "article", Summary: "A service", Defaults: defaults,
		Serve: func(context.Context, command.Run[config]) error { return errors.New("it has no routes") },
		Migrate: func(ctx context.Context, run command.Run[config]) error {
			return service.Migrate(ctx, shared(run.Config), migrations(), run.Stdout)
		},
		Commands: Commands(shared, migrations()),
	}
}

// console runs commands on its own database.
type console struct {
	commandtest.Console
	t    *testing.T
	file string // the database
}

func newConsole(t *testing.T) console {
	c := console{commandtest.New(t, program().Main), t, filepath.Join(t.TempDir(), "article.db")}
	t.Setenv("ACHILLES_DATABASE_DBNAME", c.file)
	return c
}

// clients returns a service on the same database.
func (c console) clients() *access.Service {
	c.t.Helper()
	cfg := defaults().Database
	cfg.DBName = c.file
	db, err := database.Open(cfg, zap.NewNop())
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = db.Close() })
	return access.NewService(store.NewClients(db))
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

func (c console) authenticates(key, secret string) bool {
	c.t.Helper()
	_, err := c.clients().Authenticate(c.t.Context(), key, secret)
	return err == nil
}

func TestClientCommands(t *testing.T) {
	c := newConsole(t)
	c.Succeed("migrate")
	require.Contains(t, c.Succeed("client", "list"), "article client add KEY")

	stdout := c.Succeed("client", "add", "demo")
	require.Contains(t, stdout, "can't be shown again")
	first := secretIn(t, stdout, "demo")
	require.True(t, c.authenticates("demo", first))
	c.Succeed("client", "add", "reader", "--scope", "")

	list := c.Succeed("client", "list")
	lines := strings.Split(strings.TrimSpace(list), "\n")
	require.Len(t, lines, 3)
	require.Regexp(t, `^demo +write +20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ +20\S+Z$`, lines[1])
	require.Regexp(t, `^reader +- +20`, lines[2])
	require.NotContains(t, list, "$2a$")

	second := secretIn(t, c.Succeed("client", "rotate", "demo"), "demo")
	require.NotEqual(t, first, second)
	require.False(t, c.authenticates("demo", first))

	require.Contains(t, c.Succeed("client", "remove", "demo"), "demo removed")
	c.Fail([]string{"client", "remove", "demo"}, "demo: there is no client with this key", "article client list")
	c.Fail([]string{"client", "rotate", "demo"}, "demo: there is no client with this key", "article client list")
	c.Fail([]string{"client", "add", "reader"}, "reader: a client with this key already exists", "article client rotate")

	content, err := os.ReadFile(c.file)
	require.NoError(t, err)
	require.NotContains(t, string(content), second, "only hashes of secrets are stored")
}

func TestSecretFromFile(t *testing.T) {
	c := newConsole(t)
	c.Succeed("migrate")
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte("the secret of the file\r\n"), 0o600))
	require.Equal(t, "demo added.\n", c.Succeed("client", "add", "demo", "--secret-file", file), "a secret from a file is not printed")
	require.True(t, c.authenticates("demo", "the secret of the file"))
	require.NoError(t, os.WriteFile(file, []byte("another secret from it"), 0o600))
	require.Equal(t, "demo has a new secret.\n", c.Succeed("client", "rotate", "demo", "--secret-file="+file))

	for name, content := range map[string]string{
		"short": "fifteen bytes..", "long": strings.Repeat("a", 73), "empty": "", "two lines": "sixteen bytes...\nand more", "disk image": strings.Repeat("a", maxInput+1),
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
			stderr := c.Fail([]string{"client", "rotate", "demo", "--secret-file", file}, "secret")
			require.NotContains(t, stderr, "teen bytes")
			require.Less(t, len(stderr), 300)
		})
	}
	require.True(t, c.authenticates("demo", "another secret from it"))
	c.Fail([]string{"client", "add", "new", "--secret-file", file + ".none"}, "--secret-file", "no such file")
}

func TestSecretFromStdin(t *testing.T) {
	c := newConsole(t)
	c.Succeed("migrate")
	piped := program()
	piped.Commands = func(bind command.Bind[config]) []*cobra.Command {
		commands := Commands(shared, migrations())(bind)
		commands[0].SetIn(strings.NewReader("the secret of a pipe\n"))
		return commands
	}
	exit, stdout, stderr := commandtest.New(t, piped.Main).Run("client", "add", "demo", "--secret-file", "-")
	require.Zero(t, exit, stderr)
	require.Equal(t, "demo added.\n", stdout)
	require.True(t, c.authenticates("demo", "the secret of a pipe"))
}

// An error message says what to do. It does not repeat unexpected arguments: they
// may be secrets.
func TestCommandErrors(t *testing.T) {
	c := newConsole(t)
	c.Fail([]string{"client", "list"}, "schema is behind", "run the command migrate", c.file)
	c.Succeed("migrate")
	for _, typed := range []struct {
		args  string
		words string
	}{
		{"client", "article client needs a command: add, list, remove, rotate"},
		{"client lst", "did you mean article client list?"},
		{"key", "article key needs a command: new, rotate"},
		{"client add", "write article client add KEY, but got 0 argument(s)"},
		{"client add demo S3cr3t", "write article client add KEY, but got 2 argument(s)"},
		{"client list S3cr3t", "article client list takes flags only"},
		{"client add S3cr3t/", "an app key consists of 1 to 64 letters, digits, '.', '_' or '-'"},
		{"client remove S3cr3t/", "an app key consists of"},
		{"client rotate S3cr3t/", "an app key consists of"},
		{"client add demo --scope admin", "it must be write or empty"},
		{"client add demo --skope write", "did you mean --scope?"},
		{"client add demo --secret-file", "--secret-file needs a value"},
		{"client add demo --database.timeout 1ms", "Database.Timeout"},
		{"client add demo --config /none.yaml", "/none.yaml"},
		{"client add demo --database.dbname /none/article.db", "/none/article.db"},
	} {
		t.Run(typed.args, func(t *testing.T) {
			stderr := c.Fail(strings.Fields(typed.args), typed.words)
			require.NotContains(t, stderr, "S3cr3t")
		})
	}
	c.Fail([]string{"client", "list", "--database.dbtype=mysql", "--database.username=u", "--database.host=127.0.0.1:1", "--database.dbname=none"},
		"the database none at 127.0.0.1:1 cannot be used", "check the section Database")
	require.Empty(t, mustList(t, c))
}

// client says what migrate says about a wrong password and about a database that
// does not exist.
func TestClientOnAServer(t *testing.T) {
	cfg := dbtest.MySQL(t)
	c := newConsole(t)
	t.Setenv("ACHILLES_DATABASE_DBTYPE", "mysql")
	t.Setenv("ACHILLES_DATABASE_HOST", cfg.Host)
	t.Setenv("ACHILLES_DATABASE_USERNAME", cfg.Username)
	t.Setenv("ACHILLES_DATABASE_DBNAME", cfg.DBName)
	t.Setenv("ACHILLES_DATABASE_PASSWORD", cfg.Password.Reveal())
	c.Fail([]string{"client", "list"}, "schema is behind", "run the command migrate")
	c.Fail([]string{"client", "list", "--database.dbname=none_of_these"}, "none_of_these", "Unknown database", "run the command migrate")
	t.Setenv("ACHILLES_DATABASE_PASSWORD", "wrong-secret")
	stderr := c.Fail([]string{"client", "list"}, "Access denied for user", "check the section Database")
	require.NotContains(t, stderr, "try again")
	require.NotContains(t, stderr, "wrong-secret")
}

// The command's own flags come first, and then those of the settings.
func TestHelpShowsOwnFlagsFirst(t *testing.T) {
	c := newConsole(t)
	for command, own := range map[string][]string{
		"client add": {"--scope", "--secret-file"}, "client rotate": {"--overlap", "--secret-file"}, "token": {"--scope"},
	} {
		help := c.Succeed(append(strings.Fields(command), "--help")...)
		setting := strings.Index(help, "--app.")
		require.Positive(t, setting, command)
		for _, flag := range own {
			require.Equal(t, 1, strings.Count(help, "      "+flag+" "), "%s %s", command, flag)
			require.Less(t, strings.Index(help, "      "+flag+" "), setting, "%s %s", command, flag)
		}
	}
}

func mustList(t *testing.T, c console) []access.Client {
	t.Helper()
	list, err := c.clients().List(t.Context())
	require.NoError(t, err)
	return list
}

// The commands read the settings as serve does: flag, environment, file.
func TestClientCommandsUseTheSettings(t *testing.T) {
	c := newConsole(t)
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("Database: {DBName: "+c.file+"}"), 0o600))
	t.Setenv("ACHILLES_DATABASE_DBNAME", "")
	c.Succeed("migrate", "--config", file)
	c.Succeed("client", "add", "one", "--config", file)
	t.Setenv("ACHILLES_CONFIG", file)
	c.Succeed("client", "add", "two")
	t.Setenv("ACHILLES_CONFIG", "")
	c.Succeed("client", "add", "three", "--database.dbname", c.file)
	require.Len(t, mustList(t, c), 3)
}

func TestKeyCommands(t *testing.T) {
	c := newConsole(t)
	keySet := filepath.Join(t.TempDir(), "keys.yaml")
	require.NoError(t, os.WriteFile(keySet, []byte(c.Succeed("key", "new")), 0o600))
	cfg := auth.Default()
	cfg.KeysFile = keySet
	opened, err := auth.OpenKeySet(cfg)
	require.NoError(t, err)
	token, err := opened.Sign("demo", []string{auth.ScopeWrite}, time.Now())
	require.NoError(t, err)

	rotated := c.Succeed("key", "rotate", keySet, "--in", "5m")
	require.Equal(t, 2, strings.Count(rotated, "signs_from"))
	require.NoError(t, os.WriteFile(keySet, []byte(rotated), 0o600))
	opened, err = auth.OpenKeySet(cfg)
	require.NoError(t, err)
	_, err = opened.Verify(token, time.Now())
	require.NoError(t, err, "a token signed before the rotation stays valid")
	later, err := opened.Sign("demo", nil, time.Now().Add(5*time.Minute))
	require.NoError(t, err)
	sooner, err := opened.Sign("demo", nil, time.Now().Add(4*time.Minute))
	require.NoError(t, err)
	header := func(token string) string { return strings.Split(token, ".")[0] }
	require.Equal(t, header(token), header(sooner))
	require.NotEqual(t, header(token), header(later))

	rotatesInPlace(t, c, keySet)
	_, err = os.Stat(c.file)
	require.ErrorIs(t, err, os.ErrNotExist, "the key commands need no database")
	secret := regexp.MustCompile(`secret: "(.+)"`).FindStringSubmatch(rotated)[1]
	require.NoError(t, os.WriteFile(keySet, []byte(strings.Replace(rotated, secret, secret[:20], 1)), 0o600))
	require.NotContains(t, c.Fail([]string{"key", "rotate", keySet}, keySet, "the secret of the key"), secret[:8])
	c.Fail([]string{"key", "rotate", keySet + ".none"}, "no such file", "article key new")
	c.Fail([]string{"key", "rotate"}, "write article key rotate FILE")
	c.Fail([]string{"key", "rotate", keySet, "--in=-1m"}, "must not be negative")
	c.Fail([]string{"key", "rotate", "-"}, "the key set -: it contains no keys")
	c.Fail([]string{"key", "rotate", "--in-place", "-"}, "--in-place needs the name of a file")
}

// rotatesInPlace rotates the key set behind a link, which stays, as do the mode and
// what the file holds if the new one can't be written.
func rotatesInPlace(t *testing.T, c console, keySet string) {
	t.Helper()
	dir := t.TempDir()
	file, link := filepath.Join(dir, "keys.yaml"), filepath.Join(dir, "link.yaml")
	before, err := os.ReadFile(keySet)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, before, 0o600))
	require.NoError(t, os.Chmod(file, 0o640)) // #nosec G302 -- it has to stay
	require.NoError(t, os.Symlink("keys.yaml", link))
	old, err := os.Open(file)
	require.NoError(t, err)
	defer func() { _ = old.Close() }()

	require.Empty(t, c.Succeed("key", "rotate", "--in-place", link))
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, strings.Count(string(before), "signs_from")+1, strings.Count(string(after), "signs_from"))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.Equal(t, os.ModeSymlink, info.Mode().Type())
	info, err = os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	stillOpen, err := io.ReadAll(old)
	require.NoError(t, err)
	require.Equal(t, before, stillOpen, "nobody reads a part of the new file")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 2, "no temporary file is left")

	// As "article key rotate FILE >>FILE" and "… >FILE" do.
	for _, flag := range []int{os.O_APPEND, os.O_TRUNC} {
		output, err := os.OpenFile(file, os.O_WRONLY|flag, 0)
		require.NoError(t, err)
		var problems bytes.Buffer
		require.Equal(t, 1, program().Main([]string{"key", "rotate", link}, nil, output, &problems))
		require.NoError(t, output.Close())
		require.Contains(t, problems.String(), "use --in-place")
		require.NotContains(t, problems.String(), "key new")
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		if flag == os.O_APPEND {
			require.Equal(t, after, content)
		}
	}
	c.Fail([]string{"key", "rotate", "--in-place", file}, "it contains no keys", "restore them from a backup")
}
