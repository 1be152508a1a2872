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

// Notify returns a channel that receives SIGINT, SIGTERM and SIGHUP, and the signals of
// further commands. Call it before anything is started: by default the former end the
// process at once. SIGHUP stays ignored if it was, as by nohup. SIGPIPE is ignored from
// now on: writing to a pipe that nobody reads is an error and does not end the process.
// stop restores the defaults of the signals that the channel receives.
func Notify(commands ...os.Signal) (ch <-chan os.Signal, stop func()) {
	heeded := append([]os.Signal{syscall.SIGINT, syscall.SIGTERM}, commands...)
	if !signal.Ignored(syscall.SIGHUP) {
		heeded = append(heeded, syscall.SIGHUP)
	}
	// Some commands, and the first that stops, its repetitions, and the one that forces the end.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, heeded...)
	signal.Ignore(syscall.SIGPIPE)
	return signals, func() { signal.Stop(signals) }
}

// OnSignal makes a signal run a command, in a goroutine of its own, instead of stopping
// the process. It must be called before Run.
func (p *Process) OnSignal(sig os.Signal, command func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.commands[sig] = command
}

// stops reports whether a signal stops the process. Otherwise it runs the command of the
// signal, if there is one.
func (p *Process) stops(sig os.Signal) bool {
	p.mu.Lock()
	command, ok := p.commands[sig]
	p.mu.Unlock()
	if ok {
		go func() { _ = p.protect(sig.String(), func() error { command(); return nil }) }()
		return false
	}
	return sig != syscall.SIGUSR1 && sig != syscall.SIGUSR2
}
