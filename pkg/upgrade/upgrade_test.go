package upgrade

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// Upgrades themselves are tested with processes, by test/process.

func TestValidate(t *testing.T) {
	cfg := Default()
	require.NoError(t, settings.Validate(&cfg))
	cfg = Config{Signal: "SIGTERM", Timeout: time.Millisecond}
	require.EqualError(t, settings.Validate(&cfg), "Signal: SIGTERM is not allowed; it must be SIGHUP, SIGUSR2 or none\n"+
		"Timeout: 1ms is not allowed; it must be 1s or more")
	cfg = Config{Signal: None, Timeout: time.Second, PIDFile: "pid"}
	require.EqualError(t, settings.Validate(&cfg), "PIDFile: pid is not allowed; it must be empty, unless Upgrade.Signal is SIGHUP or SIGUSR2")
}

func TestSignal(t *testing.T) {
	for text, signal := range map[string]os.Signal{"SIGHUP": syscall.SIGHUP, "SIGUSR2": syscall.SIGUSR2, None: nil} {
		u := &Upgrader{cfg: Config{Signal: text}}
		require.Equal(t, signal, u.Signal())
	}
}

// Without a signal, everything goes on as if there were no upgrades.
func TestOff(t *testing.T) {
	u, err := New(Default())
	require.NoError(t, err)
	require.False(t, u.Replaces())
	ln, err := u.Inherit("http")
	require.NoError(t, err)
	require.Nil(t, ln)
	ln, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, u.Pass("http", ln))
	require.NoError(t, ln.Close())
	require.NoError(t, u.Ready(t.Context()))
	u.Stop()
}

func TestRemovePIDFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	u := &Upgrader{cfg: Config{PIDFile: file}}
	require.NoError(t, u.RemovePIDFile(), "there is none")
	require.NoError(t, os.WriteFile(file, []byte("1"), 0o600))
	require.NoError(t, u.RemovePIDFile())
	require.FileExists(t, file, "that of another process")
	require.NoError(t, os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600))
	require.NoError(t, u.RemovePIDFile())
	require.NoFileExists(t, file)
}

// A new process may end after it has written the file.
func TestKeepPIDFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	u := &Upgrader{cfg: Config{PIDFile: file}}
	require.NoError(t, u.keepPIDFile())
	require.NoFileExists(t, file, "there was none")
	for _, text := range []string{"1", strconv.Itoa(os.Getpid())} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		require.NoError(t, u.keepPIDFile())
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, strconv.Itoa(os.Getpid()), string(content))
	}
}
