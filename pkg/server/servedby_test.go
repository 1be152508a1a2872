package server_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/server"
)

func TestServedBy(t *testing.T) {
	cfg := server.Default()
	f := start(t, cfg, nil)
	require.NotContains(t, f.do("GET", "/version", "").Header, "X-Served-By", "not by default")

	cfg.ServedBy = "achilles-tag-5d8f"
	f = start(t, cfg, nil)
	for _, path := range []string{"/version", "/nowhere"} {
		require.Equal(t, "achilles-tag-5d8f", f.do("GET", path, "").Header.Get("X-Served-By"))
	}
}
