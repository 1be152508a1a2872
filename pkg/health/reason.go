package health

import (
	"context"
	"errors"
	"net"
	"os"
)

// Reason is an error whose text may be shown to anyone who can ask /readyz. Of
// every other error only its class is shown, because its text may name
// addresses and accounts.
type Reason string

func (r Reason) Error() string { return string(r) }

const (
	timedOut    Reason = "timeout"
	unreachable Reason = "unreachable"
	failed      Reason = "failing"
	stale       Reason = "stale"
	notChecked  Reason = "not checked yet"
)

// shown returns what of err may be shown: nil or a Reason.
func shown(err error) error {
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
