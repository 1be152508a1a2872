package health

import "time"

// Check is the state of a gate or of a dependency.
type Check struct {
	Name string
	// Gate reports whether it is a gate, which stays as it is once it is open.
	Gate bool
	// Result is "OK", or the reason that /readyz shows.
	Result string
	// Checked is the time of the last check, or the zero time before it and for gates.
	Checked time.Time
	// Error is the last error with all that is known of it, which may contain addresses and
	// accounts, and Failed its time. An error stays after it has passed.
	Error  error
	Failed time.Time
}

// failure is an error and its time.
type failure struct {
	err error
	at  time.Time
}

// note remembers an error; nil does nothing.
func (f *failure) note(err error) {
	if err != nil {
		*f = failure{err, time.Now()}
	}
}

// Status returns "ready", or why the process is not: "starting", "draining" or "unready".
func (h *Health) Status() string { return h.readiness(false).Status }

// Checks returns the state of each gate and dependency, in the order in which they were
// added.
func (h *Health) Checks() []Check {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]Check, len(h.checks))
	for i, check := range h.checks {
		all[i] = check()
	}
	return all
}

// result returns the text of a reason, or passed.
func result(reason error) string {
	if reason == nil {
		return passed
	}
	return reason.Error()
}
