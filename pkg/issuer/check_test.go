package issuer

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/command/commandtest"
)

func TestCheck(t *testing.T) {
	var starting atomic.Int64 // how many requests are answered by 503
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case starting.Add(-1) >= 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		case !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey"):
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path != "/readyz" && r.URL.Path != "/api/v1/comments":
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	run := func(args ...string) (exit int, stdout, stderr string) {
		return commandtest.New(t, program().Main).Run(append([]string{"check", "--auth.keysfile", keySet(t)}, args...)...)
	}
	starting.Store(1)
	exit, stdout, stderr := run("--ready", server.URL+"/readyz", "--lists", server.URL+"/api/v1/comments")
	require.Zero(t, exit, stderr)
	require.Equal(t, "GET "+server.URL+"/readyz: 503 Service Unavailable\nGET "+server.URL+"/readyz: 200 OK\nGET "+server.URL+"/api/v1/comments: 200 OK\n", stdout)
	for url, want := range map[string]string{server.URL + "/api/v1/votes": "status is 404, want 200", "http://127.0.0.1:1": "check the address"} {
		exit, _, stderr := run("--wait", "0s", "--lists", url)
		require.Equal(t, 1, exit)
		require.Contains(t, stderr, want)
	}
	exit, _, stderr = commandtest.New(t, program().Main).Run("check")
	require.Equal(t, 1, exit)
	require.Contains(t, stderr, "set Auth.KeysFile")
}

// A service may have a check of its own.
func TestOwnCommands(t *testing.T) {
	p := program()
	p.Commands = Commands(shared, migrations(), func(bind command.Bind[config]) *cobra.Command {
		cmd := &cobra.Command{Use: "check"}
		return bind(cmd, func(config, []string) error { cmd.Print("own"); return nil })
	})
	exit, stdout, stderr := commandtest.New(t, p.Main).Run("check")
	require.Zero(t, exit)
	require.Equal(t, "own", stdout+stderr)
}
