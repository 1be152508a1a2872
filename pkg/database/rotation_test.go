package database_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
)

// freshPing checks a new connection.
func freshPing(t *testing.T, db *database.DB) error {
	t.Helper()
	db.SQL().SetMaxIdleConns(0) // closes those that are open
	return db.Ping(t.Context())
}

func TestPasswordFileIsReadForEachConnection(t *testing.T) {
	server := dbtest.NewMySQL(t)
	cfg := server.Config(t)
	admin := dbtest.Open(t, cfg)
	for _, statement := range []string{"CREATE USER rotated@'127.0.0.1' IDENTIFIED BY 'first'", "GRANT ALL ON *.* TO rotated@'127.0.0.1'"} {
		require.NoError(t, admin.Gorm(t.Context()).Exec(statement).Error)
	}
	cfg.Username, cfg.Password, cfg.PasswordFile = "rotated", "first", filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(cfg.PasswordFile, []byte("first\n"), 0o600))
	db := dbtest.Open(t, cfg)
	require.NoError(t, freshPing(t, db))
	require.NoError(t, admin.Gorm(t.Context()).Exec("ALTER USER rotated@'127.0.0.1' IDENTIFIED BY 'second'").Error)
	require.ErrorContains(t, freshPing(t, db), "Access denied")
	require.NoError(t, os.WriteFile(cfg.PasswordFile, []byte("second\n"), 0o600))
	require.NoError(t, freshPing(t, db))
	require.NoError(t, os.Remove(cfg.PasswordFile))
	require.NoError(t, freshPing(t, db), "the last password that could be read")
}

// The certificates of the client, of the server and of the authority change.
func TestCertificatesAreReadForEachConnection(t *testing.T) {
	dir := t.TempDir()
	ca := dbtest.NewCA(t, dir)
	serverCert, serverKey := ca.Issue(t, dir, "server")
	cert, key := ca.Issue(t, dir, "client")
	server := dbtest.NewMySQL(t, "--ssl-ca="+ca.File, "--ssl-cert="+serverCert, "--ssl-key="+serverKey)
	cfg := server.Config(t)
	admin := dbtest.Open(t, cfg)
	require.NoError(t, admin.Gorm(t.Context()).Exec("CREATE USER certified@'127.0.0.1' REQUIRE SUBJECT '/CN=client'").Error)
	require.NoError(t, admin.Gorm(t.Context()).Exec("GRANT ALL ON *.* TO certified@'127.0.0.1'").Error)
	cfg.Username, cfg.TLS, cfg.CAFile, cfg.CertFile, cfg.KeyFile = "certified", "true", ca.File, cert, key
	db := dbtest.Open(t, cfg)
	require.NoError(t, freshPing(t, db))
	_, _, err := database.Migrate(t.Context(), db, notes())
	require.NoError(t, err, "migrations use the same certificates")

	other := dbtest.NewCA(t, dir)
	err = freshPing(t, db)
	requireUnavailable(t, err)
	require.ErrorContains(t, err, "unknown authority")
	other.Issue(t, dir, "server")
	other.Issue(t, dir, "client")
	require.NoError(t, admin.Gorm(t.Context()).Exec("FLUSH SSL").Error)
	require.NoError(t, freshPing(t, db))

	wrongName, wrongKey := other.Issue(t, dir, "somebody")
	require.NoError(t, os.Rename(wrongName, cert))
	require.NoError(t, os.Rename(wrongKey, key))
	require.ErrorContains(t, freshPing(t, db), "Access denied", "the account requires the subject of the certificate")
}

func TestTLSModes(t *testing.T) {
	dir := t.TempDir()
	ca := dbtest.NewCA(t, dir)
	cert, key := ca.Issue(t, dir, "server")
	encrypted := dbtest.NewMySQL(t, "--ssl-ca="+ca.File, "--ssl-cert="+cert, "--ssl-key="+key).Config(t)
	plain := dbtest.NewMySQL(t, "--skip-ssl").Config(t)
	for _, test := range []struct {
		server database.Config
		mode   string
		cipher bool
		err    string
	}{
		{encrypted, "false", false, ""},
		{encrypted, "true", true, "certificate signed by unknown authority"}, // no CAFile
		{encrypted, "skip-verify", true, ""},
		{encrypted, "preferred", true, ""},
		{plain, "preferred", false, ""},
		{plain, "skip-verify", false, "TLS requested but server does not support TLS"},
	} {
		cfg := test.server
		cfg.TLS = test.mode
		var name, cipher string
		err := dbtest.Open(t, cfg).SQL().QueryRowContext(t.Context(), "SHOW STATUS LIKE 'Ssl_cipher'").Scan(&name, &cipher)
		if test.err != "" {
			require.ErrorContains(t, err, test.err, test.mode)
			continue
		}
		require.NoError(t, err, test.mode)
		require.Equal(t, test.cipher, cipher != "", test.mode)
	}
}

func TestOpenWithUnusableCertificates(t *testing.T) {
	cfg := database.Default()
	cfg.Username, cfg.DBName, cfg.TLS, cfg.CAFile = "root", "blog", "true", "/nowhere/ca.pem"
	_, err := database.Open(cfg, nopLog())
	require.ErrorContains(t, err, "/nowhere/ca.pem")
	require.ErrorContains(t, err, "check Database.CAFile")
}
