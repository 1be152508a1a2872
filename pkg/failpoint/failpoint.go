// Package failpoint breaks a service on purpose, for the negative controls of
// the e2e test. It does so only in programs built with the tag failpoints: in
// all others Enabled is the constant false, and the compiler removes what
// depends on it.
package failpoint

import "time"

// Point is a place in the code at which a service can be broken.
type Point string

// The points, in the order in which a service comes to them.
const (
	// StartLate makes a service wait for StartDelay before it starts.
	StartLate Point = "start-late"
	// ForgetKeys ignores each Idempotency-Key.
	ForgetKeys Point = "forget-keys"
	// DropWrites deletes some of the articles that are then acknowledged.
	DropWrites Point = "drop-writes"
	// WriteTwice creates some articles twice.
	WriteTwice Point = "write-twice"
	// LoseAnswers answers some requests with an error after they were done.
	LoseAnswers Point = "lose-answers"
	// ExitOnSignal ends the process at the first signal.
	ExitOnSignal Point = "exit-on-signal"
	// SkipDrain shuts the servers down at the first signal.
	SkipDrain Point = "skip-drain"
	// DisableKeepAlives drains by http.Server.SetKeepAlivesEnabled(false), which
	// closes idle connections, in place of "Connection: close".
	DisableKeepAlives Point = "disable-keep-alives"
)

// Variable is the environment variable that lists the points that are enabled,
// separated by commas.
const Variable = "ACHILLES_FAILPOINTS"

// StartDelay is the delay of StartLate.
const StartDelay = 6 * time.Second

// All returns every point.
func All() []Point {
	return []Point{StartLate, ForgetKeys, DropWrites, WriteTwice, LoseAnswers, ExitOnSignal, SkipDrain, DisableKeepAlives}
}
