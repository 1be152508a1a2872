//go:build linux

package abuse_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/process"
)

// confined starts a program that the kernel kills if it exceeds podMemory, where this
// user may create a control group. Anywhere else it only has the limit that it would set
// itself in a pod.
func confined(t *testing.T, program string, settings process.Settings, args ...string) *process.Process {
	t.Helper()
	group := memoryGroup(t)
	if group == "" {
		limit := fmt.Sprintf("GOMEMLIMIT=%dB", podMemory*85/100)
		return process.Start(t, "/usr/bin/env", settings, append([]string{limit, program}, args...)...)
	}
	enter := []string{"-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(group, "cgroup.procs"), program}
	return process.Start(t, "/bin/sh", settings, append(enter, args...)...)
}

// memoryGroup creates a control group with the limit podMemory, and returns its folder,
// or "" if that is not possible here.
func memoryGroup(t *testing.T) string {
	t.Helper()
	for mount, limit := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		group, err := os.MkdirTemp(mount, "achilles-abuse-")
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(group, limit)); err != nil { // no control group of memory
			_ = os.Remove(group)
			continue
		}
		err = os.WriteFile(filepath.Join(group, limit), []byte(strconv.Itoa(podMemory)), 0o600)
		if err != nil || exec.Command("/bin/sh", "-c", `sh -c 'echo $$ >"$0"' "$0"`, filepath.Join(group, "cgroup.procs")).Run() != nil { // #nosec G204 -- a folder of the kernel
			_ = os.Remove(group)
			continue
		}
		t.Cleanup(func() { _ = os.Remove(group) })
		return group
	}
	t.Log("no control group can be created here: only the peak of the resident memory is checked")
	return ""
}

// residentPeak returns the maximum of the resident memory of a process so far, in bytes,
// without that of files, such as its own code, which the kernel can drop and read again.
func residentPeak(t *testing.T, p *process.Process) int {
	t.Helper()
	if p.Ended() {
		return 0
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	require.NoError(t, err)
	sizes := map[string]int{}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[2] == "kB" {
			kilobytes, err := strconv.Atoi(fields[1])
			require.NoError(t, err)
			sizes[fields[0]] = kilobytes << 10
		}
	}
	require.Positive(t, sizes["VmHWM:"])
	return sizes["VmHWM:"] - sizes["RssFile:"]
}
