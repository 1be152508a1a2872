package cluster

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Local is a tool that runs a cluster on this machine. Its commands are up, down, env,
// which prints variables in shell syntax, and exec CMD..., which runs a command with
// access to the cluster.
type Local struct{ Tool string }

// Up starts the cluster unless it is running, and returns the environment for
// FromEnvironment. started reports whether Up has started the cluster.
func (l Local) Up(ctx context.Context) (environment []string, started bool, err error) {
	variables, err := l.environment(ctx)
	if err != nil {
		return nil, false, err
	}
	if _, err := os.Stat(variables["KUBECONFIG"]); err != nil {
		started = true
		cmd := exec.CommandContext(ctx, l.Tool, "up") // #nosec G204 -- the configured tool
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return nil, started, fmt.Errorf("%s up: %w", l.Tool, err)
		}
	}
	return describe(variables), started, nil
}

// Down stops the cluster.
func (l Local) Down() error {
	cmd := exec.Command(l.Tool, "down") // #nosec G204 -- the configured tool
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}

func (l Local) environment(ctx context.Context) (map[string]string, error) {
	printed, err := run(ctx, nil, l.Tool, "env")
	if err != nil {
		return nil, err
	}
	variables := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(printed))
	for lines.Scan() {
		for _, assignment := range strings.Fields(strings.TrimPrefix(lines.Text(), "export ")) {
			if name, value, ok := strings.Cut(assignment, "="); ok {
				variables[name] = os.Expand(value, os.Getenv)
			}
		}
	}
	return variables, nil
}

func describe(variables map[string]string) []string {
	state := filepath.Dir(variables["KUBECONFIG"])
	control, _, _ := net.SplitHostPort(variables["CLUSTER_MYSQL_ADDR"])
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return append(os.Environ(),
		"KUBECONFIG="+variables["KUBECONFIG"], "PATH="+variables["PATH"],
		"E2E_INGRESS_URL="+variables["CLUSTER_INGRESS_URL"],
		"E2E_REGISTRY="+net.JoinHostPort(control, "5000")+"/achilles-blog", "E2E_REGISTRY_INSECURE=1", "E2E_IMAGES=achilles-blog",
		"E2E_MYSQL_ADDR="+variables["CLUSTER_MYSQL_ADDR"], "E2E_MYSQL_USER="+variables["CLUSTER_MYSQL_USER"],
		"E2E_MYSQL_PASSWORD="+variables["CLUSTER_MYSQL_PASSWORD"], "E2E_REDIS_ADDR="+variables["CLUSTER_REDIS_ADDR"],
		"E2E_S3_LISTEN="+net.JoinHostPort(control, "7070"),
		"E2E_CRASH_MYSQL="+self+" crash "+filepath.Join(state, "mariadb.pid"),
		// Redis overwrites its command line, so it must be given.
		"E2E_CRASH_REDIS="+self+" crash "+filepath.Join(state, "redis.pid")+
			" redis-server --bind "+control+" --protected-mode no --port 6379 --save '' --dir "+filepath.Join(state, "redis"),
	)
}

// Exec runs a command with access to the cluster and with the given environment. The
// command is in the same process group, so that it receives interrupts.
func (l Local) Exec(ctx context.Context, environment []string, command ...string) error {
	cmd := exec.CommandContext(ctx, l.Tool, append([]string{"exec"}, command...)...) // #nosec G204 -- this program
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = environment, os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	return cmd.Run()
}

// Crash kills the process with the id in pidFile with SIGKILL, starts command, or the
// same command again if empty, and writes the new id to pidFile.
func Crash(pidFile string, command ...string) error {
	text, err := os.ReadFile(pidFile) // #nosec G304 -- named by the operator
	if err != nil {
		return err
	}
	var pid int
	if _, err := fmt.Sscan(string(text), &pid); err != nil {
		return fmt.Errorf("%s does not contain a process id: %w", pidFile, err)
	}
	if len(command) == 0 {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil || len(line) == 0 {
			return fmt.Errorf("the process %d of %s does not exist: %w", pid, pidFile, err)
		}
		command = strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	for until := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
	}
	cmd := exec.Command(command[0], command[1:]...) // #nosec G204 -- the previous command
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	return os.WriteFile(pidFile, fmt.Appendln(nil, cmd.Process.Pid), 0o600)
}
