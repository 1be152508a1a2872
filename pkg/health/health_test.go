package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/settings"
)

func ask(t *testing.T, handler http.HandlerFunc, target string) (int, answer) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler(recorder, httptest.NewRequest(http.MethodGet, target, nil))
	require.Equal(t, "application/json; charset=utf-8", recorder.Header().Get("Content-Type"))
	require.Equal(t, "no-store", recorder.Header().Get("Cache-Control"))
	var body answer
	require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &body))
	return recorder.Code, body
}

// configured returns the defaults with changes.
func configured(change func(*Config)) Config {
	cfg := Default()
	change(&cfg)
	return cfg
}

// watching runs h inside a synctest bubble.
func watching(t *testing.T, h *Health) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}

func TestReadyOnceTheGatesAreOpen(t *testing.T) {
	draining := make(chan struct{})
	h := New(Default(), draining, zap.NewNop(), prometheus.NewRegistry())
	schema, feed := h.Gate("schema"), h.Gate("feed")

	status, body := ask(t, h.Readyz, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, answer{Status: "starting", Reasons: map[string]string{"schema": "not yet", "feed": "not yet"}}, body)

	schema.Open()
	feed.Set(Reason("12 changes behind"))
	_, body = ask(t, h.Readyz, "/readyz?full=1")
	require.Equal(t, answer{
		Status:  "starting",
		Reasons: map[string]string{"feed": "12 changes behind"},
		Checks:  map[string]string{"schema": "OK", "feed": "12 changes behind"},
	}, body)

	feed.Set(nil)
	schema.Set(errors.New("gone again")) // an open gate stays open
	status, body = ask(t, h.Readyz, "/readyz")
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, answer{Status: "ready"}, body)

	close(draining)
	status, body = ask(t, h.Readyz, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, "draining", body.Status)
	status, body = ask(t, h.Healthz, "/healthz")
	require.Equal(t, http.StatusOK, status, "a draining process must not be restarted")
	require.Equal(t, answer{Status: "ok"}, body)
}

func TestFailingDependencyDoesNotMakeUnready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		h := New(Default(), nil, zap.NewNop(), registry)
		var broken atomic.Bool
		h.Dependency("database", func(context.Context) error {
			if broken.Load() {
				return &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("10.1.2.3:3306 refused root:secret")}
			}
			return nil
		})
		require.Zero(t, gauge(t, registry)["database"])
		_, body := ask(t, h.Readyz, "/readyz?full=1")
		require.Equal(t, "not checked yet", body.Checks["database"])

		watching(t, h)
		synctest.Wait()
		require.EqualValues(t, 1, gauge(t, registry)["database"])
		_, body = ask(t, h.Readyz, "/readyz?full=1")
		require.Equal(t, answer{Status: "ready", Checks: map[string]string{"database": "OK"}}, body)

		broken.Store(true)
		time.Sleep(time.Minute)
		require.Zero(t, gauge(t, registry)["database"])
		for _, handler := range []http.HandlerFunc{h.Readyz, h.Healthz} {
			status, _ := ask(t, handler, "/")
			require.Equal(t, http.StatusOK, status)
		}
		_, body = ask(t, h.Readyz, "/readyz?full=1")
		require.Equal(t, answer{Status: "ready", Checks: map[string]string{"database": "unreachable"}}, body)
	})
}

func TestStrictHysteresis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = time.Second
		cfg := configured(func(c *Config) { c.Strict, c.CheckInterval, c.FailAfter, c.PassAfter = true, interval, 3, 2 })
		h := New(cfg, nil, zap.NewNop(), prometheus.NewRegistry())
		results := make(chan error)
		h.Dependency("database", func(context.Context) error { return <-results })
		ready := func() int { status, _ := ask(t, h.Readyz, "/readyz"); return status }
		require.Equal(t, http.StatusServiceUnavailable, ready(), "unknown is not ready")
		watching(t, h)

		const up, down = http.StatusOK, http.StatusServiceUnavailable
		bad := errors.New("bad")
		for i, step := range []struct {
			result error
			want   int
		}{
			{nil, down}, {bad, down}, {nil, down}, {nil, up}, // two passes in a row
			{bad, up}, {bad, up}, {nil, up}, // broken off
			{bad, up}, {bad, up}, {bad, down}, // three failures in a row
			{nil, down}, {bad, down}, {nil, down}, {nil, up},
		} {
			results <- step.result
			synctest.Wait()
			require.Equal(t, step.want, ready(), "step %d", i)
			if step.want == down {
				_, body := ask(t, h.Readyz, "/readyz")
				require.Equal(t, "unready", body.Status)
				require.Contains(t, body.Reasons, "database")
			}
		}
		close(results)
	})
}

func TestHungCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := configured(func(c *Config) { c.CheckInterval, c.CheckTimeout = time.Second, 500*time.Millisecond })
		h := New(cfg, nil, zap.NewNop(), prometheus.NewRegistry())
		var hung, most, other atomic.Int64
		release := make(chan struct{})
		h.Dependency("hung", func(context.Context) error { // ignores its context
			most.Store(max(most.Load(), hung.Add(1)))
			defer hung.Add(-1)
			<-release
			return nil
		})
		h.Dependency("well", func(context.Context) error { other.Add(1); return nil })
		watching(t, h)

		time.Sleep(time.Minute + 100*time.Millisecond)
		require.EqualValues(t, 1, most.Load(), "one goroutine at most is left behind")
		require.EqualValues(t, 61, other.Load(), "others are checked on time")
		_, body := ask(t, h.Readyz, "/readyz?full=1")
		require.Equal(t, map[string]string{"hung": "timeout", "well": "OK"}, body.Checks)

		close(release)
		synctest.Wait()
		_, body = ask(t, h.Readyz, "/readyz?full=1")
		require.Equal(t, "timeout", body.Checks["hung"], "an answer a minute late is not an answer")
		time.Sleep(time.Second)
		synctest.Wait()
		_, body = ask(t, h.Readyz, "/readyz?full=1")
		require.Equal(t, "OK", body.Checks["hung"], "it recovers by a fresh check")
	})
}

func TestCheckGetsADeadlineAndMayPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(configured(func(c *Config) { c.CheckTimeout = time.Second }), nil, zap.NewNop(), prometheus.NewRegistry())
		h.Dependency("slow", func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("ping: %w", ctx.Err()) })
		h.Dependency("panicking", func(context.Context) error { panic("boom") })
		watching(t, h)
		time.Sleep(1500 * time.Millisecond)
		_, body := ask(t, h.Readyz, "/readyz?full=1")
		require.Equal(t, map[string]string{"slow": "timeout", "panicking": "failing"}, body.Checks)
	})
}

func TestResultsGoStale(t *testing.T) {
	for _, strict := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			cfg := configured(func(c *Config) { c.Strict, c.StaleAfter, c.PassAfter = strict, time.Minute, 1 })
			h := New(cfg, nil, zap.NewNop(), registry)
			h.Dependency("database", func(context.Context) error { return nil })
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- h.Run(ctx) }()
			synctest.Wait()
			cancel() // nobody checks any more
			require.ErrorIs(t, <-done, context.Canceled)

			time.Sleep(time.Minute)
			status, body := ask(t, h.Readyz, "/readyz?full=1")
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, "OK", body.Checks["database"])
			time.Sleep(time.Second)
			status, body = ask(t, h.Readyz, "/readyz?full=1")
			require.Equal(t, "stale", body.Checks["database"])
			require.Equal(t, strict, status == http.StatusServiceUnavailable)
			require.Zero(t, gauge(t, registry)["database"])
		})
	}
}

func TestOnlyChangesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		h := New(configured(func(c *Config) { c.CheckInterval = time.Second }), nil, zap.New(core), prometheus.NewRegistry())
		var broken atomic.Bool
		broken.Store(true)
		h.Dependency("database", func(context.Context) error {
			if broken.Load() {
				return errors.New("refused")
			}
			return nil
		})
		watching(t, h)
		time.Sleep(10 * time.Second)
		broken.Store(false)
		time.Sleep(10 * time.Second)
		require.Len(t, logs.All(), 2)
		require.Equal(t, "refused", logs.All()[0].ContextMap()["error"])
		require.Equal(t, "dependency up", logs.All()[1].Message)
	})
}

func TestReasonOf(t *testing.T) {
	timeout := &net.DNSError{Err: "no answer", Name: "db.internal", IsTimeout: true}
	for _, c := range []struct {
		err  error
		want error
	}{
		{nil, nil},
		{errors.New("Access denied for user 'x'@'10.0.0.1'"), failed},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), timedOut},
		{timeout, timedOut},
		{&net.DNSError{Err: "no such host", Name: "db.internal"}, unreachable},
		{fmt.Errorf("%w: %w", Reason("the schema is too old: run migrate"), errors.New("secret")), Reason("the schema is too old: run migrate")},
	} {
		require.Equal(t, c.want, reasonOf(c.err), "%v", c.err)
	}
}

func gauge(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	values := map[string]float64{}
	for _, family := range families {
		require.Equal(t, "achilles_dependency_up", family.GetName())
		for _, m := range family.GetMetric() {
			values[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
		}
	}
	return values
}

func TestValidate(t *testing.T) {
	for key, change := range map[string]func(*Config){
		"CheckInterval": func(c *Config) { c.CheckInterval = 0 },
		"CheckTimeout":  func(c *Config) { c.CheckTimeout = 0 },
		"StaleAfter":    func(c *Config) { c.StaleAfter = c.CheckInterval + c.CheckTimeout },
		"FailAfter":     func(c *Config) { c.FailAfter = 0 },
		"PassAfter":     func(c *Config) { c.PassAfter = 0 },
	} {
		cfg := configured(change)
		require.ErrorContains(t, settings.Validate(&cfg), key+": ")
	}
}
