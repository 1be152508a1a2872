package service_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tracetest"
)

type object = map[string]any

// pageOf returns a page of the admin listener as JSON.
func (r *running) pageOf(t *testing.T, path string) object {
	t.Helper()
	status, body := get(t, r.adminURL()+path)
	require.Equal(t, http.StatusOK, status)
	var page object
	require.NoError(t, json.Unmarshal([]byte(body), &page))
	return page
}

func (r *running) adminURL() string { return "http://" + matches(adminLine, r.log.String())[0] }

// row returns the row of a section whose first column has a value, or nil.
func row(page object, section, column, value string) object {
	rows, _ := page[section].([]any)
	for _, row := range rows {
		if row := row.(object); row[column] == value {
			return row
		}
	}
	return nil
}

func constant(number uint64, err error) func(context.Context) (uint64, error) {
	return func(context.Context) (uint64, error) { return number, err }
}

// What is wrong, and what was, shows on the page of the admin listener: dependencies, errors,
// feeds, pools, limits, and what was set.
func TestStatus(t *testing.T) {
	redis := dbtest.NewRedis(t)
	collector := tracetest.New(t)
	c := config(t)
	c.Redis.Addresses = []string{redis.Addr()}
	c.Health.CheckInterval = 50 * time.Millisecond
	c.Tracing.Endpoint = collector.URL
	require.NoError(t, service.Migrate(t.Context(), c, migrations, io.Discard))
	sources := settings.Sources{"Redis.Addresses": "environment variable ACHILLES_REDIS_ADDRESSES"}
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=hush")
	t.Setenv("GOMEMLIMIT", "200MiB")
	r := run(t, command.Run[service.Config]{Config: c, Sources: func() settings.Sources { return sources }}, func(s *service.Service) {
		s.Engine.GET("/broken", func(c *gin.Context) { responses.Error(c, errcode.Wrap(errcode.Internal, io.ErrUnexpectedEOF)) })
		trim := func(context.Context, time.Time, int) (int64, error) { return 0, nil }
		s.Feed(service.Feed{Config: changefeed.Default(), Trim: trim},
			service.FeedPart{Name: "toys", Last: constant(42, nil)}, service.FeedPart{Name: "broken", Last: constant(0, io.ErrClosedPipe)})
	})
	require.Eventually(t, func() bool { return r.pageOf(t, "/statusz")["process"].(object)["state"] == "ready" }, patience, 10*time.Millisecond)
	get(t, r.url+"/broken?hush=hush")
	redis.Kill(t)
	down := func() object {
		check := row(r.pageOf(t, "/statusz"), "checks", "name", "redis")
		if check["result"] == "connection refused" {
			return check
		}
		return nil
	}
	require.Eventually(t, func() bool { return down() != nil }, patience, 10*time.Millisecond)
	require.Contains(t, down()["last_error"], redis.Addr())

	page := r.pageOf(t, "/statusz")
	process := page["process"].(object)
	require.Equal(t, "toy", process["service"])
	require.Equal(t, "info", process["log_level"])
	started, err := time.Parse(time.RFC3339, process["started"].(string))
	require.NoError(t, err)
	require.Less(t, time.Since(started), patience)
	require.Equal(t, "OK", row(page, "checks", "name", "schema")["result"])
	require.Equal(t, "gate", row(page, "checks", "name", "schema")["kind"])
	require.Equal(t, "dependency", row(page, "checks", "name", "database")["kind"])
	require.NotEmpty(t, row(page, "checks", "name", "database")["checked"])
	newest := page["errors"].([]any)[0].(object)["line"].(object)
	require.Equal(t, "request", newest["msg"])
	require.Equal(t, "/broken", newest["route"])
	require.Equal(t, 42.0, row(page, "feeds", "metric", "feed toys")["value"])
	require.Contains(t, row(page, "feeds", "metric", "feed broken")["about"], io.ErrClosedPipe.Error())
	require.Equal(t, 0.0, row(page, "feeds", "metric", "achilles_feed_waiting_readers feed=toys")["value"])
	require.NotNil(t, row(page, "pools", "metric", "achilles_redis_connections state=idle"))
	require.Equal(t, 1.0, row(page, "limits", "metric", "achilles_http_connections server=admin")["value"])
	require.Equal(t, object{"endpoint": collector.URL + "/v1/traces", "sampler": "parentbased_traceidratio 1"}, page["tracing"])
	require.Equal(t, object{}, page["slow_request"])
	set := object{"setting": "Redis.Addresses", "value": redis.Addr(), "source": "environment variable ACHILLES_REDIS_ADDRESSES"}
	require.Equal(t, []any{set}, page["configuration"], "what is not the default")

	all := r.pageOf(t, "/configz")
	require.Equal(t, set, row(all, "settings", "setting", "Redis.Addresses"))
	require.Equal(t, object{"setting": "Redis.DB", "value": "0", "source": "the defaults"}, row(all, "settings", "setting", "Redis.DB"))
	require.Equal(t, object{"variable": "OTEL_EXPORTER_OTLP_HEADERS", "value": "set"}, row(all, "environment", "variable", "OTEL_EXPORTER_OTLP_HEADERS"))
	require.Equal(t, object{"variable": "GOMEMLIMIT", "value": "200MiB"}, row(all, "environment", "variable", "GOMEMLIMIT"))
	for _, path := range []string{"/statusz", "/configz", "/statusz?format=html", "/configz?format=html"} {
		_, body := get(t, r.adminURL()+path)
		require.NotContains(t, body, "hush")
		require.Contains(t, body, redis.Addr())
	}
	r.stop(t)
}

func TestSlowRequest(t *testing.T) {
	c := config(t)
	c.Server.SlowRequestTrace = 20 * time.Millisecond
	c.Tracing.Endpoint = tracetest.New(t).URL
	require.NoError(t, service.Migrate(t.Context(), c, migrations, io.Discard))
	r := run(t, command.Run[service.Config]{Config: c}, func(s *service.Service) {
		sleep := func(*gin.Context) { time.Sleep(50 * time.Millisecond) }
		s.Engine.GET("/internal/v1/changes", sleep)
		s.Engine.GET("/waits", server.LeaveReads, sleep)
		s.Engine.GET("/transfers", server.Transfer(patience), sleep)
		s.Engine.GET("/slow", sleep)
	})
	require.Eventually(t, func() bool { status, _ := get(t, r.url+"/readyz"); return status == http.StatusOK }, patience, time.Millisecond)
	for _, path := range []string{"/internal/v1/changes", "/waits", "/transfers"} {
		status, _ := get(t, r.url+path)
		require.Equal(t, http.StatusOK, status)
	}
	status, body := get(t, r.adminURL()+"/debug/slow")
	require.Equal(t, http.StatusNotFound, status)
	require.Equal(t, "No trace has been kept yet: a request must take longer than 20ms (Server.SlowRequestTrace).\n", body)

	get(t, r.url+"/slow")
	require.Eventually(t, func() bool { status, body = get(t, r.adminURL()+"/debug/slow"); return status == http.StatusOK }, patience, time.Millisecond)
	require.Contains(t, body, "go 1.")
	shown := r.pageOf(t, "/statusz")["slow_request"].(object)
	require.Equal(t, "/slow", shown["route"])
	require.NotEmpty(t, shown["trace_id"])
	require.EqualValues(t, len(body), shown["trace_bytes"])
	r.stop(t)
	require.Contains(t, r.log.String(), `"msg":"a slow request: its trace is at /debug/slow of the admin port","service":"toy","method":"GET","route":"/slow"`)
	require.Equal(t, 1, strings.Count(r.log.String(), "a slow request"))
}

// A second recorder in the same process is not possible, which stops no service.
func TestTwoRecorders(t *testing.T) {
	c := config(t)
	c.Server.SlowRequestTrace = time.Second
	first := run(t, command.Run[service.Config]{Config: c}, func(*service.Service) {})
	c.Database = dbtest.SQLite(t)
	second := run(t, command.Run[service.Config]{Config: c}, func(*service.Service) {})
	require.Contains(t, second.log.String(), "slow requests have no execution trace")
	status, _ := get(t, second.adminURL()+"/debug/slow")
	require.Equal(t, http.StatusNotFound, status)
	first.stop(t)
	second.stop(t)
}
