package claim_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/devserver/claim"
)

func TestDataIsFreeAgainAfterwards(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "var")
	for range 2 {
		d, err := claim.OpenData(dir)
		require.NoError(t, err)
		_, err = claim.OpenData(dir)
		require.ErrorContains(t, err, fmt.Sprintf("another make run (process %d) uses %s", os.Getpid(), dir))
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), "databases and secrets")
		require.NoError(t, d.Close())
	}
}

func TestDataThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for dir, want := range map[string]string{
		"":               "DATA is empty",
		file:             "it is a file, not a directory",
		file + "/var":    "not a directory",
		"/proc/achilles": "DATA=/proc/achilles can't be used",
	} {
		_, err := claim.OpenData(dir)
		require.ErrorContains(t, err, want)
	}
}

func TestAddress(t *testing.T) {
	dir := t.TempDir()
	require.Empty(t, claim.Address(dir))
	d, err := claim.OpenData(dir)
	require.NoError(t, err)
	require.NoError(t, d.KeepAddress("http://127.0.0.1:7"))
	require.Equal(t, "http://127.0.0.1:7", claim.Address(dir))
	require.NoError(t, d.Close())
	require.Empty(t, claim.Address(dir), "nothing runs any more")
}

func TestLogsKeepOneStart(t *testing.T) {
	d, err := claim.OpenData(t.TempDir())
	require.NoError(t, err)
	defer func() { _ = d.Close() }()
	for _, text := range []string{"first", "second", "third"} {
		file, err := d.NewLog("tag")
		require.NoError(t, err)
		_, err = file.WriteString(text)
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	for name, want := range map[string]string{"tag.log": "third", "tag.log.1": "second"} {
		content, err := os.ReadFile(d.Path("log", name))
		require.NoError(t, err)
		require.Equal(t, want, string(content))
	}
}

func TestListen(t *testing.T) {
	taken, err := claim.Listen("0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port
	for text, want := range map[string]string{
		"http":           "PORT=http is not a port: give a number",
		"70000":          "PORT=70000 is not a port",
		"-1":             "PORT=-1 is not a port",
		fmt.Sprint(port): fmt.Sprintf("port %d can't be used: it is taken; choose another one, such as PORT=", port),
	} {
		_, err := claim.Listen(text)
		require.ErrorContains(t, err, want)
	}
}

func TestAnEmptyPortIsTheDefault(t *testing.T) {
	port, err := claim.ParsePort("")
	require.NoError(t, err)
	require.Equal(t, claim.DefaultPort, fmt.Sprint(port))
}
