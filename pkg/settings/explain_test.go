package settings

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

func explain(t *testing.T, content string, environ, args []string) (map[string]Explained, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
	c := defaults()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	BindFlags(flags, &c)
	require.NoError(t, flags.Parse(args))
	sources, err := LoadSources(&c, Source{File: file, Flags: flags, Environ: environ})
	require.NoError(t, err)
	all := sources.Explain(&c)
	byKey := map[string]Explained{}
	for _, s := range all {
		byKey[s.Key] = s
	}
	require.Len(t, byKey, len(all))
	return byKey, file
}

func TestExplain(t *testing.T) {
	all, file := explain(t, "Server:\n  HttpPort: 1\n  ReadTimeout: 60\n  Origins: [a, b]\n", []string{"ACHILLES_SERVER_HTTPPORT=2", "ACHILLES_SERVER_READTIMEOUT=90"}, []string{"--server.httpport=3"})
	require.Len(t, all, 15)
	require.Equal(t, Explained{Key: "Server.HttpPort", Value: "3", Source: "flag --server.httpport"}, all["Server.HttpPort"])
	require.Equal(t, Explained{Key: "Server.ReadTimeout", Value: "1m30s", Source: "environment variable ACHILLES_SERVER_READTIMEOUT"}, all["Server.ReadTimeout"])
	require.Equal(t, Explained{Key: "Server.Origins", Value: "a, b", Source: file + " line 4"}, all["Server.Origins"])
	require.Equal(t, Explained{Key: "Server.RunMode", Value: "debug", Source: "the defaults", Default: true}, all["Server.RunMode"])
	require.Equal(t, Explained{Key: "Inner.Deep.Name", Source: "the defaults", Default: true}, all["Inner.Deep.Name"])

	c := defaults()
	_, err := LoadSources(&c, Source{Environ: []string{"ACHILLES_SERVER_HTTPPORT=many"}})
	require.ErrorContains(t, err, "Server.HttpPort")
}

// No source of a secret shows it.
func TestExplainSecrets(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(secret, []byte(hidden), 0o600))
	for source, environ := range map[string][]string{
		"environment variable ACHILLES_DATABASE_PASSWORD": {"ACHILLES_DATABASE_PASSWORD=" + hidden},
		"file " + secret: {"ACHILLES_DATABASE_PASSWORDFILE=" + secret},
	} {
		all, _ := explain(t, "", environ, nil)
		require.Equal(t, Explained{Key: "Database.Password", Value: "******", Source: source}, all["Database.Password"])
		require.NotContains(t, fmt.Sprint(all), hidden)
	}
	all, file := explain(t, "Database:\n  Password: "+hidden, nil, nil)
	require.Equal(t, Explained{Key: "Database.Password", Value: "******", Source: file + " line 2"}, all["Database.Password"])
	all, _ = explain(t, "", nil, nil)
	require.Equal(t, Explained{Key: "Database.Password", Source: "the defaults", Default: true}, all["Database.Password"])
}

// A text may be a URL with an account.
func TestExplainURLs(t *testing.T) {
	for value, want := range map[string]string{
		"http://me:hunter2@blog.example:80/x?q=1": "http://******@blog.example:80/x?q=1",
		"http://hunter2@blog.example":             "http://******@blog.example",
		"me:hunter2@tcp(db)/blog":                 "******",
		"http://me:%hunter2@x":                    "******",
		"http://blog.example/@me":                 "http://blog.example/@me",
		"/data/a@b.db":                            "/data/a@b.db",
		"http://blog.example":                     "http://blog.example",
	} {
		all, _ := explain(t, fmt.Sprintf("Server:\n  Origins: [%q]\nRedis:\n  Host: %[1]q", value), nil, nil)
		require.Equal(t, want, all["Redis.Host"].Value)
		require.Equal(t, want, all["Server.Origins"].Value)
	}
}
