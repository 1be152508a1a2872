package cache

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/achilles-blog/achilles/pkg/health"
)

// The account needs the right to what the services do with Redis: scripts that write
// keys which begin with rate:achilles:, and messages in channels which begin with
// achilles:.
const (
	checkKey     = "rate:achilles:check"
	checkChannel = "achilles:check"
)

// writing sets keys that expire soon.
var writing = redis.NewScript(`for _, key in ipairs(KEYS) do redis.call("SET", key, "1", "EX", 60) end`)

// Check returns an error if the services cannot use Redis: it is unavailable,
// read-only, or rejects a command. If Redis has replied with an error, it is wrapped with a
// health.Reason.
func Check(ctx context.Context, client redis.UniversalClient) error {
	keys := []string{checkKey}
	if cluster, ok := client.(*redis.ClusterClient); ok {
		if err := cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return node.Ping(ctx).Err() }); err != nil {
			return withReason(err)
		}
	} else {
		// A node of a cluster refuses two keys of different slots. One of them might be its own.
		keys = append(keys, checkKey+":2")
	}
	if err := writing.Run(ctx, client, keys).Err(); err != nil && !errors.Is(err, redis.Nil) {
		return withReason(err)
	}
	return withReason(client.Publish(ctx, checkChannel, "").Err())
}

// withReason adds what /readyz shows of an error of Redis, or returns err.
func withReason(err error) error {
	var reply redis.Error
	text := ""
	switch {
	case errors.Is(err, redis.Nil):
		text = "the Sentinels watch no server of this name: see Redis.MasterName"
	case errors.As(err, &reply):
		text = replyReason(reply)
	default:
		return err
	}
	return health.WithReason(health.Reason(text), err)
}

// replyReason returns the reason of an error reply.
func replyReason(reply redis.Error) string {
	for prefix, text := range map[string]string{
		"NOPERM": "access denied", "NOAUTH": "access denied", "WRONGPASS": "access denied", "DENIED": "access denied",
		"READONLY": "read-only", "MISCONF": "read-only", "OOM": "out of memory",
		"CROSSSLOT": "a node of a cluster: set Redis.Cluster", "MOVED": "a node of a cluster: set Redis.Cluster",
		"CLUSTERDOWN": "cluster not available", "MASTERDOWN": "server not ready", "LOADING": "server not ready",
		"BUSY": "server not ready", "TRYAGAIN": "server not ready", "NOREPLICAS": "server not ready",
	} {
		if redis.HasErrorPrefix(reply, prefix) {
			return text + " (Redis error " + prefix + ")"
		}
	}
	for prefix, text := range map[string]string{
		"The user executing the script": "access denied to a script", // NOPERM since Redis 7.2
		"ACL failure in script":         "access denied to a script",
		"max number of clients":         "too many connections",
	} {
		if redis.HasErrorPrefix(reply, prefix) {
			return text + " (Redis error ERR)"
		}
	}
	return "command refused"
}
