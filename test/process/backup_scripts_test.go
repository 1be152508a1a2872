package process_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/achilles-blog/achilles/pkg/client"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// scripts run make backup and make restore on a server of their own.
type scripts struct{ server *dbtest.Server }

func newScripts(t *testing.T) scripts {
	t.Helper()
	process.Installed(t, "mariadb-dump")
	return scripts{dbtest.NewMySQL(t)}
}

// An account is what a script logs in with for the database of a service.
type account func(service string) (user, rights string)

// The rights are those that docs/backup.md and docs/databases.md give.
func dumping(string) (user, rights string) { return "achilles_backup", "SELECT" }
func restoring(service string) (user, rights string) {
	return "achilles_" + service + "_migrate", "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES"
}

// with returns the variables for the databases of services, and creates the accounts.
func (s scripts) with(t *testing.T, as account, of *installation, services ...string) []string {
	t.Helper()
	host, port, _ := strings.Cut(s.server.Addr(), ":")
	options, databases := fmt.Sprintf("[client]\nhost = %s\nport = %s\nprotocol = tcp\n", host, port), []string{}
	admin := dbtest.Open(t, of.tagDatabase).SQL()
	for _, service := range services {
		name := map[string]string{"tag": of.tagDatabase.DBName, "article": of.articleDatabase.DBName}[service]
		user, rights := as(service)
		for _, statement := range []string{
			"CREATE USER IF NOT EXISTS " + user + "@'%' IDENTIFIED BY 'it''s # a secret'",
			"GRANT " + rights + " ON `" + strings.ReplaceAll(name, "_", `\_`) + "`.* TO " + user + "@'%'",
		} {
			_, err := admin.ExecContext(t.Context(), statement)
			require.NoError(t, err, statement)
		}
		options += fmt.Sprintf("[client_%s]\nuser = %s\npassword = \"it's # a secret\"\n", service, user)
		databases = append(databases, service+"="+name)
	}
	file := filepath.Join(t.TempDir(), "client.cnf")
	require.NoError(t, os.WriteFile(file, []byte(options), 0o600))
	return []string{"BACKUP_OPTIONS=" + file, "BACKUP_DATABASES=" + strings.Join(databases, " ")}
}

// backUp runs make backup.
func (s scripts) backUp(t *testing.T, from *installation, to string, more ...string) (said string, err error) {
	t.Helper()
	return run(append(s.with(t, dumping, from, "article", "tag"), append([]string{"backup", "TO=" + to, "BACKUP_FILES=" + from.storage}, more...)...)...)
}

// restore runs make restore.
func (s scripts) restore(t *testing.T, from string, to *installation, more ...string) (said string, err error) {
	t.Helper()
	return run(append(s.with(t, restoring, to, "article", "tag"), append([]string{"restore", "FROM=" + from, "BACKUP_FILES=" + to.storage}, more...)...)...)
}

// run runs make.
func run(args ...string) (string, error) {
	stdout, stderr, err := process.Outputs("", "make", append([]string{"--no-print-directory", "-C", "../.."}, args...)...)
	return stdout + stderr, err
}

// withMake returns backups by make backup and make restore.
func withMake(t *testing.T) backups {
	s := newScripts(t)
	return backups{
		fresh: func(t testing.TB) database.Config { return s.server.Config(t) },
		backUp: func(t *testing.T, from *installation, to string, _ func()) {
			said, err := s.backUp(t, from, to)
			require.NoError(t, err, said)
		},
		restore: func(t *testing.T, from string, to *installation) {
			said, err := s.restore(t, from, to)
			require.NoError(t, err, said)
			require.Contains(t, said, "  tag migrate && tag epoch --new\n")
		},
		restoreTags: func(t *testing.T, from string, to *installation) {
			said, err := run(append(s.with(t, restoring, to, "tag"), "restore", "FROM="+from)...)
			require.NoError(t, err, said)
		},
	}
}

// withVacuum returns backups of SQLite by the statements of docs/backup.md.
func withVacuum(*testing.T) backups {
	return backups{
		fresh: dbtest.SQLite,
		backUp: func(t *testing.T, from *installation, to string, meanwhile func()) {
			require.NoError(t, os.Mkdir(to, 0o700))
			for _, one := range []struct {
				name string
				cfg  database.Config
			}{{"article.db", from.articleDatabase}, {"tag.db", from.tagDatabase}} {
				_, err := dbtest.Open(t, one.cfg).SQL().ExecContext(t.Context(), "VACUUM INTO ?", filepath.Join(to, one.name))
				require.NoError(t, err)
				meanwhile()
			}
			process.Tool(t, to, nil, "cp", "-R", from.storage, "files")
		},
		restore: func(t *testing.T, from string, to *installation) {
			process.Tool(t, from, nil, "cp", "tag.db", to.tagDatabase.DBName)
			process.Tool(t, from, nil, "cp", "article.db", to.articleDatabase.DBName)
			process.Tool(t, from, nil, "cp", "-R", "files/.", to.storage)
		},
		restoreTags: func(t *testing.T, from string, to *installation) {
			process.Tool(t, from, nil, "cp", "tag.db", to.tagDatabase.DBName)
		},
	}
}

// What can go wrong stops the scripts with a sentence, and leaves neither half a backup nor a
// database that is lost.
func TestBackupScripts(t *testing.T) {
	s := newScripts(t)
	dir, storage := t.TempDir(), t.TempDir()
	i := newInstallation(t, s.server.Config(t), s.server.Config(t), storage)
	i.start(t)
	uploaded, err := i.api.UploadFiles(t.Context(), []client.NewFile{{Name: "a.txt", Content: []byte("a")}})
	require.NoError(t, err)
	file := uploaded[0].SHA256[:2] + "/" + uploaded[0].SHA256
	unfinished := filepath.Join(storage, "00", "1.tmp")
	require.NoError(t, os.MkdirAll(filepath.Dir(unfinished), 0o700))
	require.NoError(t, os.WriteFile(unfinished, []byte("b"), 0o600))
	first, second := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	fails := func(want string, does func() (string, error)) {
		t.Helper()
		said, err := does()
		require.Error(t, err, said)
		require.Contains(t, said, want)
	}
	backingUp := func(to string, more ...string) func() (string, error) {
		return func() (string, error) { return s.backUp(t, i, to, more...) }
	}
	restored := func(from string, more ...string) func() (string, error) {
		return func() (string, error) { return s.restore(t, from, i, more...) }
	}

	noCompose := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(noCompose, "docker"), []byte("#!/bin/sh\nexit 1\n"), 0o700)) // #nosec G306 -- a program
	for want, does := range map[string]func() (string, error){
		"name the directory that the backup becomes":               backingUp(""),
		dir + " exists: name a new directory":                      backingUp(dir),
		"BACKUP_FILES is /nowhere, which is no directory":          backingUp(first, "BACKUP_FILES=/nowhere"),
		"so bytes of files that were deleted meanwhile may be":     backingUp(first, "BACKUP_WITHIN=0"),
		"to database 'achilles_nothing'":                           backingUp(first, "BACKUP_DATABASES=tag=achilles_nothing"),
		"Could not open required defaults file: /nowhere.cnf":      backingUp(first, "BACKUP_OPTIONS=/nowhere.cnf"),
		"name the directory of the backup":                         restored(""),
		"there is no Docker Compose here: set BACKUP_OPTIONS to":   backingUp(first, "BACKUP_OPTIONS=", "PATH="+noCompose+":"+os.Getenv("PATH")),
		"there is no /nowhere/article.sql.gz: /nowhere is no comp": restored("/nowhere"),
	} {
		fails(want, does)
		require.NoDirExists(t, first)
	}
	said, err := s.backUp(t, i, first)
	require.NoError(t, err, said)
	require.NoDirExists(t, first+".part")
	require.Equal(t, map[string]string{file: "a"}, tree(t, filepath.Join(first, "files")), "and nothing that is not complete")
	info, err := os.Stat(first)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), "hashes of secrets are in it")
	said, err = s.backUp(t, i, second, "BACKUP_FILES=")
	require.NoError(t, err, said)
	require.Contains(t, said, "without files: set BACKUP_FILES")
	fails("2 has no files: unset BACKUP_FILES", restored(second))
	require.NoError(t, os.RemoveAll(second))

	// A file that an earlier backup has takes no more space, whatever a broken backup has.
	broken := filepath.Join(dir, "3.part", "files", file)
	require.NoError(t, os.MkdirAll(filepath.Dir(broken), 0o700))
	require.NoError(t, os.WriteFile(broken, nil, 0o600))
	said, err = s.backUp(t, i, second)
	require.NoError(t, err, said)
	info, err = os.Stat(filepath.Join(first, "files", file))
	require.NoError(t, err)
	again, err := os.Stat(filepath.Join(second, "files", file))
	require.NoError(t, err)
	require.True(t, os.SameFile(info, again))

	// Nothing is overwritten by mistake, or under running services.
	_, err = i.api.CreateTag(t.Context(), client.NewTag{Name: "new"})
	require.NoError(t, err)
	fails("set REPLACE=yes to delete them with all their data", restored(first))
	i.stop(t)
	served := i.tagDatabase
	served.Username, served.Password = "achilles_tag_migrate", "it's # a secret"
	serving, err := database.Open(served, zaptest.NewLogger(t))
	require.NoError(t, err)
	require.NoError(t, serving.Ping(t.Context()))
	fails("is in use by 1 connections: stop the services first", restored(first, "REPLACE=yes"))
	require.NoError(t, serving.Close())
	db := dbtest.Open(t, i.tagDatabase)
	tags := func() int { return one[int](t, db, "SELECT COUNT(*) FROM blog_tag") }
	require.Equal(t, 1, tags())
	damaged := filepath.Join(dir, "damaged")
	process.Tool(t, dir, nil, "cp", "-R", first, damaged)
	require.NoError(t, os.Truncate(filepath.Join(damaged, "tag.sql.gz"), 100))
	fails("tag.sql.gz is damaged: take another backup", restored(damaged, "REPLACE=yes"))
	require.Equal(t, 1, tags())
	process.Tool(t, first, nil, "sh", "-c", `gzip -dc tag.sql.gz | head -n 30 | gzip >"$0/tag.sql.gz"`, damaged)
	fails("tag.sql.gz is not the whole dump: take another backup", restored(damaged, "REPLACE=yes"))
	require.Equal(t, 1, tags())
	said, err = s.restore(t, first, i, "REPLACE=yes")
	require.NoError(t, err, said)
	require.Zero(t, tags())
	said, err = s.restore(t, first, i, "REPLACE=yes")
	require.NoError(t, err, said, "it can be repeated")
}

// The largest article that the settings allow, of characters that a dump escapes, with its copy
// under an Idempotency-Key, is restored by a server and programs with their defaults.
func TestBackupOfTheLargestArticle(t *testing.T) {
	s := newScripts(t)
	large := func() *installation {
		i := newInstallation(t, s.server.Config(t), s.server.Config(t), t.TempDir())
		i.articleSettings = i.articleSettings.With(process.Settings{
			"App.MaxContentBytes": "7340032", "App.MaxBodyMemory": "400000000", "Server.MaxResponseMemory": "100000000", "Database.Timeout": "40s",
		})
		return i
	}
	from, to := large(), large()
	from.start(t)
	request := client.NewArticle{Title: "large", Content: strings.Repeat("'\\", 7340032/2)}
	created, err := from.api.CreateArticle(t.Context(), request, client.IdempotencyKey("large"))
	require.NoError(t, err)
	backup := filepath.Join(t.TempDir(), "backup")
	said, err := s.backUp(t, from, backup)
	require.NoError(t, err, said)
	said, err = s.restore(t, backup, to)
	require.NoError(t, err, said)
	to.start(t)
	found, err := to.api.Article(t.Context(), created.ID)
	require.NoError(t, err)
	require.Equal(t, request.Content, found.Content)
	repeated, err := to.api.CreateArticle(t.Context(), request, client.IdempotencyKey("large"))
	require.NoError(t, err)
	require.Equal(t, created.ID, repeated.ID)
}
