package runner

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/test/e2e/agent"
	"github.com/achilles-blog/achilles/test/e2e/cluster"
	"github.com/achilles-blog/achilles/test/e2e/load"
	"github.com/achilles-blog/achilles/test/e2e/report"
)

// kubectl is a fake kubectl that stores the Secret of the key set and has one pod.
const kubectl = `#!/bin/sh
cd %s || exit 1
case "$1 $2" in
"get secret") cat secret;;
"get pods") echo '{"items": [{"metadata": {"name": "a", "labels": {"app.kubernetes.io/component": "tag"}}}]}';;
"apply -f") cat >secret;;
esac
`

func newKeySystem(t *testing.T) (*Runner, *system) {
	t.Helper()
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "kubectl"), fmt.Appendf(nil, kubectl, folder), 0o700)) // #nosec G306 -- an executable
	t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
	keySet := base64.StdEncoding.EncodeToString([]byte(auth.GenerateKeySet(time.Now())))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "secret"), []byte(`{"data": {"keys.yaml": "`+keySet+`"}}`), 0o600))
	c := &cluster.Cluster{}
	return &Runner{cluster: c, options: Options{Stdout: io.Discard}, report: &report.Report{}}, newSystem(c, listed(), "", t.TempDir(), "achilles-e2e", "")
}

func TestTokenOfTheRelease(t *testing.T) {
	_, s := newKeySystem(t)
	token, err := s.token(t.Context())
	require.NoError(t, err)
	keySet, err := s.keys(t.Context())
	require.NoError(t, err)
	config := auth.Default()
	config.KeysFile = filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(config.KeysFile, keySet, 0o600))
	opened, err := auth.OpenKeySet(config)
	require.NoError(t, err)
	principal, err := opened.Verify(token, time.Now().Add(tokenLifetime-time.Minute))
	require.NoError(t, err)
	require.Equal(t, auth.Principal{AppKey: appKey, Scopes: []string{auth.ScopeWrite}}, principal)
	left, err := os.ReadDir(s.folder)
	require.NoError(t, err)
	require.Empty(t, left, "the key set is not deleted")

	require.NoError(t, s.setKeys(t.Context(), ""))
	_, err = s.token(t.Context())
	require.EqualError(t, err, "the Secret achilles-auth has no key set in keys.yaml")
	for _, none := range []string{"", "x", "e30.x.y", "%%%.x.y"} {
		require.Empty(t, keyOf(none))
	}
}

// After a rotation the loads on the nodes have tokens signed by the new key, and the load
// through the ingress keeps its own token.
func TestRotation(t *testing.T) {
	r, s := newKeySystem(t)
	var mu sync.Mutex
	keys := map[string]string{} // the last key by host
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
			keys[r.Host] = keyOf(token)
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"data": {"id": 7}}`))
	}))
	defer backend.Close()
	s.cluster.IngressURL, s.host = backend.URL, "ingress"
	node := httptest.NewServer(agent.Handler())
	defer node.Close()
	defer http.DefaultClient.CloseIdleConnections()
	probes := 0
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/api/v1/namespaces/achilles-e2e/pods/a:8080/proxy/api/v1/tags", r.URL.Path)
		require.NotEmpty(t, keyOf(r.Header.Get("token")))
		if probes++; probes < 3 { // until the kubelet has updated the file
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer api.Close()
	r.agents = &agents{proxy: api.URL}
	client := &agent.Client{Node: "node1", URL: node.URL}
	mix := load.Mix{Reused: 1}
	tr, err := startTraffic(t.Context(), s, &agents{}, "g1", mixes{ingress: mix, think: time.Millisecond})
	require.NoError(t, err)
	old, err := s.token(t.Context())
	require.NoError(t, err)
	there := load.Endpoint{Addr: backend.Listener.Addr().String(), Host: "node1"}
	require.NoError(t, client.Start(t.Context(), "g1", load.Config{Run: "g1", Source: "node1", Tags: there, Articles: there, Token: old, Mix: mix, Think: time.Millisecond}))
	tr.agents.clients = map[string]*agent.Client{"node1": client}

	require.NoError(t, r.rotateKeys(tr)(t.Context(), s))
	require.Len(t, r.rotations, 1)
	rotation := r.rotations[0]
	require.Empty(t, rotation.wrong)
	require.Equal(t, 1, rotation.pods)
	require.Equal(t, 3, r.probes)
	require.NotEqual(t, keyOf(old), rotation.key)
	require.Positive(t, rotation.before)
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return keys["node1"] == rotation.key && keys["ingress"] == keyOf(old)
	}, time.Minute, 10*time.Millisecond)
	results, err := tr.stop(t.Context())
	require.NoError(t, err)
	r.checkRotations(tr.summarise(results))
	require.True(t, r.report.Results[0].Passed, r.report.Results)
}

func TestCheckRotations(t *testing.T) {
	good := []rotation{{key: "new", before: 10, pods: 4}, {key: "newer", before: 60, pods: 4}}
	requests := load.Count{Requests: 100}
	for name, c := range map[string]struct {
		rotations []rotation
		run       report.Run
		passed    bool
	}{
		"good":              {good, report.Run{Count: requests}, true},
		"other failures":    {good, report.Run{Count: requests, Kinds: map[string]int{"timeout": 1}}, true},
		"rejected token":    {good, report.Run{Count: requests, Kinds: map[string]int{rejectedToken: 1}}, false},
		"no rotation":       {nil, report.Run{Count: requests}, false},
		"no later requests": {good[:1], report.Run{Count: load.Count{Requests: 10}}, false},
		"failed rotation":   {append(good, rotation{wrong: "a has not read the key"}), report.Run{Count: requests}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Runner{options: Options{Stdout: io.Discard}, report: &report.Report{}, rotations: c.rotations}
			r.checkRotations(&c.run)
			require.Equal(t, c.passed, r.report.Results[0].Passed, r.report.Results[0].Detail)
		})
	}
}
