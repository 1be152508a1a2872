package metrics_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func build() buildinfo.Info {
	return buildinfo.Info{Version: "v1.2.3", Commit: "abc", BuildTime: "2026-01-02T03:04:05Z", GoVersion: "go1.26"}
}

func get(t *testing.T, handler http.Handler, path string) (int, string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	return recorder.Code, recorder.Body.String()
}

// used returns metrics that all have values.
func used(t *testing.T) *metrics.Metrics {
	t.Helper()
	m := metrics.New(build())
	draining := make(chan struct{})
	m.TrackDraining(draining)
	h := health.New(health.Default(), nil, zap.NewNop(), m.Registry())
	h.Dependency("database", nil)
	m.RequestStarted()
	m.RequestStarted()
	m.RequestDone(t.Context(), http.MethodGet, "/api/v1/tags/:id", http.StatusOK, 30*time.Millisecond)
	m.PanicRecovered()
	return m
}

func TestExposition(t *testing.T) {
	_, text := get(t, used(t).Handler(), "/metrics")
	for _, line := range []string{
		`achilles_build_info{build_time="2026-01-02T03:04:05Z",commit="abc",go_version="go1.26",version="v1.2.3"} 1`,
		`achilles_http_requests_total{method="GET",route="/api/v1/tags/:id",status="200"} 1`,
		`achilles_http_request_duration_seconds_bucket{method="GET",route="/api/v1/tags/:id",status="200",le="0.025"} 0`,
		`achilles_http_request_duration_seconds_bucket{method="GET",route="/api/v1/tags/:id",status="200",le="0.05"} 1`,
		`achilles_http_requests_in_flight 1`,
		`achilles_http_panics_total 1`,
		`achilles_draining 0`,
		`achilles_dependency_up{dependency="database"} 0`,
	} {
		require.Contains(t, text, line+"\n")
	}
	require.Contains(t, text, "\ngo_goroutines ")
	require.Contains(t, text, "\nprocess_start_time_seconds ")
}

func TestDraining(t *testing.T) {
	m := metrics.New(build())
	draining := make(chan struct{})
	m.TrackDraining(draining)
	_, text := get(t, m.Handler(), "/metrics")
	require.Contains(t, text, "achilles_draining 0\n")
	close(draining)
	_, text = get(t, m.Handler(), "/metrics")
	require.Contains(t, text, "achilles_draining 1\n")
}

func TestLabelValuesAreBounded(t *testing.T) {
	m := metrics.New(build())
	for _, method := range []string{"PROPFIND", "get", "", strings.Repeat("X", 9000)} {
		m.RequestStarted()
		m.RequestDone(t.Context(), method, "", http.StatusNotFound, 0)
	}
	families, err := m.Registry().Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "achilles_http_requests_total" {
			require.Len(t, family.GetMetric(), 1)
			require.EqualValues(t, 4, family.GetMetric()[0].GetCounter().GetValue())
		}
	}
	_, text := get(t, m.Handler(), "/metrics")
	require.Contains(t, text, `achilles_http_requests_total{method="other",route="unmatched",status="404"} 4`)
}

func TestInstancesAreIndependent(t *testing.T) {
	first, second := metrics.New(build()), metrics.New(build())
	first.PanicRecovered()
	_, text := get(t, second.Handler(), "/metrics")
	require.Contains(t, text, "achilles_http_panics_total 0\n")
	require.NotSame(t, prometheus.DefaultRegisterer, first.Registry())
}

func TestNamingConventions(t *testing.T) {
	_, text := get(t, used(t).Handler(), "/metrics")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestPromtool(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		if os.Getenv("ACHILLES_TEST_REQUIRE") == "all" {
			t.Fatal("promtool is not installed")
		}
		t.Skip("promtool is not installed")
	}
	_, text := get(t, used(t).Handler(), "/metrics")
	command := exec.Command("promtool", "check", "metrics")
	command.Stdin = strings.NewReader(text)
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Empty(t, string(output))
}

func TestAdminHandler(t *testing.T) {
	handler := metrics.AdminHandler(used(t), func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "the readiness") })
	for path, want := range map[string]struct {
		status int
		text   string
	}{
		"/metrics":                       {http.StatusOK, "achilles_build_info"},
		"/version":                       {http.StatusOK, `"version":"v1.2.3"`},
		"/readyz":                        {http.StatusOK, "the readiness"},
		"/debug/pprof/":                  {http.StatusOK, "goroutine"},
		"/debug/pprof/goroutine?debug=1": {http.StatusOK, "goroutine profile"},
		"/debug/pprof/cmdline":           {http.StatusOK, ""},
		"/debug/pprof/symbol":            {http.StatusOK, "num_symbols"},
		"/":                              {http.StatusNotFound, ""},
		"/healthz":                       {http.StatusNotFound, ""},
		"/api/v1/tags":                   {http.StatusNotFound, ""},
	} {
		status, body := get(t, handler, path)
		require.Equal(t, want.status, status, path)
		require.Contains(t, body, want.text, path)
	}
}
