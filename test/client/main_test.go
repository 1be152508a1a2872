package client_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/client"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

// blog is a running tag service and article service.
type blog struct {
	tag, article *process.Process
	config       client.Config // with credentials
}

// start starts the services and adds an API client.
func start(t *testing.T, more process.Settings) *blog {
	t.Helper()
	b := &blog{tag: process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)).With(more))}
	program, settings := process.Service(t, "article"), process.Follow(dbtest.SQLite(t), b.tag.Addr(t)).With(more)
	settings = settings.With(process.Settings{"Files.URL": "file://" + t.TempDir(), "Files.Timeout": "30s"}) // shorter than a shutdown
	b.article = process.Ready(t, program, settings)
	added := process.Command(t, program, settings, "client", "add", "demo", "--secret-file=-")
	added.Stdin = strings.NewReader(secret)
	require.Zero(t, process.StartCommand(t, added).Exit(t))
	b.config = client.Config{TagURL: b.tag.URL(t, ""), ArticleURL: b.article.URL(t, ""), AppKey: "demo", AppSecret: secret}
	return b
}

const secret = "a secret of the tests, long enough"

// client returns a client of the services.
func (b *blog) client(t *testing.T, change ...func(*client.Config)) *client.Client {
	t.Helper()
	config := b.config
	for _, c := range change {
		c(&config)
	}
	c, err := client.New(config)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}
