// Package upgrade replaces a running process by a new one, which takes over its
// listeners: the new one serves before the old one drains, so no request is lost.
package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cloudflare/tableflip"
)

// takenOver is the name of the pipe that the old process closes when the new one may accept
// connections.
const takenOver = "taken over"

// startedByUpgrade is the environment variable that tableflip sets for a new process.
const startedByUpgrade = "TABLEFLIP_HAS_PARENT_7DIU3"

// ErrRefused is wrapped in the errors of upgrades that were not begun.
var ErrRefused = errors.New("refused")

var (
	errInProgress = refuse("an upgrade is in progress: wait until it has ended")
	errStopping   = refuse("this process is stopping")
	errNotReady   = refuse("this process is not ready yet: wait until it is")
	errNotAlone   = refuse("the process before this one still finishes its requests: wait until it has ended")
	errFirst      = refuse("this is process 1, with which its container ends: replace the container")
	errIgnored    = refuse("SIGHUP is ignored, as under nohup: set Upgrade.Signal to SIGUSR2")
	errOrphan     = errors.New("the process that this one was to replace ended too early")
)

func refuse(why string) error { return fmt.Errorf("%w: %s", ErrRefused, why) }

// Upgrader replaces this process, if Config.Signal allows it. Its methods may be called
// from any goroutine.
type Upgrader struct {
	cfg  Config
	flip *tableflip.Upgrader // nil if upgrades are off

	upgrading atomic.Bool
	stopping  atomic.Bool
	alone     atomic.Bool               // whether the replaced process has ended
	ready     atomic.Pointer[time.Time] // when Ready was called, or nil
	taken     *os.File                  // the pipe takenOver, or nil
}

// New returns the Upgrader of this process. A process can have only one whose
// Config.Signal is not None.
func New(cfg Config) (*Upgrader, error) {
	u := &Upgrader{cfg: cfg}
	if cfg.signal() == nil && os.Getenv(startedByUpgrade) == "" {
		return u, nil
	}
	flip, err := tableflip.New(tableflip.Options{UpgradeTimeout: cfg.Timeout, PIDFile: cfg.PIDFile})
	if err != nil {
		return nil, fmt.Errorf("upgrades in place are not possible: %w; set Upgrade.Signal to none", err)
	}
	u.flip = flip
	u.alone.Store(!flip.HasParent())
	if u.taken, err = flip.File(takenOver); err != nil {
		return nil, fmt.Errorf("the file %s of the replaced process cannot be used: %w", takenOver, err)
	}
	return u, nil
}

// Signal returns the signal that asks for an upgrade, nil for none.
func (u *Upgrader) Signal() os.Signal { return u.cfg.signal() }

// Replaces reports whether this process was started to replace another one. It must not
// accept connections before it is ready: the other one does.
func (u *Upgrader) Replaces() bool { return u.flip != nil && u.flip.HasParent() }

// Inherit returns the listener that the replaced process had under the name, or nil.
func (u *Upgrader) Inherit(name string) (net.Listener, error) {
	if u.flip == nil {
		return nil, nil
	}
	return u.flip.Listener("tcp", name)
}

// Pass makes a new process inherit a listener under the name. One that was inherited is
// passed already.
func (u *Upgrader) Pass(name string, ln net.Listener) error {
	if u.flip == nil {
		return nil
	}
	listener, ok := ln.(tableflip.Listener)
	if !ok {
		return fmt.Errorf("a new process cannot inherit a %T", ln)
	}
	return u.flip.AddListener("tcp", name, listener)
}

// Ready writes the PID file, tells the replaced process that it may stop, and waits until that
// has confirmed it. Then this process must accept connections, but not before: the replaced
// process ends this one if it is itself told to stop first. Ready closes inherited listeners
// that are not used.
func (u *Upgrader) Ready(ctx context.Context) error {
	if u.flip == nil {
		return nil
	}
	now := time.Now()
	u.ready.Store(&now)
	err := u.flip.Ready()
	switch {
	case err == nil:
		return u.awaitTakenOver(ctx)
	case u.cfg.PIDFile != "":
		return fmt.Errorf("taking over: %w; check Upgrade.PIDFile: %s", err, u.cfg.PIDFile)
	}
	return fmt.Errorf("taking over: %w", err)
}

// awaitTakenOver waits until the replaced process knows that this one is ready, or has died.
func (u *Upgrader) awaitTakenOver(ctx context.Context) error {
	if u.taken == nil {
		return nil
	}
	known := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, u.taken)
		_ = u.taken.Close()
		close(known)
	}()
	select {
	case <-known:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// AwaitReplaced waits until the replaced process has ended, and returns how long that
// took after Ready. It returns an error if that process ended before, or ctx ends.
func (u *Upgrader) AwaitReplaced(ctx context.Context) (time.Duration, error) {
	err := u.flip.WaitForParent(ctx)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	u.alone.Store(true)
	ready := u.ready.Load()
	if ready == nil {
		return 0, errors.Join(errOrphan, err)
	}
	return time.Since(*ready), nil
}

// Check returns an error that wraps ErrRefused if this process can never be replaced.
func (u *Upgrader) Check() error {
	switch {
	case os.Getpid() == 1:
		return errFirst
	case u.cfg.signal() == syscall.SIGHUP && signal.Ignored(syscall.SIGHUP):
		return errIgnored
	}
	return nil
}

// Upgrade starts the program of this process again, from the path and with the arguments
// by which it was started, and waits until the new process calls Ready. Then the caller
// must no longer accept connections. If there is an error, this process must go on: the
// new one has ended. Upgrade calls begun unless it refuses.
func (u *Upgrader) Upgrade(begun func()) error {
	if !u.upgrading.CompareAndSwap(false, true) {
		return errInProgress
	}
	defer u.upgrading.Store(false)
	switch err := u.Check(); {
	case err != nil:
		return err
	case u.stopping.Load():
		return errStopping
	case u.ready.Load() == nil:
		return errNotReady
	case !u.alone.Load():
		return errNotAlone
	}
	taken, end, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("a pipe to the new process: %w", err)
	}
	defer func() { _ = end.Close() }() // a new process that is not ready has been ended before
	if err := errors.Join(u.flip.AddFile(takenOver, taken), taken.Close()); err != nil {
		return fmt.Errorf("a pipe to the new process: %w", err)
	}
	begun()
	if err := u.flip.Upgrade(); err != nil {
		return errors.Join(err, u.keepPIDFile())
	}
	return nil
}

// keepPIDFile writes the id of this process into the PID file again: a new process writes its
// own shortly before it takes over, and may fail then.
func (u *Upgrader) keepPIDFile() error {
	text, err := os.ReadFile(u.cfg.PIDFile) // #nosec G304 -- the configured file
	own := strconv.Itoa(os.Getpid())
	if err != nil || strings.TrimSpace(string(text)) == own {
		return nil
	}
	next := u.cfg.PIDFile + ".new"
	return errors.Join(os.WriteFile(next, []byte(own), 0o600), os.Rename(next, u.cfg.PIDFile))
}

// Stop refuses further upgrades. One that is in progress fails.
func (u *Upgrader) Stop() {
	u.stopping.Store(true)
	if u.flip != nil {
		u.flip.Stop()
	}
}

// RemovePIDFile removes the PID file unless it is that of another process.
func (u *Upgrader) RemovePIDFile() error {
	text, err := os.ReadFile(u.cfg.PIDFile) // #nosec G304 -- the configured file
	if err != nil || strings.TrimSpace(string(text)) != strconv.Itoa(os.Getpid()) {
		return nil
	}
	return os.Remove(u.cfg.PIDFile)
}
