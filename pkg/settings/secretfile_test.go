package settings_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/settings"
)

func TestSecretFileFollowsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "password")
	file := settings.NewSecretFile(path, "initial")
	read := func() string {
		secret, err := file.Read()
		require.NoError(t, err)
		return secret.Reveal()
	}
	for _, want := range []string{"first", "second"} {
		require.NoError(t, os.WriteFile(path, []byte(want+"\r\n"), 0o600))
		require.Equal(t, want, read())
	}
	for name, damage := range map[string]func() error{
		"is empty":       func() error { return os.Truncate(path, 0) },
		"does not exist": func() error { return os.Remove(path) },
	} {
		require.NoError(t, os.WriteFile(path, []byte("second"), 0o600))
		require.NoError(t, damage())
		secret, err := file.Read()
		require.ErrorContains(t, err, path+" "+name)
		require.Equal(t, "second", secret.Reveal(), "the last one that could be read")
	}
}

func TestSecretFileWithoutAFile(t *testing.T) {
	secret, err := settings.NewSecretFile("", "fixed").Read()
	require.NoError(t, err)
	require.Equal(t, "fixed", secret.Reveal())
}

func TestSecretFileThatWasNeverThere(t *testing.T) {
	secret, err := settings.NewSecretFile(filepath.Join(t.TempDir(), "none"), "initial").Read()
	require.Error(t, err)
	require.Equal(t, "initial", secret.Reveal())
}
