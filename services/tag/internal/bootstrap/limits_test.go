package bootstrap

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// If everything that clients can make a pod hold is held at once, it fits the memory
// of a pod. ADR 0026 has the sum.
func TestMemoryOfAPod(t *testing.T) {
	const (
		goMemory   = 256 << 20 * 85 / 100 // see service.limitMemory
		base       = 64 << 20             // program, caches, limits of clients, compressors, database
		connection = 20 << 10             // idle
		request    = 40 << 10             // beside its connection
	)
	c := defaults()
	sum := base + int64(c.Server.MaxConnections)*connection + int64(c.Server.MaxRequests)*request + c.Server.MaxResponseMemory
	require.LessOrEqual(t, sum, int64(goMemory))
}

func TestIncompatibleLimits(t *testing.T) {
	config := defaults()
	require.NoError(t, settings.Load(&config, settings.Source{Environ: []string{"ACHILLES_APP_MAXPAGESIZE=20000"}}))
	config = defaults()
	require.ErrorContains(t, settings.Load(&config, settings.Source{Environ: []string{"ACHILLES_APP_MAXPAGESIZE=20481"}}),
		"Server.MaxResponseMemory: 41943040 is not allowed; it must be at least 41945088: a client may hold half of it, and one response with App.MaxPageSize (20481) takes up to 20972544")
	require.ErrorContains(t, settings.Load(&config, settings.Source{Environ: []string{"ACHILLES_SERVER_MAXBODYBYTES=65536"}}), "MAXBODYBYTES",
		"the bodies of this service are small")
}
