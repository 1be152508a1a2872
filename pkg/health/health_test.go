package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"sync/atomic"
	"syscall"
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

func TestAwaitReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Default(), make(chan struct{}), zap.NewNop(), prometheus.NewRegistry())
		require.NoError(t, h.AwaitReady(t.Context()), "there are no gates")
		gate := h.Gate("schema")
		result := make(chan error, 1)
		go func() { result <- h.AwaitReady(t.Context()) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Empty(t, result)
		gate.Open()
		require.NoError(t, <-result)

		draining := make(chan struct{})
		close(draining)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		h = New(Default(), draining, zap.NewNop(), prometheus.NewRegistry())
		require.ErrorIs(t, h.AwaitReady(ctx), context.DeadlineExceeded, "it won't be ready any more")
	})
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
		require.Equal(t, map[string]string{"database": "unreachable"}, reasons(t, registry))
		broken.Store(false)
		time.Sleep(time.Minute)
		require.Empty(t, reasons(t, registry))
	})
}

// The full errors, which may contain addresses and accounts, are on the admin port
// only.
func TestAdminReadyz(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Default(), nil, zap.NewNop(), prometheus.NewRegistry())
		secret := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("10.1.2.3:3306")}
		schema := h.Gate("schema")
		h.Gate("feed").Open()
		h.Dependency("database", func(context.Context) error { return secret })
		h.Dependency("redis", func(context.Context) error { return nil })
		schema.Set(secret)
		watching(t, h)
		synctest.Wait()

		status, body := ask(t, h.AdminReadyz, "/readyz")
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.Equal(t, answer{
			Status:  "starting",
			Reasons: map[string]string{"schema": "unreachable"},
			Checks:  map[string]string{"schema": "unreachable", "feed": "OK", "database": "unreachable", "redis": "OK"},
			Errors:  map[string]string{"schema": secret.Error(), "database": secret.Error()},
		}, body)
		for _, target := range []string{"/readyz", "/readyz?full=1"} {
			recorder := httptest.NewRecorder()
			h.Readyz(recorder, httptest.NewRequest(http.MethodGet, target, nil))
			require.NotContains(t, recorder.Body.String(), "10.1.2.3")
		}
		schema.Open()
		status, _ = ask(t, h.AdminReadyz, "/readyz")
		require.Equal(t, http.StatusOK, status)
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
		require.Equal(t, map[string]string{"slow": "timeout", "panicking": failed.Error()}, body.Checks)
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

// Each reason of an outage is logged once, however often it recurs.
func TestOnlyChangesAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.DebugLevel)
		h := New(configured(func(c *Config) { c.CheckInterval = time.Second }), nil, zap.New(core), prometheus.NewRegistry())
		var result atomic.Pointer[error]
		set := func(err error) { result.Store(&err) }
		h.Dependency("database", func(context.Context) error { return *result.Load() })
		down, denied := errors.New("down"), fmt.Errorf("%w: user x", Reason("access denied"))
		set(down)
		watching(t, h)
		for _, err := range []error{denied, down, denied, nil, denied, nil} {
			time.Sleep(10 * time.Second)
			set(err)
		}
		time.Sleep(10 * time.Second)
		var lines []string
		for _, entry := range logs.All() {
			lines = append(lines, fmt.Sprint(entry.Message, ", ", entry.ContextMap()["reason"], ", ", entry.ContextMap()["error"]))
		}
		require.Equal(t, []string{
			"dependency down, " + failed.Error() + ", down", "dependency down, access denied, access denied: user x", "dependency up, <nil>, <nil>",
			"dependency down, access denied, access denied: user x", "dependency up, <nil>, <nil>",
		}, lines)
	})
}

func TestReasonOf(t *testing.T) {
	dial := func(err error) error {
		return fmt.Errorf("x: %w", &net.OpError{Op: "dial", Net: "tcp", Err: &os.SyscallError{Syscall: "connect", Err: err}})
	}
	for _, c := range []struct {
		err  error
		want error
	}{
		{nil, nil},
		{errors.New("Access denied for user 'x'@'10.0.0.1'"), failed},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), timedOut},
		{&net.DNSError{Err: "no answer", Name: "db.internal", IsTimeout: true}, timedOut},
		{&net.DNSError{Err: "no such host", Name: "db.internal", IsNotFound: true}, unknownHost},
		{&net.DNSError{Err: "server misbehaving", Name: "db.internal"}, nameServer},
		{dial(syscall.ECONNREFUSED), refused},
		{dial(syscall.EHOSTUNREACH), unreachable},
		{dial(syscall.ETIMEDOUT), timedOut},
		{dial(syscall.EMFILE), noFiles},
		{dial(syscall.ECONNRESET), lost},
		{fmt.Errorf("x: %w", io.EOF), lost},
		{&url.Error{Op: "Get", URL: "http://10.0.0.1", Err: dial(syscall.ECONNREFUSED)}, refused},
		{&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}, Host: "db"}}, otherName},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, badCertificate},
		{&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, expired},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, handshakeFailed},
		{&net.OpError{Op: "remote error", Err: tls.AlertError(42)}, handshakeFailed},
		{fmt.Errorf("%w: %w", Reason("the schema is too old: run migrate"), errors.New("secret")), Reason("the schema is too old: run migrate")},
		{fmt.Errorf("%w: %w", Reason("access denied"), io.EOF), Reason("access denied")},
	} {
		require.Equal(t, c.want, reasonOf(c.err), "%v", c.err)
	}
}

// reasons returns the reason of each failing dependency in the metrics.
func reasons(t *testing.T, registry *prometheus.Registry) map[string]string {
	t.Helper()
	values := map[string]string{}
	for labels, value := range gather(t, registry, "achilles_dependency_failing") {
		require.EqualValues(t, 1, value)
		values[labels[0]] = labels[1]
	}
	return values
}

// gauge returns achilles_dependency_up of each dependency.
func gauge(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	values := map[string]float64{}
	for labels, value := range gather(t, registry, "achilles_dependency_up") {
		values[labels[0]] = value
	}
	return values
}

// gather returns the values of a metric by the values of its labels.
func gather(t *testing.T, registry *prometheus.Registry, name string) map[[2]string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	values := map[[2]string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels [2]string
			for i, label := range m.GetLabel() {
				labels[i] = label.GetValue()
			}
			if family.GetName() == name {
				values[labels] = m.GetGauge().GetValue()
			}
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
