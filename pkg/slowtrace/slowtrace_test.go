package slowtrace_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/trace"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/pkg/slowtrace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

func start(t *testing.T, after time.Duration) (*slowtrace.Recorder, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	recorder, err := slowtrace.Start(after, zap.New(core))
	require.NoError(t, err)
	t.Cleanup(recorder.Close)
	return recorder, logs
}

func get(recorder *slowtrace.Recorder) *httptest.ResponseRecorder {
	response := httptest.NewRecorder()
	recorder.ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/debug/slow", nil))
	return response
}

// events returns what go tool trace finds in a trace.
func events(t *testing.T, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "slow.trace")
	require.NoError(t, os.WriteFile(file, content, 0o600))
	output, err := exec.Command("go", "tool", "trace", "-d=parsed", file).CombinedOutput() // #nosec G204 -- a file of this test
	require.NoError(t, err, "%s", output)
	return string(output)
}

func TestKeep(t *testing.T) {
	recorder, logs := start(t, 50*time.Millisecond)
	require.False(t, recorder.Slow(50*time.Millisecond))
	require.True(t, recorder.Slow(51*time.Millisecond))
	_, found := recorder.Last()
	require.False(t, found)
	response := get(recorder)
	require.Equal(t, http.StatusNotFound, response.Code)
	require.Equal(t, "No trace has been kept yet: a request must take longer than 50ms (Server.SlowRequestTrace).\n", response.Body.String())

	request := slowtrace.Request{
		Began: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Duration: time.Second, Method: "GET", Route: "/api/v1/tags", Status: 200, RequestID: "the-slow-one",
	}
	recorder.Keep(t.Context(), request)
	require.Eventually(t, func() bool { _, found := recorder.Last(); return found }, patience, time.Millisecond)
	last, _ := recorder.Last()
	response = get(recorder)
	require.Equal(t, http.StatusOK, response.Code)
	require.Equal(t, response.Body.Len(), last.TraceBytes)
	require.Equal(t, `attachment; filename="slow-20260102T030405Z.trace"`, response.Header().Get("Content-Disposition"))
	require.Equal(t, "the-slow-one", response.Header().Get("X-Request-Id"))
	require.Regexp(t, `Log.*slow request.*the-slow-one`, events(t, response.Body.Bytes()))
	require.Equal(t, 1, logs.FilterMessageSnippet("/debug/slow").Len(), "%v", logs.All())
	last.TraceBytes = 0
	require.Equal(t, request, last)

	// Others that are slow at the same time cost nothing.
	recorder.Keep(t.Context(), slowtrace.Request{RequestID: "another"})
	recorder.Close()
	last, _ = recorder.Last()
	require.Equal(t, "the-slow-one", last.RequestID)
	require.Equal(t, http.StatusOK, get(recorder).Code, "what was kept stays")
}

func TestOff(t *testing.T) {
	recorder, _ := start(t, 0)
	require.Nil(t, recorder)
	require.False(t, recorder.Slow(time.Hour))
	_, found := recorder.Last()
	require.False(t, found)
	response := get(recorder)
	require.Equal(t, http.StatusNotFound, response.Code)
	require.Contains(t, response.Body.String(), "set Server.SlowRequestTrace to a duration")
}

// There can be one in a process; profiles by runtime/trace go on beside it.
func TestOthers(t *testing.T) {
	recorder, _ := start(t, time.Second)
	_, err := slowtrace.Start(time.Second, zap.NewNop())
	require.ErrorContains(t, err, "recording traces of slow requests: ")
	var other bytes.Buffer
	require.NoError(t, trace.Start(&other))
	recorder.Keep(t.Context(), slowtrace.Request{RequestID: "beside"})
	require.Eventually(t, func() bool { _, found := recorder.Last(); return found }, patience, time.Millisecond)
	trace.Stop()
	require.NotZero(t, other.Len())
	require.Contains(t, events(t, get(recorder).Body.Bytes()), "beside")
}

func TestRequestAsJSON(t *testing.T) {
	text, err := json.Marshal(slowtrace.Request{Method: "GET", Route: "/", Status: 200, RequestID: "r"})
	require.NoError(t, err)
	require.JSONEq(t, `{"began":"0001-01-01T00:00:00Z","method":"GET","route":"/","status":200,"request_id":"r","trace_bytes":0}`, string(text))
}
