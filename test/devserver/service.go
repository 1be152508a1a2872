package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/achilles-blog/achilles/test/devserver/claim"
	"github.com/achilles-blog/achilles/test/services"
)

const (
	readyTimeout = 30 * time.Second
	// serviceStop and commandStop are how long the service, and one of its other
	// commands, may take to end after SIGTERM until it is killed.
	serviceStop = 25 * time.Second
	commandStop = 3 * time.Second
)

// service is how a service is started, and its process once it has been.
type service struct {
	services.Service
	path       string
	settings   []string // the variables that make run sets
	env        []string // all variables of its programs
	url, admin *url.URL
	log        *os.File
	serving    *exec.Cmd          // nil until the service has been started
	cancel     context.CancelFunc // stops serving
	ended      chan struct{}      // closed when serving has ended
}

func newService(listed services.Service, bin string, d *claim.Data, port, adminPort int, log *os.File, shared ...string) *service {
	return &service{
		Service: listed, path: filepath.Join(bin, listed.Name), log: log, ended: make(chan struct{}),
		url:      &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)},
		admin:    &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", adminPort)},
		settings: slices.Concat(fixedSettings(d.Path(listed.Name+".db"), port, adminPort), shared),
	}
}

// command returns a command of the service that gets SIGTERM when ctx ends.
func (s *service) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.path, args...) // #nosec G204 -- the services that the caller names
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, s.log, s.log
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = commandStop
	return cmd
}

func (s *service) migrate(ctx context.Context) error {
	if err := s.command(ctx, "migrate").Run(); err != nil {
		return s.failure("%s migrate failed: %v", s.Name, err)
	}
	return nil
}

// start starts the service, which serves until stop or kill is called.
func (s *service) start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := s.command(ctx, "serve")
	cmd.WaitDelay = serviceStop
	started := make(chan error)
	go func() {
		// Linux ends the child with the thread that started it, so the thread
		// has to stay for as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // ProcessState tells the same
			close(s.ended)
		}
	}()
	if err := <-started; err != nil {
		cancel()
		return s.failure("starting the %s service failed: %v", s.Name, err)
	}
	s.serving, s.cancel = cmd, cancel
	return nil
}

// awaitReady asks the service's /readyz until it answers 200.
func (s *service) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for !s.ready(ctx) {
		select {
		case <-time.After(25 * time.Millisecond):
		case <-s.ended:
			return s.crash()
		case <-ctx.Done():
			return s.failure("the %s service was not ready within %s", s.Name, readyTimeout)
		}
	}
	return nil
}

func (s *service) ready(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url.JoinPath("readyz").String(), nil)
	if err != nil {
		return false
	}
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// stop ends the service in order, if it was started and hasn't ended by itself.
func (s *service) stop(context.Context) error {
	if s.serving == nil || closed(s.ended) {
		return nil
	}
	s.cancel()
	<-s.ended
	if state := s.serving.ProcessState; !state.Success() {
		return s.failure("the %s service did not stop in order: %s", s.Name, state)
	}
	return nil
}

// kill ends the service at once.
func (s *service) kill() {
	if s.serving != nil {
		_ = s.serving.Process.Kill()
		<-s.ended
	}
}

// crash is the error of a service that ended without having been asked to.
func (s *service) crash() error {
	return s.failure("the %s service ended by itself: %s", s.Name, s.serving.ProcessState)
}

// failure is a message to the person, with the end of the log that tells why.
type failure string

func (f failure) Error() string { return string(f) }

func (s *service) failure(format string, args ...any) error {
	message := fmt.Sprintf(format, args...) + "; the end of " + s.log.Name() + ":"
	for _, line := range lastLines(s.log.Name(), 10) {
		message += "\n  " + line
	}
	return failure(message)
}

// lastLines returns up to n lines from the end of a file.
func lastLines(path string, n int) []string {
	content, err := os.ReadFile(path) // #nosec G304 -- a log that this program has made
	if err != nil {
		return []string{err.Error()}
	}
	lines := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return lines[max(0, len(lines)-n):]
}
