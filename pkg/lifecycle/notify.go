package lifecycle

import (
	"os"
	"os/signal"
	"syscall"
)

// Notify returns a channel that receives SIGINT and SIGTERM. Call it before
// anything is started: by default these signals end the process at once. The
// channel has room for two signals, because the second one forces the end. stop
// restores the defaults.
func Notify() (ch <-chan os.Signal, stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	return signals, func() { signal.Stop(signals) }
}
