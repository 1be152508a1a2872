// Package systemd tells systemd the state of a service, and takes the sockets that
// systemd has opened for it. Without systemd its functions do nothing.
package systemd

import (
	"fmt"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Ready tells that this process serves. With main it tells, too, that it is the main
// process of the service. If it was started by the former one, systemd doesn't wait for
// its end when it stops the service: the option PIDFile= of the unit avoids that.
func Ready(main bool) error {
	assignments := []string{daemon.SdNotifyReady, status("serving")}
	if main {
		assignments = append(assignments, fmt.Sprintf("MAINPID=%d", os.Getpid()))
	}
	return notify(assignments...)
}

// Reloading tells that a new process is being started, until Ready or NotReloaded is
// called.
func Reloading() error {
	since := strings.TrimSpace(daemon.SdNotifyMonotonicUsec()) // for Type=notify-reload
	return notify(daemon.SdNotifyReloading, since, status("starting a new process"))
}

// NotReloaded tells that this process serves on, because no new one took its place.
func NotReloaded(why error) error {
	return notify(daemon.SdNotifyReady, status("serving, not replaced: "+why.Error()))
}

// Stopping tells that the service stops.
func Stopping() error { return notify(daemon.SdNotifyStopping, status("draining")) }

// status returns the assignment of the text that systemctl status shows.
func status(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", "; ") }

func notify(assignments ...string) error {
	if _, err := daemon.SdNotify(false, strings.Join(assignments, "\n")); err != nil {
		return fmt.Errorf("systemd was not told the state of the service: %w", err)
	}
	return nil
}
