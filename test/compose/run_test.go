package compose_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// newSecrets runs secrets.sh and returns the folder of the secrets.
func newSecrets(t *testing.T) (dir string) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "secrets.sh")
	require.NoError(t, os.WriteFile(script, []byte(read(t, folder+"/secrets.sh")), 0o600))
	process.Tool(t, filepath.Dir(script), nil, "sh", script)
	return filepath.Join(filepath.Dir(script), "secrets")
}

// configured returns the settings of a service in the file, with those replaced
// that only work in a container.
func configured(t *testing.T, s types.ServiceConfig, secrets string, instead process.Settings) process.Settings {
	t.Helper()
	found := process.Settings{}
	for variable, value := range s.Environment {
		key, ours := strings.CutPrefix(variable, "ACHILLES_")
		if !ours {
			continue
		}
		key = strings.Replace(key, "_", ".", 1)
		found[key] = *value
		if name, secret := strings.CutPrefix(*value, "/run/secrets/"); secret {
			found[key] = filepath.Join(secrets, sourceOf(s, name))
		}
	}
	for key := range instead {
		require.Contains(t, found, key)
	}
	return found.With(instead)
}

// The services accept every setting of the file, the grants of mariadb.sql are
// enough to migrate, and the health check works.
func TestTheServicesRunOnTheseSettings(t *testing.T) {
	project := load(t)
	secrets := newSecrets(t)
	mysql := dbtest.NewMySQL(t)
	execute(t, mysql, strings.ReplaceAll(read(t, folder+"/mariadb.sql"), "/run/secrets/", secrets+"/"))
	redis := dbtest.NewRedis(t, "--requirepass", read(t, secrets+"/redis"))
	own := process.Settings{"SERVER.HTTPPORT": "0", "SERVER.ADMINPORT": "0", "DATABASE.HOST": mysql.Addr(), "REDIS.ADDRESSES": redis.Addr()}

	require.Equal(t, "0.0.0.0", configured(t, service(t, project, "tag"), secrets, nil)["SERVER.ADMINHOST"], "Prometheus reads it")
	onTag := configured(t, service(t, project, "tag"), secrets, own)
	tag := serve(t, project, "tag", onTag)
	onArticle := configured(t, service(t, project, "article"), secrets, own.With(process.Settings{
		"FEED.URL": "http://" + tag.Addr(t), "FILES.URL": "file://" + t.TempDir() + "/files", "FILES.SPOOLDIR": t.TempDir(),
	}))
	article := serve(t, project, "article", onArticle)
	for name, p := range map[string]*process.Process{"tag": tag, "article": article} {
		check := service(t, project, name).HealthCheck.Test
		require.Equal(t, types.HealthCheckTest{"CMD", "/service", "healthcheck", "http://127.0.0.1:8080/readyz"}, check)
		_, exit := process.Run(t, process.Service(t, name), nil, check[2], p.URL(t, "/readyz"))
		require.Zero(t, exit)
	}
	for _, p := range []*process.Process{tag, article} {
		process.Await(t, "redis to be used", func() bool {
			answer, err := process.Ask("GET", p.URL(t, "/readyz?full=1"), nil)
			return err == nil && strings.Contains(string(answer.Body), `"redis":"OK"`)
		})
	}
	writesByTheReadme(t, tag, article, onArticle)
	_, exit := process.Run(t, process.Service(t, "tag"), onTag.With(process.Settings{"DATABASE.DBNAME": onArticle["DATABASE.DBNAME"], "DATABASE.MIGRATEWAIT": "0s"}), "migrate")
	require.Equal(t, 1, exit, "an account has rights on its own database only")
	checked, exit := process.Run(t, process.Service(t, "article"), onArticle, "check", "--tags", "http://"+tag.Addr(t), "--articles", "http://"+article.Addr(t))
	require.Zero(t, exit, checked.Stderr()+checked.Stdout())
}

// writesByTheReadme adds a client in the article service's container, gets a token
// and writes with it to the other service.
func writesByTheReadme(t *testing.T, tag, article *process.Process, on process.Settings) {
	t.Helper()
	program := process.Service(t, "article")
	added, exit := process.Run(t, program, on, "client", "add", "demo")
	require.Zero(t, exit, added.Stderr())
	secret := regexp.MustCompile(`app_secret +(\S+)`).FindStringSubmatch(added.Stdout())
	require.NotNil(t, secret, added.Stdout())
	answer, err := process.Ask("POST", article.URL(t, "/auth"), map[string]any{"app_key": "demo", "app_secret": secret[1]})
	require.NoError(t, err)
	var given struct{ Data struct{ Token string } }
	require.NoError(t, answer.JSON(&given))
	printed, exit := process.Run(t, program, on, "token", "demo")
	require.Zero(t, exit, printed.Stderr())
	for n, token := range []string{"", process.Token(), given.Data.Token, strings.TrimSpace(printed.Stdout())} {
		answer, err := process.AskWith(process.Header(token), "POST", tag.URL(t, "/api/v1/tags"), newTag(fmt.Sprint("tag ", n)))
		require.NoError(t, err)
		require.Equal(t, []int{401, 401, 201, 201}[n], answer.Status, string(answer.Body))
	}
}

// serve runs the commands of the file, which an unknown or an invalid setting
// would end at once.
func serve(t *testing.T, project *types.Project, name string, s process.Settings) *process.Process {
	t.Helper()
	program := process.Service(t, name)
	ran, exit := process.Run(t, program, s, service(t, project, name+"-migrate").Command...)
	require.Zero(t, exit, ran.Stderr()+ran.Stdout())
	p := process.Start(t, program, s, service(t, project, name).Command...)
	p.AwaitReady(t)
	return p
}

func execute(t *testing.T, mysql *dbtest.Server, statements string) {
	t.Helper()
	db := open(t, mysql)
	for _, statement := range strings.Split(statements, ";\n") {
		if statement != "" && !strings.HasPrefix(statement, "# END") {
			_, err := db.ExecContext(context.WithoutCancel(t.Context()), statement)
			require.NoError(t, err, statement)
		}
	}
}

// open connects to a server as root.
func open(t *testing.T, mysql *dbtest.Server) *sql.DB {
	t.Helper()
	cfg := database.Default()
	cfg.DBType, cfg.Host, cfg.Username, cfg.DBName = database.MySQL, mysql.Addr(), "root", "mysql"
	return dbtest.Open(t, cfg).SQL()
}

// The shell that starts redis must pass the password on and then replace itself:
// it would not pass signals on.
func TestRedisAsItIsStarted(t *testing.T) {
	process.Installed(t, "redis-server")
	redis := service(t, load(t), "redis")
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "redis"), []byte("the password"), 0o600))
	socket := filepath.Join(dir, "socket")
	here := strings.NewReplacer("/run/secrets/", dir+"/", "maxmemory", "port 0\nunixsocket "+socket+"\nmaxmemory",
		"redis-cli", "redis-cli -s "+socket, "$$", "$")
	shell := redis.Command
	require.Equal(t, types.ShellCommand{"sh", "-c"}, shell[:2])
	p := process.Start(t, "/bin/sh", nil, "-c", here.Replace(shell[2]))
	t.Cleanup(func() { // where the shell kept the signal to itself
		_ = exec.Command("redis-cli", "-s", socket, "-a", "the password", "shutdown").Run()
	})

	check := redis.HealthCheck.Test
	require.Equal(t, "CMD-SHELL", check[0])
	process.Await(t, "redis to be healthy", func() bool {
		return exec.Command("/bin/sh", "-c", here.Replace(check[1])).Run() == nil || p.Ended()
	})
	require.False(t, p.Ended(), p.Stdout()+p.Stderr())
	output, _ := exec.Command("redis-cli", "-s", socket, "ping").CombinedOutput()
	require.Contains(t, string(output), "NOAUTH")
	p.Signal(t, os.Interrupt)
	require.Zero(t, p.Exit(t))
}

func TestSecretsAreMadeOnce(t *testing.T) {
	dir := newSecrets(t)
	seen := map[string]bool{}
	for name := range load(t).Secrets {
		secret := read(t, filepath.Join(dir, name))
		if name != "keys.yaml" {
			require.Regexp(t, "^[0-9a-f]{48}$", secret)
		}
		require.False(t, seen[secret])
		seen[secret] = true
	}
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.Empty(t, process.Tool(t, dir, nil, "sh", "../secrets.sh"))
	for name := range load(t).Secrets {
		require.True(t, seen[read(t, filepath.Join(dir, name))], "%s was made anew", name)
	}
	_, err = process.Sign(filepath.Join(dir, "keys.yaml"), "demo")
	require.NoError(t, err)
	require.NotEqual(t, read(t, filepath.Join(dir, "keys.yaml")), read(t, filepath.Join(newSecrets(t), "keys.yaml")))
}

// roll.sh runs with a docker and a sleep that only record their arguments.
func TestRollReplacesOneByOne(t *testing.T) {
	dir := t.TempDir()
	for _, program := range []string{"docker", "sleep"} {
		const note = `#!/bin/sh
echo "${0##*/} $*" >>"$NOTES"
case "$*" in
"compose ps "*) printf 'one\ntwo\n' ;;
"compose config --services") printf '%s\n' proxy tag tag-migrate article-migrate article ;;
esac
`
		require.NoError(t, os.WriteFile(filepath.Join(dir, program), []byte(note), 0o700))
	}
	notes := filepath.Join(dir, "notes")
	environ := []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "NOTES=" + notes}
	process.Tool(t, ".", environ, "sh", folder+"/roll.sh", "article")
	require.Equal(t, []string{
		"docker compose config --services",
		"docker compose ps --quiet article",
		"docker compose run --rm --no-deps article-migrate",
		"docker compose up --detach --wait --no-deps --no-recreate --scale article=4 article",
		"sleep 3",
		"docker stop one", "docker rm one", "docker stop two", "docker rm two",
	}, strings.Split(strings.TrimSpace(read(t, notes)), "\n"))
	for _, name := range []string{"", "proxy", "tag-migrate", "comment"} {
		_, said, err := process.Outputs("", "env", append(environ, "sh", folder+"/roll.sh", name)...)
		require.Error(t, err)
		require.Equal(t, "roll.sh: name the service to replace, one of: article tag \n", said)
	}
	for _, within := range []string{"timeout resolve 1s\n", "check inter 1s "} {
		require.Contains(t, read(t, folder+"/haproxy.cfg"), within, "the proxy knows of new replicas, and trusts them, before the old ones stop")
	}
}
