package apitest

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/auth"
)

// Auth are the settings of a new key ring.
func Auth(t testing.TB) auth.Config {
	t.Helper()
	config := auth.Default()
	config.KeysFile = filepath.Join(t.TempDir(), "keys.yaml")
	require.NoError(t, os.WriteFile(config.KeysFile, []byte(auth.NewRing(time.Now())), 0o600))
	return config
}

// Ring is a new key ring.
func Ring(t testing.TB) *auth.Ring {
	t.Helper()
	return Open(t, Auth(t))
}

// Open opens the key ring of the settings.
func Open(t testing.TB, config auth.Config) *auth.Ring {
	t.Helper()
	ring, err := auth.OpenRing(config)
	require.NoError(t, err)
	return ring
}

// Token is the header of a client that the ring has given a token.
func Token(t testing.TB, ring *auth.Ring, appKey string, scopes ...string) http.Header {
	t.Helper()
	token, err := ring.Sign(appKey, scopes, time.Now())
	require.NoError(t, err)
	return http.Header{"Authorization": {"Bearer " + token}}
}
