package tagfeed_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/changefeed/feedtest"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

const (
	token        = feedtest.Token
	patience     = time.Minute
	changesPath  = "/internal/v1/tag-changes"
	snapshotPath = "/internal/v1/tag-snapshot"
)

// feed is a fake tag service.
type feed struct {
	*feedtest.Server[tagfeed.Tag]
}

func newFeed(t *testing.T) *feed {
	t.Helper()
	return &feed{feedtest.NewServer[tagfeed.Tag](t, "tag", "tags")}
}

// put creates or updates a tag.
func (f *feed) put(id uint64, name string) { f.Put(tagfeed.Tag{ID: id, Name: name, State: 1}) }

func newClient(t *testing.T, base string, secret settings.Secret, timeout time.Duration) *tagfeed.Client {
	t.Helper()
	client := tagfeed.NewClient(base, secret, timeout)
	t.Cleanup(client.Close)
	return client
}

func requireWithin(t *testing.T, limit time.Duration, work func()) {
	t.Helper()
	began := time.Now()
	work()
	require.Less(t, time.Since(began), limit)
}
