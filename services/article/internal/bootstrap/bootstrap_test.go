package bootstrap_test

import (
	"bytes"
	"net"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/article/internal/bootstrap"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// A failed start runs the stop hooks of a graceful shutdown, in the same order.
// TestMain reports leaked goroutines.
func TestFailedStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	require.NoError(t, err)
	var stdout, stderr bytes.Buffer
	exit := bootstrap.Command().Main([]string{"serve", "--log.level=debug", "--database.dbname", filepath.Join(t.TempDir(), "db"),
		"--server.adminport=0", "--server.host=127.0.0.1", "--server.httpport", port, "--redis.addresses", taken.Addr().String()}, []string{"ACHILLES_FEED_TOKEN=a secret of more than 32 characters"}, &stdout, &stderr)
	require.Equal(t, 1, exit)
	require.Contains(t, stderr.String(), "article: port "+port+" is in use")
	var hooks []string
	for _, line := range regexp.MustCompile(`"running a stop hook".*"name":"([^"]+)"`).FindAllStringSubmatch(stdout.String(), -1) {
		hooks = append(hooks, line[1])
	}
	require.Equal(t, []string{"tag feed", "redis", "database", "tracing", "admin", "log"}, hooks)
}
