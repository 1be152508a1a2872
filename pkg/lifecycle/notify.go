package lifecycle

import (
	"os"
	"os/signal"
	"syscall"
)

// Notify asks the operating system for SIGINT and SIGTERM. Call it before
// anything listens, so that no signal finds the process with Go's default of
// dying at once. The channel has room for the first signal and for the second
// one that forces the end; stop gives the signals back to their defaults.
func Notify() (ch <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	return signals, func() { signal.Stop(signals) }
}
