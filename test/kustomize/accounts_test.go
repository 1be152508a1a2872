package kustomize

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	pkgsettings "github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/test/manifest"
	"github.com/achilles-blog/achilles/test/services"
)

// The script of the bundled MariaDB, which the chart and the overlay have, makes an account for each service. It owns the
// service's database, and can't read another's.
func TestAccountsOfTheBundledMariaDB(t *testing.T) {
	all := kustomize(t, folder+"/overlays/dev")
	passwords, script := map[string][]byte{}, ""
	manifest.Each(all, func(_ string, s *corev1.Secret) {
		if strings.HasPrefix(s.Name, "achilles-database") {
			passwords = s.Data
		}
	})
	manifest.Each(all, func(_ string, c *corev1.ConfigMap) { script += c.Data["databases.sql"] })
	listed, err := services.Read(root)
	require.NoError(t, err)
	names := services.Names(listed)
	secrets := t.TempDir()
	password := func(name string) string { return name + `: it's a \ "secret"` }
	for _, name := range names {
		require.Contains(t, passwords, name+"-password")
		require.NoError(t, os.WriteFile(filepath.Join(secrets, name+"-password"), []byte(password(name)+"\n"), 0o644)) // #nosec G306 -- for the server
	}

	server := dbtest.NewMySQL(t)
	run := func(account, password, database, statement string) error {
		cfg := configOf(server, account, password, database)
		_, err := dbtest.Open(t, cfg).SQL().ExecContext(context.WithoutCancel(t.Context()), statement)
		return err
	}
	for statement := range strings.SplitSeq(strings.ReplaceAll(script, "/run/secrets/mariadb", secrets), ";\n") {
		require.NoError(t, run("root", "", "mysql", statement), statement)
	}
	for i, name := range names {
		account, other := "achilles_"+name, "achilles_"+names[(i+1)%len(names)]
		require.NoError(t, run(account, password(name), account, "CREATE TABLE secrets (id INT)"))
		require.NoError(t, run("root", "", other, "CREATE TABLE IF NOT EXISTS rows_of_others (id INT)"))
		for _, statement := range []string{
			"SELECT * FROM " + other + ".rows_of_others", "DROP TABLE " + other + ".rows_of_others", "CREATE DATABASE achillesXtag", "SELECT * FROM mysql.user",
		} {
			require.ErrorContains(t, run(account, password(name), account, statement), "denied", statement)
		}
	}
}

func configOf(server *dbtest.Server, account, password, name string) database.Config {
	cfg := database.Default()
	cfg.DBType, cfg.Host, cfg.DBName = database.MySQL, server.Addr(), name
	cfg.Username, cfg.Password = account, pkgsettings.Secret(password)
	return cfg
}
