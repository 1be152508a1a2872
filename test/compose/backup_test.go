package compose_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// docker stands for the program of that name: it notes its arguments, and runs the commands that
// the scripts run in containers on this machine, with other paths.
const docker = `#!/bin/sh
[ "$*" != "compose version" ] || exit 0
echo "$*" | sed 's/ sh -c MYSQL_PWD.*--user=root "$@"/ …/; s/SELECT.*/…/' >>"$NOTES"
case "$*" in
"compose exec -T mariadb sh -c "*)
  script=$(printf '%s' "$7" | sed "s|/run/secrets|$SECRETS|")
  program=$8
  shift 8
  exec sh -c "$script" "$program" --socket="$SOCKET" "$@" ;;
"compose run --rm --no-deps -T files "*) exec sh -euc "$(printf '%s' "$7" | sed "s|/var/lib/achilles|$VOLUME|g")" ;;
"compose run --rm --no-deps "*-migrate*)
  name=${5%-migrate}
  shift 5
  exec "$PROGRAMS/$name" "${@:-migrate}" ;;
"compose stop "* | "compose up --detach --wait") ;;
*) echo "unknown: $*" >&2; exit 1 ;;
esac
`

// make backup and make restore, with the commands of the containers run on this machine.
func TestBackupAndRestore(t *testing.T) {
	process.Installed(t, "mariadb-dump")
	project := load(t, backup)
	files := service(t, project, "files")
	require.Equal(t, types.ShellCommand{"sh", "-euc"}, files.Entrypoint)
	article := service(t, project, "article")
	require.Equal(t, article.User, files.User, "whose the files are")
	require.Equal(t, article.Volumes, files.Volumes)
	require.Contains(t, read(t, root+"/deploy/backup/connect.sh"), "\nstorage="+strings.TrimPrefix(*article.Environment["ACHILLES_FILES_URL"], "file://")+"\n")

	secrets, bin, volume := newSecrets(t), t.TempDir(), t.TempDir()
	mysql := dbtest.NewMySQL(t)
	execute(t, mysql, strings.ReplaceAll(read(t, folder+"/mariadb.sql"), "/run/secrets/", secrets+"/"))
	socket := one(t, mysql, "SELECT @@socket")
	services := map[string]process.Settings{}
	for _, name := range names(t) {
		services[name] = configured(t, service(t, project, name), secrets, process.Settings{"DATABASE.HOST": mysql.Addr()})
		wrapper(t, filepath.Join(bin, name), process.Service(t, name), services[name])
	}
	run := func(name string, args ...string) string {
		p, exit := process.Run(t, process.Service(t, name), services[name], args...)
		require.Zero(t, exit, p.Stderr())
		return p.Stdout()
	}
	epochs := map[string]string{}
	for _, name := range names(t) {
		run(name, "migrate")
		epochs[name] = run(name, "epoch")
	}
	run("article", "client", "add", "kept")
	write := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(volume, "files", name)), 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(volume, "files", name), []byte(text), 0o600))
	}
	write("aa/aabb", "the content")
	write("aa/unfinished.tmp", "")
	execute(t, mysql, "ALTER USER root@localhost IDENTIFIED BY '"+read(t, secrets+"/database-root")+"';\n")

	require.NoError(t, os.WriteFile(filepath.Join(bin, "docker"), []byte(docker), 0o700))
	notes := filepath.Join(bin, "notes")
	environ := []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "NOTES=" + notes, "SECRETS=" + secrets, "VOLUME=" + volume, "PROGRAMS=" + bin, "SOCKET=" + socket}
	to := filepath.Join(t.TempDir(), "backup")
	said := process.Tool(t, root, environ, "make", "--no-print-directory", "backup", "TO="+to)
	require.Contains(t, said, "The backup is "+to+".")
	require.Equal(t, "the content", read(t, to+"/files/aa/aabb"))
	require.NoFileExists(t, to+"/files/aa/unfinished.tmp")
	require.NoFileExists(t, to+"/files.tar")
	require.NoError(t, os.RemoveAll(volume+"/files"))
	run("article", "client", "remove", "kept")
	run("article", "client", "add", "later")

	_, said, err := process.Outputs("", "env", append(environ, "make", "-C", root, "restore", "FROM="+to)...)
	require.Error(t, err)
	require.Contains(t, said, "set REPLACE=yes")
	require.NoError(t, os.WriteFile(notes, nil, 0o600))
	process.Tool(t, root, environ, "make", "restore", "FROM="+to, "REPLACE=yes")
	require.Equal(t, "the content", read(t, volume+"/files/aa/aabb"))
	clients := run("article", "client", "list")
	require.Contains(t, clients, "kept")
	require.NotContains(t, clients, "later")
	for _, name := range names(t) {
		require.NotEqual(t, epochs[name], run(name, "epoch"))
	}
	var steps []string
	for line := range strings.Lines(read(t, notes)) {
		if step := regexp.MustCompile(`compose (stop|run|up) .*`).FindString(line); step != "" {
			steps = append(steps, step)
		}
	}
	require.Equal(t, []string{
		"compose stop article tag",
		"compose run --rm --no-deps -T files mkdir -p /var/lib/achilles/files; cd /var/lib/achilles/files; tar --extract",
		"compose run --rm --no-deps article-migrate", "compose run --rm --no-deps article-migrate epoch --new",
		"compose run --rm --no-deps tag-migrate", "compose run --rm --no-deps tag-migrate epoch --new",
		"compose up --detach --wait",
		"compose run --rm --no-deps article-migrate recount", "compose run --rm --no-deps tag-migrate recount",
	}, steps)
}

// wrapper writes a script that runs a program with settings.
func wrapper(t *testing.T, file, program string, settings process.Settings) {
	t.Helper()
	text := "#!/bin/sh\nexec env -i"
	for key, value := range settings {
		text += fmt.Sprintf(" 'ACHILLES_%s=%s'", strings.ReplaceAll(key, ".", "_"), value)
	}
	require.NoError(t, os.WriteFile(file, []byte(text+" '"+program+"' \"$@\"\n"), 0o700))
}

// one returns the value of a query.
func one(t *testing.T, mysql *dbtest.Server, query string) (value string) {
	t.Helper()
	require.NoError(t, open(t, mysql).QueryRowContext(t.Context(), query).Scan(&value))
	return value
}
