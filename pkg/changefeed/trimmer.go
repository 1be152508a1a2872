package changefeed

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/periodic"
)

// trimBatch keeps each deletion short, because it holds locks.
const trimBatch = 1000

// Config has the settings of a feed.
type Config struct {
	Retention    time.Duration `mapstructure:"Retention" usage:"how long changes are kept; a reader that is further behind must start over" validate:"gt=0"`
	TrimInterval time.Duration `mapstructure:"TrimInterval" usage:"how often older changes are removed" validate:"gt=0"`
	PollInterval time.Duration `mapstructure:"PollInterval" usage:"how often changes made by other replicas are looked for while a reader waits" validate:"min=10ms"`
}

// Default returns the defaults.
func Default() Config {
	return Config{Retention: 7 * 24 * time.Hour, TrimInterval: 10 * time.Minute, PollInterval: 200 * time.Millisecond}
}

// Trimmer removes changes that are older than Retention. A reader whose offset is
// older must start over.
type Trimmer struct {
	// Trim removes at most limit changes that were made before the given time, oldest
	// first, and returns their number.
	Trim      func(ctx context.Context, before time.Time, limit int) (int64, error)
	Retention time.Duration
	Interval  time.Duration
	Log       *zap.Logger
}

// Run trims at once and then every Interval until ctx ends; see periodic.Run. A failed
// round is logged.
func (t Trimmer) Run(ctx context.Context) error {
	return periodic.Run(ctx, t.Interval, t.round, func(removed int64, err error) {
		switch {
		case err != nil:
			t.Log.Warn("old changes could not be removed from the feed", zap.Error(err))
		case removed > 0:
			t.Log.Info("removed old changes from the feed", zap.Int64("changes", removed))
		}
	})
}

func (t Trimmer) round(ctx context.Context) (int64, error) {
	before := time.Now().Add(-t.Retention)
	var total int64
	for {
		removed, err := t.Trim(ctx, before, trimBatch)
		total += removed
		if err != nil || removed < trimBatch {
			return total, err
		}
	}
}
