package bootstrap_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/tag/internal/bootstrap"
)

func load(t *testing.T, file string, environ ...string) (bootstrap.Config, error) {
	t.Helper()
	config := bootstrap.Command().Defaults()
	err := settings.Load(&config, settings.Source{File: file, Environ: environ})
	return config, err
}

func TestDefaults(t *testing.T) {
	config, err := load(t, "")
	require.NoError(t, err)
	require.Equal(t, bootstrap.Command().Defaults(), config)
	require.Equal(t, "sqlite", config.Database.DBType)
	require.Equal(t, 10, config.App.DefaultPageSize)
	require.Equal(t, 100, config.App.MaxPageSize)
	require.Equal(t, 10_000, config.App.MaxOffset)
	require.Equal(t, 5*time.Second, config.Server.DrainDelay)
	require.Equal(t, 20*time.Second, config.Server.ShutdownTimeout)
	require.Empty(t, config.Feed.Token, "a default in the program would not be secret")
	require.Empty(t, config.Redis.Addresses)
}

// Every shipped configuration is valid.
func TestShippedConfigurations(t *testing.T) {
	files, err := filepath.Glob("../../../../deploy/config/tag*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			config, err := load(t, file, "ACHILLES_FEED_TOKEN=a secret of more than 32 characters")
			require.NoError(t, err)
			require.Empty(t, config.Database.Password, "shipped files have no secrets")
			_, err = load(t, file)
			require.NoError(t, err)
		})
	}
}

func TestInvalidSettings(t *testing.T) {
	for _, c := range []struct{ variable, message string }{
		{"APP_DEFAULTPAGESIZE=0", "App.DefaultPageSize"},
		{"IDEMPOTENCY_RETENTION=59s", "Idempotency.Retention"},
		{"IDEMPOTENCY_SWEEPINTERVAL=0s", "Idempotency.SweepInterval"},
		{"AUTH_LIFETIME=1s", "Auth.Lifetime"},
		{"LIMITS_READBURST=0", "Limits.ReadBurst"},
		{"APP_DEFAULTPAGESIZE=ten", "App.DefaultPageSize"},
		{"APP_MAXPAGESIZE=9", "App.MaxPageSize"},
		{"APP_MAXOFFSET=-1", "App.MaxOffset"},
		{"FEED_RETENTION=0", "Feed.Retention"},
		{"FEED_RETENTION=-1h", "Feed.Retention"},
		{"FEED_RETENTION=a week", "Feed.Retention"},
		{"FEED_TRIMINTERVAL=0s", "Feed.TrimInterval"},
		{"FEED_POLLINTERVAL=9ms", "Feed.PollInterval"},
		{"FEED_NONSENSE=1", "NONSENSE"},
		{"SERVER_HTTPPORT=70000", "Server.HttpPort"},
		{"SERVER_REQUESTTIMEOUT=1m", "Server.WriteTimeout"},
		{"DATABASE_TIMEOUT=1ms", "Database.Timeout"},
		{"REDIS_ADDRESSES=redis", "Redis.Addresses"},
		{"REDIS_MASTERNAME=blog", "Redis.MasterName"},
	} {
		t.Run(c.variable, func(t *testing.T) {
			_, err := load(t, "", "ACHILLES_"+c.variable, "ACHILLES_FEED_TOKEN=hunter2 hunter2 hunter2 hunter2 hunter2")
			require.ErrorContains(t, err, c.message)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestFeedDurations(t *testing.T) {
	config, err := load(t, "", "ACHILLES_FEED_RETENTION=3600", "ACHILLES_FEED_POLLINTERVAL=0.5", "ACHILLES_FEED_TRIMINTERVAL=1m30s")
	require.NoError(t, err)
	require.Equal(t, time.Hour, config.Feed.Retention, "a bare number is seconds")
	require.Equal(t, 500*time.Millisecond, config.Feed.PollInterval)
	require.Equal(t, 90*time.Second, config.Feed.TrimInterval)
}

func TestAllErrorsAreReported(t *testing.T) {
	_, err := load(t, "", "ACHILLES_FEED_RETENTION=0", "ACHILLES_APP_MAXPAGESIZE=1", "ACHILLES_SERVER_HTTPPORT=-1")
	require.Error(t, err)
	require.GreaterOrEqual(t, len(strings.Split(err.Error(), "\n")), 3)
}

func TestTokenFromFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("from the file, with 32 characters or more\n"), 0o600))
	config, err := load(t, "", "ACHILLES_FEED_TOKENFILE="+file)
	require.NoError(t, err)
	require.Equal(t, "from the file, with 32 characters or more", config.Feed.Token.Reveal())
}

func TestFeedTokenIsLong(t *testing.T) {
	for _, short := range []string{"hunter2", strings.Repeat("h", 31)} {
		_, err := load(t, "", "ACHILLES_FEED_TOKEN="+short)
		require.ErrorContains(t, err, "Feed.Token: ****** is not allowed; it must be at least 32 characters, as openssl rand -hex 32 prints them")
		require.NotContains(t, err.Error(), short)
	}
	_, err := load(t, "", "ACHILLES_FEED_TOKEN="+strings.Repeat("h", 32))
	require.NoError(t, err)
}
