package command_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHealthcheck(t *testing.T) {
	var status int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "GET /readyz", r.Method+" "+r.URL.Path)
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, `{"status":"whatever"}`)
	}))
	url := server.URL + "/readyz"

	status = http.StatusOK
	require.Equal(t, result{}, runMain([]string{"healthcheck", url}, nil, nil))

	status = http.StatusServiceUnavailable
	require.Equal(t, result{code: 1, stderr: "tag: not ready: 503 Service Unavailable: {\"status\":\"whatever\"}\n"},
		runMain([]string{"healthcheck", url}, nil, nil))

	server.Close()
	r := runMain([]string{"healthcheck", url}, nil, nil)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "tag: no answer: ")

	for _, args := range [][]string{{"healthcheck"}, {"healthcheck", url, url}, {"healthcheck", "%"}} {
		r := runMain(args, nil, nil)
		require.Equal(t, 1, r.code)
		require.Contains(t, r.stderr, "URL")
	}
}
