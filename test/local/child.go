package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
)

// child is a program that this one started and that does not outlive it.
type child struct {
	process *os.Process
	done    chan struct{} // closed when the program has ended
	err     error         // how it ended; valid once done is closed
}

// launch starts the program at path, whose output goes to the file output.
func launch(path string, args, env []string, output *os.File) (*child, error) {
	cmd := exec.Command(path, args...) // #nosec G204 -- the services that the caller names
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = childAttributes()
	c := &child{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// Linux ends the child with the thread that started it, so the thread
		// has to stay for as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		c.process = cmd.Process
		started <- err
		if err == nil {
			c.err = cmd.Wait()
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w; build it with: make build", path, err)
	}
	return c, nil
}

// stop asks the program to end and waits for it; when ctx ends first the
// program is killed.
func (c *child) stop(ctx context.Context) error {
	if err := c.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		c.kill()
		return errors.New("it did not end in time and was killed")
	}
}

// kill ends the program at once.
func (c *child) kill() {
	_ = c.process.Kill()
	<-c.done
}
