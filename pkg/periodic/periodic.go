// Package periodic repeats a task that cleans up, such as removing expired rows.
package periodic

import (
	"context"
	"time"
)

// Run calls task at once and then every interval, and report with its results, until
// ctx ends. Several replicas may run the same task at the same time. A task that fails
// is repeated like any other; one that ctx has ended is not reported. Run returns nil.
func Run(ctx context.Context, interval time.Duration, task func(context.Context) (removed int64, err error), report func(removed int64, err error)) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		removed, err := task(ctx)
		if ctx.Err() != nil {
			return nil
		}
		report(removed, err)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
