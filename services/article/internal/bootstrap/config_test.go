package bootstrap_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/article/internal/bootstrap"
)

const token = "ACHILLES_FEED_TOKEN=a secret of more than 32 characters"

func load(t *testing.T, file string, environ ...string) (bootstrap.Config, error) {
	t.Helper()
	config := bootstrap.Command().Defaults()
	err := settings.Load(&config, settings.Source{File: file, Environ: environ})
	return config, err
}

func TestDefaults(t *testing.T) {
	config, err := load(t, "", token)
	require.NoError(t, err)
	require.Equal(t, "sqlite", config.Database.DBType)
	require.Equal(t, 10, config.App.DefaultPageSize)
	require.Equal(t, 100, config.App.MaxPageSize)
	require.Equal(t, 10_000, config.App.MaxOffset)
	require.Equal(t, 1<<20, config.App.MaxContentBytes)
	require.Equal(t, 5*time.Second, config.Server.DrainDelay)
	require.Equal(t, 20*time.Second, config.Server.ShutdownTimeout)
}

// A default in the program would not be secret.
func TestNoDefaultToken(t *testing.T) {
	require.Empty(t, bootstrap.Command().Defaults().Feed.Token)
	var stdout, stderr bytes.Buffer
	require.Equal(t, 1, bootstrap.Command().Main([]string{"serve"}, nil, &stdout, &stderr))
	require.Contains(t, stderr.String(), "Feed.Token")
	require.Empty(t, stdout.String(), "rejected before the start")
}

// Every shipped configuration is valid.
func TestShippedConfigurations(t *testing.T) {
	files, err := filepath.Glob("../../../../deploy/config/article*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := load(t, file, token)
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
		{"APP_MAXPAGESIZE=9", "App.MaxPageSize"},
		{"APP_MAXOFFSET=-1", "App.MaxOffset"},
		{"APP_MAXCONTENTBYTES=0", "App.MaxContentBytes"},
		{"APP_MAXCONTENTBYTES=7340033", "7340032"},
		{"APP_MAXCONTENTBYTES=many", "App.MaxContentBytes"},
		{"APP_PURGEAFTER=30s", "App.PurgeAfter"},
		{"FEED_RETENTION=0", "Feed.Retention"},
		{"FEED_TRIMINTERVAL=-1s", "Feed.TrimInterval"},
		{"FEED_POLLINTERVAL=9ms", "Feed.PollInterval"},
		{"SITE_TITLE=" + strings.Repeat("x", 201), "Site.Title"},
		{"SITE_LANGUAGE=chinese!", "Site.Language"},
		{"SITE_LANGUAGE=und", "Site.Language"},
		{"SITE_URL=blog.example", "Site.URL"},
		{"SITE_URL=ftp://blog.example", "Site.URL"},
		{"SITE_URL=javascript:alert(1)", "Site.URL"},
		{"SITE_ARTICLEURL=https://blog.example/posts", "Site.ArticleURL"},
		{"SITE_ARTICLEURL=https://blog.example/{title}/{id}", "Site.ArticleURL"},
		{"SITE_ARTICLEURL=https://{slug}.example/", "Site.ArticleURL"},
		{"SITE_ARTICLEURL=/posts/{slug}", "Site.ArticleURL"},
		{"SITE_FEEDSIZE=0", "Site.FeedSize"},
		{"SITE_FEEDSIZE=101", "Site.FeedSize"},
		{"FEED_URL=achilles-tag:8080", "Feed.URL"},
		{"FEED_URL=ftp://achilles-tag", "Feed.URL"},
		{"FEED_URL=http://", "Feed.URL"},
		{"FEED_WAIT=11s", "Feed.Wait"},
		{"FEED_WAIT=0.5", "Feed.Wait"},
		{"FEED_WAIT=1500ms", "whole seconds"},
		{"FEED_TIMEOUT=50ms", "Feed.Timeout"},
		{"FEED_TIMEOUT=-1s", "Feed.Timeout"},
		{"FEED_NONSENSE=1", "NONSENSE"},
		{"FILES_URL=/data/files", "Files.URL"},
		{"FILES_URL=s3://key:secret@bucket", "Files.URL"},
		{"FILES_MAXFILEBYTES=0", "Files.MaxFileBytes"},
		{"FILES_MAXREQUESTBYTES=10485759", "Files.MaxRequestBytes"},
		{"FILES_MAXCLIENTBYTES=10485759", "Files.MaxClientBytes"},
		{"FILES_MAXREQUESTFILES=0", "Files.MaxRequestFiles"},
		{"FILES_SPOOLBYTES=104857600", "Files.SpoolBytes"},
		{"FILES_MAXPIXELS=0", "Files.MaxPixels"},
		{"FILES_TYPES=png", "Files.Types"},
		{"FILES_TYPES=image/*", "Files.Types"},
		{"FILES_TIMEOUT=0s", "Files.Timeout"},
		{"FILES_MAXUPLOADS=0", "Files.MaxUploads"},
		{"FILES_MAXDOWNLOADS=0", "Files.MaxDownloads"},
		{"FILES_COLLECTAFTER=239s", "Files.CollectAfter"},
		{"FILES_COLLECTINTERVAL=0s", "Files.CollectInterval"},
		{"SERVER_HTTPPORT=70000", "Server.HttpPort"},
		{"DATABASE_TIMEOUT=1ms", "Database.Timeout"},
	} {
		t.Run(c.variable, func(t *testing.T) {
			_, err := load(t, "", token, "ACHILLES_"+c.variable)
			require.ErrorContains(t, err, c.message)
			require.ErrorContains(t, err, "ACHILLES_"+strings.Split(c.variable, "=")[0], "the error names the variable")
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

// Settings that can't work together are rejected by a sentence that names both.
func TestIncompatibleLimits(t *testing.T) {
	for _, c := range []struct {
		environ []string
		message string
	}{
		{[]string{"ACHILLES_APP_MAXCONTENTBYTES=2097152"},
			"App.MaxBodyMemory: 52428800 is not allowed; it must be at least 88539136: a client may hold half of it, and one body with a content of App.MaxContentBytes (2097152) takes up to 44269568"},
		{[]string{"ACHILLES_APP_MAXCONTENTBYTES=7340032", "ACHILLES_APP_MAXBODYMEMORY=400000000"},
			"Server.MaxResponseMemory: 41943040 is not allowed; it must be at least 96468992: a client may hold half of it, and one response with App.MaxContentBytes (7340032) takes up to 48234496"},
		{[]string{"ACHILLES_APP_MAXPAGESIZE=10000"},
			"Server.MaxResponseMemory: 41943040 is not allowed; it must be at least 81920000: a client may hold half of it, and one response with App.MaxPageSize (10000) takes up to 40960000"},
		{[]string{"ACHILLES_SERVER_MAXRESPONSEMEMORY=1000000"}, "Server.MaxResponseMemory: 1000000 is not allowed; it must be 33554432 (32 MiB) or more"},
		{[]string{"ACHILLES_SERVER_MAXBODYBYTES=1000000"}, "MAXBODYBYTES"},
		{[]string{"ACHILLES_FILES_URL=file:///data/files"}, "Server.ShutdownTimeout: 20s is not allowed; it must be at least 1m3s: a file that is being sent or received takes up to Files.Timeout (1m0s)"},
	} {
		_, err := load(t, "", append(c.environ, token)...)
		require.ErrorContains(t, err, c.message)
	}
	_, err := load(t, "", token, "ACHILLES_APP_MAXCONTENTBYTES=2097152", "ACHILLES_APP_MAXBODYMEMORY=88539136")
	require.NoError(t, err)
	_, err = load(t, "", token, "ACHILLES_APP_MAXCONTENTBYTES=2097152", "ACHILLES_APP_MAXBODYMEMORY=88539135")
	require.Error(t, err)
}

func TestIncompatibleTimeouts(t *testing.T) {
	_, err := load(t, "", "ACHILLES_DATABASE_TIMEOUT=15s", "ACHILLES_FEED_TIMEOUT=15s")
	require.ErrorContains(t, err, "Database.Timeout")
	require.ErrorContains(t, err, "Feed.Timeout")
}

func TestAllErrorsAreReported(t *testing.T) {
	_, err := load(t, "", "ACHILLES_FEED_URL=x", "ACHILLES_FEED_WAIT=60", "ACHILLES_APP_MAXPAGESIZE=1")
	for _, key := range []string{"Feed.URL", "Feed.Wait", "App.MaxPageSize"} {
		require.ErrorContains(t, err, key)
	}
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
