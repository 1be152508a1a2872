package tag

import (
	"context"
	"time"
)

// trimBatch keeps each deletion short, because it holds locks.
const trimBatch = 1000

// Trimmer removes changes that are older than Retention. A reader whose offset is
// older starts from a snapshot.
type Trimmer struct {
	Store     Store
	Retention time.Duration
	Interval  time.Duration
	// Report is called after each round with the number of changes that were removed.
	Report func(removed int64, err error)
}

// Run trims at once and then every Interval until ctx ends. Several replicas
// may do so at the same time. A round that fails is reported and repeated.
func (t Trimmer) Run(ctx context.Context) error {
	ticker := time.NewTicker(t.Interval)
	defer ticker.Stop()
	for {
		removed, err := t.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		t.Report(removed, err)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (t Trimmer) round(ctx context.Context) (int64, error) {
	before := time.Now().Add(-t.Retention)
	var total int64
	for {
		removed, err := t.Store.Trim(ctx, before, trimBatch)
		total += removed
		if err != nil || removed < trimBatch {
			return total, err
		}
	}
}
