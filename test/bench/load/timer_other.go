//go:build !linux

package load

import "time"

type timer struct{}

func newTimer() (*timer, error) { return &timer{}, nil }

func (*timer) sleepUntil(due time.Time) error {
	time.Sleep(time.Until(due))
	return nil
}

func (*timer) close() {}
