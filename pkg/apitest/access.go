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

// Auth returns settings with a new key set.
func Auth(t testing.TB) auth.Config {
	t.Helper()
	config := auth.Default()
	config.KeysFile = filepath.Join(t.TempDir(), "keys.yaml")
	require.NoError(t, os.WriteFile(config.KeysFile, []byte(auth.GenerateKeySet(time.Now())), 0o600))
	return config
}

// KeySet returns a new key set.
func KeySet(t testing.TB) *auth.KeySet {
	t.Helper()
	return Open(t, Auth(t))
}

// Open opens the key set of the settings.
func Open(t testing.TB, config auth.Config) *auth.KeySet {
	t.Helper()
	keySet, err := auth.OpenKeySet(config)
	require.NoError(t, err)
	return keySet
}

// Token returns a header with a new token of the key set.
func Token(t testing.TB, keySet *auth.KeySet, appKey string, scopes ...string) http.Header {
	t.Helper()
	token, err := keySet.Sign(appKey, scopes, time.Now())
	require.NoError(t, err)
	return http.Header{"Authorization": {"Bearer " + token}}
}
