package process_test

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// As the only process of a container.
func TestUpgradeOfProcessOneIsRefused(t *testing.T) {
	heedHangup(t)
	settings := process.On(dbtest.MySQL(t)).With(process.Settings{"Upgrade.Signal": "SIGHUP"})
	program := process.Service(t, "tag")
	process.Migrate(t, program, settings)
	cmd := process.Command(t, program, settings, "serve")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWUSER}
	if probe := (&syscall.SysProcAttr{Cloneflags: cmd.SysProcAttr.Cloneflags}); !allowed(t, probe) {
		t.Skip("namespaces of processes can't be made here")
	}
	p := process.StartCommand(t, cmd)
	const why = "this is process 1, with which its container ends: replace the container"
	require.Contains(t, p.AwaitLog(t, "upgrades in place will be refused")["error"], why)
	p.AwaitReady(t)
	p.Signal(t, syscall.SIGHUP)
	require.Contains(t, p.AwaitLog(t, upgradeRefused)["error"], why)
	require.Equal(t, 200, ask(t, p, "GET", "/readyz", nil).Status)
	p.Signal(t, sigterm)
	require.Zero(t, p.Exit(t), p.Stderr())
}

// allowed reports whether a process can be started with these attributes.
func allowed(t *testing.T, attributes *syscall.SysProcAttr) bool {
	t.Helper()
	child, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{Sys: attributes})
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		return false
	}
	require.NoError(t, err)
	_, err = child.Wait()
	require.NoError(t, err)
	return true
}
