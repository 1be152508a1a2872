// Package failpoint injects faults into a service, for the negative controls of the
// e2e test. It only does so in programs built with the tag failpoints. In other
// programs Enabled is constant, and the compiler removes the faults.
package failpoint

import "time"

// Point is a fault that can be injected.
type Point string

// The fail points, in the order in which a service reaches them.
const (
	// StartLate makes a service wait for StartDelay before it starts.
	StartLate Point = "start-late"
	// ForgetKeys ignores each Idempotency-Key.
	ForgetKeys Point = "forget-keys"
	// DropWrites deletes some articles and acknowledges them.
	DropWrites Point = "drop-writes"
	// WriteTwice creates some articles twice.
	WriteTwice Point = "write-twice"
	// LoseAnswers answers some requests with an error after they succeeded.
	LoseAnswers Point = "lose-answers"
	// ExitOnSignal ends the process at the first signal.
	ExitOnSignal Point = "exit-on-signal"
	// SkipDrain shuts the servers down at the first signal.
	SkipDrain Point = "skip-drain"
	// DisableKeepAlives drains with http.Server.SetKeepAlivesEnabled(false), which
	// closes idle connections, instead of "Connection: close".
	DisableKeepAlives Point = "disable-keep-alives"
)

// Variable is the environment variable with the comma-separated list of enabled points.
const Variable = "ACHILLES_FAILPOINTS"

// StartDelay is the delay of StartLate.
const StartDelay = 6 * time.Second

// All returns all points.
func All() []Point {
	return []Point{StartLate, ForgetKeys, DropWrites, WriteTwice, LoseAnswers, ExitOnSignal, SkipDrain, DisableKeepAlives}
}
