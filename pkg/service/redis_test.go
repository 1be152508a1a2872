package service_test

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// A command that Redis refuses, and an unavailable Redis, show as such in /readyz, on
// the admin port, in the log and in the metrics.
func TestRedisReasons(t *testing.T) {
	server := dbtest.NewRedis(t, "--user", "blog", "on", ">secret", "+@all", "-publish", "~*", "&*")
	c := config(t)
	c.Redis.Addresses, c.Redis.Username, c.Redis.Password = []string{server.Addr()}, "blog", settings.Secret("secret")
	c.Health.CheckInterval = 50 * time.Millisecond
	require.NoError(t, service.Migrate(t.Context(), c, migrations, io.Discard))
	r := run(t, command.Run[service.Config]{Config: c}, func(*service.Service) {})
	admin := "http://" + matches(adminLine, r.log.String())[0]
	requireReason := func(reason, cause string) {
		t.Helper()
		require.Eventually(t, func() bool {
			status, body := get(t, r.url+"/readyz?full=1")
			return status == 200 && strings.Contains(body, `"redis":"`+reason+`"`)
		}, patience, 20*time.Millisecond)
		_, body := get(t, admin+"/readyz")
		require.Contains(t, body, cause)
		_, body = get(t, admin+"/metrics")
		require.Contains(t, body, `achilles_dependency_failing{dependency="redis",reason="`+reason+`"} 1`)
		require.Contains(t, body, `achilles_dependency_up{dependency="redis"} 0`)
		require.Contains(t, r.log.String(), cause)
	}
	requireReason("access denied (Redis error NOPERM)", "NOPERM this user has no permissions to run the 'publish' command")
	owner := redis.NewClient(&redis.Options{Addr: server.Addr()})
	require.NoError(t, owner.Do(t.Context(), "ACL", "SETUSER", "blog", "+publish").Err())
	require.NoError(t, owner.Close())
	require.Eventually(t, func() bool {
		_, body := get(t, r.url+"/readyz?full=1")
		return strings.Contains(body, `"redis":"OK"`)
	}, patience, 20*time.Millisecond)
	server.Kill(t)
	requireReason("connection refused", server.Addr()+": connect: connection refused")
	require.Eventually(t, func() bool { return strings.Contains(r.log.String(), "failed to dial") }, patience, 20*time.Millisecond)
	r.stop(t)
	log := r.log.String()
	require.Equal(t, 1, strings.Count(log, "failed to dial"), "once a minute")
	for line := range strings.Lines(log) {
		require.True(t, json.Valid([]byte(line)), "%s", line)
	}
}
