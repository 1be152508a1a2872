package agent_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/achilles-blog/achilles/test/e2e/agent"
	"github.com/achilles-blog/achilles/test/e2e/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newClient(t *testing.T) *agent.Client {
	t.Helper()
	server := httptest.NewServer(agent.Handler())
	t.Cleanup(func() {
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return &agent.Client{Node: "node1", URL: server.URL}
}

// The agent runs a load with the given configuration and returns its ledger.
func TestLoad(t *testing.T) {
	client := newClient(t)
	var tokens sync.Map
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens.Store(r.Header.Get("Authorization"), true)
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"data":{"id":7}}`))
	}))
	defer backend.Close()
	there := load.Endpoint{Addr: backend.Listener.Addr().String(), Host: "backend"}
	config := load.Config{Run: "run", Source: "node1", Tags: there, Articles: there, Token: "one", Mix: load.Mix{Fresh: 1, Idle: 1}, MaxDuration: time.Second}
	require.NoError(t, client.Start(t.Context(), "run", config))
	require.ErrorContains(t, client.Start(t.Context(), "run", config), "this load already exists")
	require.NoError(t, client.Nudge(t.Context(), "run"))
	require.Eventually(t, func() bool {
		count, err := client.Count(t.Context(), "run")
		require.NoError(t, err)
		return count.Posts > 0
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, client.SetReadOnly(t.Context(), "run", false))
	require.NoError(t, client.SetToken(t.Context(), "run", "two"))
	for _, token := range []string{"Bearer one", "Bearer two"} {
		require.Eventually(t, func() bool { _, ok := tokens.Load(token); return ok }, time.Minute, 10*time.Millisecond, token)
	}
	result, err := client.Stop(t.Context(), "run")
	require.NoError(t, err)
	require.Equal(t, "node1", result.Source)
	require.Equal(t, uint64(7), result.Writers["fresh0"].Tags[0])
}

func TestErrors(t *testing.T) {
	client := newClient(t)
	const none = "there is no such load"
	_, err := client.Count(t.Context(), "other")
	require.ErrorContains(t, err, "the agent on node1: GET /loads/other: status 404: "+none)
	_, err = client.Stop(t.Context(), "other")
	require.ErrorContains(t, err, none)
	require.ErrorContains(t, client.Nudge(t.Context(), "other"), none)
	require.ErrorContains(t, client.SetToken(t.Context(), "other", "secret"), none)
	require.ErrorContains(t, client.SetReadOnly(t.Context(), "other", true), none)
	require.ErrorContains(t, client.Hangup(t.Context(), "3f0c9a6e-0000-4000-8000-000000000000"), "no process of this pod is on this node")
	require.ErrorContains(t, client.Kill(t.Context(), "3f0c9a6e-0000-4000-8000-000000000000"), "no process of this pod is on this node")

	response, err := http.Post(client.URL+"/loads/run", "application/json", http.NoBody)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusBadRequest, response.StatusCode)
}
