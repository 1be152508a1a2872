package health

import (
	"context"
	"errors"
	"net"
	"os"
)

// Reason is an error whose text /readyz may show. Of other errors it shows only the
// class, because their texts may contain addresses and accounts.
type Reason string

func (r Reason) Error() string { return string(r) }

const (
	timedOut    Reason = "timeout"
	unreachable Reason = "unreachable"
	failed      Reason = "failing"
	stale       Reason = "stale"
	notChecked  Reason = "not checked yet"
)

// reasonOf returns what may be shown of err: nil or a Reason.
func reasonOf(err error) error {
	var reason Reason
	var network net.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &reason):
		return reason
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return timedOut
	case errors.As(err, &network):
		if network.Timeout() {
			return timedOut
		}
		return unreachable
	default:
		return failed
	}
}
