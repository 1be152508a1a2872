package dbtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// MasterName is the name by which the Sentinel of NewSentinel knows its server.
const MasterName = "blog"

// NewSentinel starts a Sentinel for one test that watches a Redis server and fails
// over to a replica of it. lines are added to the configuration.
func NewSentinel(t testing.TB, master *Server, lines ...string) *Server {
	t.Helper()
	program := find(t, "redis-server")
	dir, err := newDir("sentinel")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(master.Addr())
	require.NoError(t, err)
	s := &Server{dir: dir}
	s.ready = func(ctx context.Context) error { return answersPing(ctx, s.addr) }
	config := filepath.Join(dir, "sentinel.conf") // Sentinel rewrites it
	content := "sentinel monitor " + MasterName + " 127.0.0.1 " + port + " 1\n" +
		"sentinel down-after-milliseconds " + MasterName + " 500\nsentinel failover-timeout " + MasterName + " 3000\n"
	for _, line := range lines {
		content += line + "\n"
	}
	require.NoError(t, os.WriteFile(config, []byte(content), 0o600))
	return keep(t)(s.startOnFreePort(func(port string) *exec.Cmd {
		return exec.Command(program, config, "--sentinel", "--port", port, "--bind", "127.0.0.1", "--dir", dir) // #nosec G204 -- an installed program
	}))
}

// NewRedisTLS starts a Redis server for one test that accepts encrypted connections
// only, with additional arguments, which name its certificate.
func NewRedisTLS(t testing.TB, args ...string) *Server {
	t.Helper()
	program := find(t, "redis-server")
	dir, err := newDir("redis")
	require.NoError(t, err)
	s := &Server{dir: dir}
	s.ready = func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return keep(t)(s.startOnFreePort(func(port string) *exec.Cmd {
		return exec.Command(program, append([]string{ // #nosec G204 -- an installed program
			"--port", "0", "--tls-port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir,
		}, args...)...)
	}))
}

// NewRedisCluster starts a Redis cluster of n nodes without replicas for one test, with
// additional arguments. The default user must be allowed to do everything until it
// has started.
func NewRedisCluster(t testing.TB, n int, args ...string) []*Server {
	t.Helper()
	var nodes []*Server
	for range n {
		bus, err := freePort()
		require.NoError(t, err)
		nodes = append(nodes, NewRedis(t, append([]string{"--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-node-timeout", "5000"}, args...)...))
	}
	const slots = 16384
	var clients []*redis.Client
	for i, node := range nodes {
		client := redis.NewClient(&redis.Options{Addr: node.Addr()})
		t.Cleanup(func() { _ = client.Close() })
		require.NoError(t, client.Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", i*slots/n, (i+1)*slots/n-1).Err())
		for _, other := range nodes[:i] {
			host, port, err := net.SplitHostPort(other.Addr())
			require.NoError(t, err)
			require.NoError(t, client.Do(t.Context(), "CLUSTER", "MEET", host, port, busPort(t, other)).Err())
		}
		clients = append(clients, client)
	}
	for _, client := range clients {
		require.Eventually(t, func() bool { return formed(t.Context(), client, n) == nil }, startTimeout, 20*time.Millisecond)
	}
	return nodes
}

func busPort(t testing.TB, node *Server) string {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: node.Addr()})
	defer func() { _ = client.Close() }()
	port, err := client.ConfigGet(t.Context(), "cluster-port").Result()
	require.NoError(t, err)
	return port["cluster-port"]
}

// formed returns an error until the node knows n nodes and who has each slot.
func formed(ctx context.Context, client *redis.Client, n int) error {
	info, err := client.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	shards, err := client.ClusterShards(ctx).Result()
	if err == nil && (len(shards) != n || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", n))) {
		err = errors.New("the cluster has not formed yet")
	}
	return err
}
