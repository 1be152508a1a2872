package idempotency

import (
	"context"
	"time"

	"go.uber.org/zap"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// sweepBatch keeps each transaction short, because it holds locks.
const sweepBatch = 100

// Config is the section Idempotency.
type Config struct {
	Retention     time.Duration `mapstructure:"Retention" usage:"how long a request with an Idempotency-Key can be repeated and gets its first answer"`
	SweepInterval time.Duration `mapstructure:"SweepInterval" usage:"how often older keys and answers are removed"`
}

// Default keeps answers for a day.
func Default() Config {
	return Config{Retention: 24 * time.Hour, SweepInterval: 10 * time.Minute}
}

// Validate says what is wrong with the section.
func (c Config) Validate() error {
	switch {
	case c.Retention < time.Minute:
		return settings.Invalid("Retention", c.Retention.String(), "a duration of at least 1m, such as 24h")
	case c.SweepInterval <= 0:
		return settings.Invalid("SweepInterval", c.SweepInterval.String(), "a duration above 0, such as 10m")
	}
	return nil
}

// Sweeper removes the keys whose time is over, with their answers. InTx takes
// no notice of those in any case.
type Sweeper struct {
	DB       *database.DB
	Interval time.Duration
	Log      *zap.Logger
}

// Run sweeps at once and then every Interval until ctx ends. Several replicas
// may do so at the same time. A failure is logged, and the next try comes.
func (s Sweeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.Interval)
	defer ticker.Stop()
	for {
		removed, err := s.Sweep(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			s.Log.Warn("old idempotency keys could not be removed", zap.Error(err))
		case removed > 0:
			s.Log.Info("removed old idempotency keys", zap.Int64("keys", removed))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Sweep removes what is too old now, and returns how many keys those were.
func (s Sweeper) Sweep(ctx context.Context) (removed int64, err error) {
	for {
		found, gone, err := s.batch(ctx)
		removed += gone
		if err != nil || found < sweepBatch {
			return removed, err
		}
	}
}

// batch removes the oldest keys, but those that are in use again by then. One by
// one: to remove many at once a server may read, and lock, the whole table.
func (s Sweeper) batch(ctx context.Context) (found int, removed int64, err error) {
	err = s.DB.InTx(ctx, func(tx *gorm.DB) error {
		var ids [][]byte
		over := tx.Where("expires_at <= ?", tx.NowFunc()).Session(&gorm.Session{})
		err := over.Model(&keyRow{}).Order("expires_at").Limit(sweepBatch).Pluck("id", &ids).Error
		if found = len(ids); err != nil || found == 0 {
			return err
		}
		removed = 0
		for _, id := range ids {
			result := over.Where("id = ?", id).Delete(&keyRow{})
			if result.Error != nil {
				return result.Error
			}
			removed += result.RowsAffected
		}
		return nil
	})
	return found, removed, err
}
