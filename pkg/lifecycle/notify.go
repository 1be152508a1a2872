package lifecycle

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

// RepeatInterval is how long after a signal another one counts as the same: supervisors
// signal a process and then its group.
const RepeatInterval = time.Second

// Notify returns a channel that receives SIGINT, SIGTERM and SIGHUP. Call it before
// anything is started: by default these signals end the process at once. SIGHUP stays
// ignored if it was, as by nohup. SIGPIPE is ignored from now on: writing to a pipe
// that nobody reads is an error and does not end the process. stop restores the
// defaults of the signals that the channel receives.
func Notify() (ch <-chan os.Signal, stop func()) {
	stopping := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		stopping = append(stopping, syscall.SIGHUP)
	}
	signals := make(chan os.Signal, 4) // the first, its repetitions, and the one that forces the end
	signal.Notify(signals, stopping...)
	signal.Ignore(syscall.SIGPIPE)
	return signals, func() { signal.Stop(signals) }
}
