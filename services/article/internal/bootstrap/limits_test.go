package bootstrap

import (
	"testing"

	"github.com/stretchr/testify/require"
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
	sum := base + int64(c.Server.MaxConnections)*connection + int64(c.Server.MaxRequests)*request +
		c.App.MaxBodyMemory + c.Server.MaxResponseMemory
	t.Logf("%d of %d MiB", sum>>20, goMemory>>20)
	require.LessOrEqual(t, sum, int64(goMemory))
}
