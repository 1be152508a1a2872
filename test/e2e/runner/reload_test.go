package runner

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/e2e/cluster"
	"github.com/achilles-blog/achilles/test/e2e/report"
	"github.com/achilles-blog/achilles/test/process"
	"github.com/achilles-blog/achilles/test/services"
)

// The fake kubectl has one pod, and one ConfigMap, which is the file settings.yaml. The fake
// helm makes that file of the value services.tag.config.
const (
	reloadKubectl = `#!/bin/sh
cd %s || exit 1
case "$1 $2 $*" in
"get pods "*) cat pods;;
"get configmap "*json) echo '{"metadata": {}}';;
"get configmap "*) cat settings.yaml;;
"apply --server-side "*) printf '%%b' "$(sed 's/.*"settings.yaml":"//; s/"},"kind".*//; s/\\"/"/g')" >new && mv new settings.yaml;;
esac
`
	reloadHelm = `#!/bin/sh
cd %s || exit 1
awk '/^      "config": [{]/ {p = 1; print "{"; next} p && /^      [}]/ {print "}"; exit} p' "$7" >new && mv new settings.yaml
`
)

// newReloadSystem returns a system with a tag service that is a process.
func newReloadSystem(t *testing.T) (r *Runner, s *system, folder string) {
	t.Helper()
	folder = t.TempDir()
	for name, script := range map[string]string{"kubectl": reloadKubectl, "helm": reloadHelm} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), fmt.Appendf(nil, script, folder), 0o700)) // #nosec G306 -- an executable
	}
	t.Setenv("PATH", folder+":"+os.Getenv("PATH"))
	setPod(t, folder, 0)
	c := &cluster.Cluster{}
	s = newSystem(c, []services.Service{{Name: "tag"}}, chart, t.TempDir(), "achilles-e2e", current)
	r = &Runner{cluster: c, options: Options{Stdout: io.Discard}, report: &report.Report{}}
	return r, s, folder
}

func setPod(t *testing.T, folder string, restarts int) {
	t.Helper()
	pods := fmt.Sprintf(`{"items": [{"metadata": {"name": "a", "labels": {"app.kubernetes.io/component": "tag"}}, "status": {"containerStatuses": [{"restartCount": %d}]}}]}`, restarts)
	require.NoError(t, os.WriteFile(filepath.Join(folder, "pods"), []byte(pods), 0o600))
}

// Each live setting of a real service is changed by the chart's values and back in the
// ConfigMap, and an invalid file changes nothing.
func TestReloadSettings(t *testing.T) {
	program := process.Service(t, "tag")
	r, s, folder := newReloadSystem(t)
	require.NoError(t, s.upgrade(t.Context(), nil))
	settings := process.On(dbtest.SQLite(t))
	for key := range settings {
		if strings.HasPrefix(key, "Limits.") || key == "Server.RequestTimeout" || key == "Database.Timeout" { // variables would override the file
			delete(settings, key)
		}
	}
	process.Migrate(t, program, settings)
	p := process.Start(t, program, settings, "serve", "--config", filepath.Join(folder, "settings.yaml"))
	p.AwaitReady(t)
	api := httptest.NewServer(http.StripPrefix("/api/v1/namespaces/achilles-e2e/pods/a:9090/proxy",
		httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: p.AdminAddr(t)})))
	defer api.Close()
	defer http.DefaultClient.CloseIdleConnections()
	r.agents = &agents{proxy: api.URL}

	require.NoError(t, r.reloadSettings(t.Context(), s))
	r.checkReloads()
	require.Len(t, r.report.Results, 1)
	require.True(t, r.report.Results[0].Passed, r.report.Results[0].Detail)
	require.Len(t, r.reloads[0].keys, len(others()))
	require.GreaterOrEqual(t, len(p.Log("settings read again")), 1+len(others()))
	require.Len(t, p.Log("the changed settings are not used"), 1)

	// A pod that was restarted is noticed, and so is a setting that was not changed.
	setPod(t, folder, 1)
	require.NoError(t, r.reloads[0].samePods(t.Context()))
	r.checkReloads()
	require.False(t, r.report.Results[1].Passed)
	require.Contains(t, r.report.Results[1].Detail, "pods were replaced or restarted")
	r.reloads[0].wrong = ""
	delete(r.reloads[0].keys, "Log.Level")
	r.checkReloads()
	require.False(t, r.report.Results[2].Passed)
}
