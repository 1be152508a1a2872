package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// signalPod sends a signal to the processes in the containers of a pod, but not to its
// sandbox. SIGKILL is like a crash.
func signalPod(uid string, signal syscall.Signal) (found int, err error) {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	for _, dir := range processes {
		if !ofPod(dir, uid) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if err := syscall.Kill(pid, signal); err != nil {
			return found, err
		}
		found++
	}
	return found, nil
}

// ofPod reports whether a process is in a cgroup of the pod. The name of the cgroup
// contains the uid with dashes or, with the systemd driver, with underscores.
func ofPod(dir, uid string) bool {
	groups, err := os.ReadFile(filepath.Join(dir, "cgroup")) // #nosec G304 -- below /proc
	if err != nil {
		return false // it has exited
	}
	text := strings.ReplaceAll(string(groups), "_", "-")
	name, err := os.ReadFile(filepath.Join(dir, "comm")) // #nosec G304 -- below /proc
	return err == nil && strings.Contains(text, "pod"+uid) && strings.TrimSpace(string(name)) != "pause"
}
