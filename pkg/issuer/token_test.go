package issuer

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/auth"
)

func TestTokenCommand(t *testing.T) {
	file := keySet(t)
	cfg := auth.Default()
	cfg.KeysFile = file
	keySet, err := auth.OpenKeySet(cfg)
	require.NoError(t, err)
	for _, c := range []struct {
		args   []string
		scopes []string
	}{
		{[]string{"demo"}, []string{"write"}},
		{[]string{"demo", "--scope", ""}, []string{}},
	} {
		var stdout, stderr bytes.Buffer
		exit := program().Main(append([]string{"token", "--auth.keysfile", file}, c.args...), nil, &stdout, &stderr)
		require.Zero(t, exit, stderr.String())
		principal, err := keySet.Verify(strings.TrimSpace(stdout.String()), time.Now())
		require.NoError(t, err)
		require.Equal(t, auth.Principal{AppKey: "demo", Scopes: c.scopes}, principal)
	}
}

func TestTokenCommandErrors(t *testing.T) {
	for want, args := range map[string][]string{
		"set Auth.KeysFile":       {"token", "demo"},
		"is not a valid app key":  {"token", "a b", "--auth.keysfile", keySet(t)},
		"create one with":         {"token", "demo", "--auth.keysfile", "nowhere"},
		"write article token KEY": {"token"},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, 1, program().Main(args, nil, &stdout, &stderr))
		require.Contains(t, stderr.String(), want)
		require.Empty(t, stdout.String())
	}
}

// keySet returns the name of a file with a new key set.
func keySet(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.yaml")
	require.NoError(t, os.WriteFile(file, []byte(auth.GenerateKeySet(time.Now())), 0o600))
	return file
}
