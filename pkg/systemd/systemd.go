// Package systemd tells systemd the state of a service, and takes the sockets that
// systemd has opened for it. Without systemd its functions do nothing.
package systemd

import (
	"fmt"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Ready tells systemd that this process serves and, if main is true, that it is the main
// process of the service. When systemd stops the service it doesn't wait for a main process
// that the former one has started, unless the unit has the option PIDFile=.
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
