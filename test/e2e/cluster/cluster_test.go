package cluster_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/e2e/cluster"
)

// script writes a shell script and returns its path.
func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700)) // #nosec G306 -- an executable
	return path
}

func TestFromEnvironment(t *testing.T) {
	for _, name := range []string{"KUBECONFIG", "E2E_INGRESS_URL", "E2E_REGISTRY", "E2E_IMAGES", "E2E_MYSQL_ADDR", "E2E_REDIS_ADDR"} {
		t.Setenv(name, "")
	}
	_, err := cluster.FromEnvironment()
	require.ErrorContains(t, err, "E2E_MYSQL_ADDR")
	require.ErrorContains(t, err, "KUBECONFIG")

	for _, name := range []string{"KUBECONFIG", "E2E_INGRESS_URL", "E2E_MYSQL_ADDR", "E2E_MYSQL_USER", "E2E_REDIS_ADDR"} {
		t.Setenv(name, "given")
	}
	t.Setenv("E2E_REGISTRY", "registry.example/blog")
	t.Setenv("PATH", t.TempDir())
	_, err = cluster.FromEnvironment()
	require.ErrorContains(t, err, "kubectl is required")

	t.Setenv("PATH", filepath.Dir(script(t, "kubectl", "exit 0"))+":"+filepath.Dir(script(t, "helm", "exit 0")))
	c, err := cluster.FromEnvironment()
	require.NoError(t, err)
	require.Equal(t, "registry.example/blog/tag", c.Image("tag"))
	require.Equal(t, "registry.example/blog/tag", c.Push("tag"))

	t.Setenv("E2E_IMAGES", "blog")
	c, err = cluster.FromEnvironment()
	require.NoError(t, err)
	require.Equal(t, "blog/tag", c.Image("tag"))
	require.Equal(t, "registry.example/blog/tag", c.Push("tag"))
}

// The error contains the message of kubectl.
func TestKubectlFails(t *testing.T) {
	t.Setenv("PATH", filepath.Dir(script(t, "kubectl", "echo 'no such thing' >&2; exit 3")))
	_, err := (&cluster.Cluster{}).Kubectl(t.Context(), "get", "things")
	require.ErrorContains(t, err, "kubectl get things: exit status 3: no such thing")
}

func TestPods(t *testing.T) {
	t.Setenv("PATH", filepath.Dir(script(t, "kubectl", `echo '{"items": [
		{"metadata": {"name": "a", "uid": "1", "labels": {"app.kubernetes.io/component": "tag"}},
		 "spec": {"nodeName": "node1"}, "status": {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}],
		 "containerStatuses": [{"restartCount": 2}, {"restartCount": 1}]}},
		{"metadata": {"name": "b", "deletionTimestamp": "2026-01-02T03:04:05Z"}, "status": {"conditions": [{"type": "Ready", "status": "False"}]}}]}'`)))
	pods, err := (&cluster.Cluster{}).Pods(t.Context(), "default", "x=y")
	require.NoError(t, err)
	require.Equal(t, []cluster.Pod{
		{Name: "a", UID: "1", Node: "node1", IP: "10.0.0.1", Component: "tag", Ready: true, Restarts: 3},
		{Name: "b", Terminating: true},
	}, pods)
}

// The tool provides the variables, and starts the cluster unless it runs.
func TestLocal(t *testing.T) {
	folder := t.TempDir()
	tool := script(t, "tool", `case $1 in
	env) echo 'export KUBECONFIG=`+folder+`/kubeconfig'
	  echo 'export PATH=/there:$PATH'
	  echo 'export CLUSTER_INGRESS_URL=http://10.9.9.9 CLUSTER_MYSQL_ADDR=10.9.9.1:3306 CLUSTER_REDIS_ADDR=10.9.9.1:6379';;
	up) touch `+folder+`/kubeconfig;;
	down) rm `+folder+`/kubeconfig;;
	exec) shift; "$@";;
	esac`)
	local := cluster.Local{Tool: tool}
	environment, started, err := local.Up(t.Context())
	require.NoError(t, err)
	require.True(t, started)
	require.FileExists(t, folder+"/kubeconfig")
	require.Subset(t, environment, []string{
		"KUBECONFIG=" + folder + "/kubeconfig", "PATH=/there:" + os.Getenv("PATH"),
		"E2E_INGRESS_URL=http://10.9.9.9", "E2E_REGISTRY=10.9.9.1:5000/achilles-blog", "E2E_MYSQL_ADDR=10.9.9.1:3306",
	})
	_, started, err = local.Up(t.Context())
	require.NoError(t, err)
	require.False(t, started, "the cluster was running")

	err = local.Exec(t.Context(), environment, "/bin/sh", "-c", `test "$E2E_INGRESS_URL" = http://10.9.9.9 && exit 7`)
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 7, exit.ExitCode())

	require.NoError(t, local.Down())
	require.NoFileExists(t, folder+"/kubeconfig")
}

// Crash kills the process and restarts the same or the given command.
func TestCrash(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	first := exec.Command("sleep", "1000")
	require.NoError(t, first.Start())
	require.NoError(t, os.WriteFile(file, fmt.Appendln(nil, first.Process.Pid), 0o600))
	ended := make(chan error, 1)
	go func() { ended <- first.Wait() }()

	require.NoError(t, cluster.Crash(file))
	require.ErrorContains(t, <-ended, "signal: killed")
	require.NotEqual(t, first.Process.Pid, running(t, file, "sleep\x001000\x00"))

	require.NoError(t, cluster.Crash(file, "sleep", "2000"))
	running(t, file, "sleep\x002000\x00")
}

// running waits until the process in a file runs the given command line, and kills it
// when the test ends.
func running(t *testing.T, file, command string) (pid int) {
	t.Helper()
	text, err := os.ReadFile(file) // #nosec G304 -- of this test
	require.NoError(t, err)
	_, err = fmt.Sscan(strings.TrimSpace(string(text)), &pid)
	require.NoError(t, err)
	reaped := make(chan struct{})
	go func() {
		defer close(reaped)
		_, _ = syscall.Wait4(pid, nil, 0, nil)
	}()
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL); <-reaped })
	require.Eventually(t, func() bool { // before exec it is a copy of this test
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return err == nil && string(line) == command
	}, time.Minute, 5*time.Millisecond)
	return pid
}

func TestCrashErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	require.Error(t, cluster.Crash(file))
	require.NoError(t, os.WriteFile(file, []byte("soon"), 0o600))
	require.ErrorContains(t, cluster.Crash(file), "does not contain a process id")
	require.NoError(t, os.WriteFile(file, []byte("999999999"), 0o600))
	require.ErrorContains(t, cluster.Crash(file), "does not exist")
}
