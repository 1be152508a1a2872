package replay

import (
	"context"
	"time"

	"go.uber.org/zap"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/periodic"
)

// sweepBatch keeps each transaction short, because it holds locks.
const sweepBatch = 100

// Config is the section Idempotency.
type Config struct {
	Retention     time.Duration `mapstructure:"Retention" usage:"how long a request with an Idempotency-Key can be repeated" validate:"min=1m"`
	SweepInterval time.Duration `mapstructure:"SweepInterval" usage:"how often older keys are removed" validate:"gt=0"`
}

// Default returns a retention of one day.
func Default() Config {
	return Config{Retention: 24 * time.Hour, SweepInterval: 10 * time.Minute}
}

// Sweeper removes expired keys with their objects. Create ignores expired keys
// in any case.
type Sweeper struct {
	DB       *database.DB
	Interval time.Duration
	Log      *zap.Logger
}

// Run sweeps at once and then every Interval until ctx ends; see periodic.Run. A failed
// sweep is logged.
func (s Sweeper) Run(ctx context.Context) error {
	return periodic.Run(ctx, s.Interval, s.Sweep, func(removed int64, err error) {
		switch {
		case err != nil:
			s.Log.Warn("old idempotency keys could not be removed", zap.Error(err))
		case removed > 0:
			s.Log.Info("removed old idempotency keys", zap.Int64("keys", removed))
		}
	})
}

// Sweep removes the keys that have expired and returns their number.
func (s Sweeper) Sweep(ctx context.Context) (removed int64, err error) {
	for {
		found, gone, err := s.batch(ctx)
		removed += gone
		if err != nil || found < sweepBatch {
			return removed, err
		}
	}
}

// batch removes the oldest expired keys, one by one: to remove many at once, a
// server may read and lock the whole table. A key that a request has claimed
// again in the meantime stays.
func (s Sweeper) batch(ctx context.Context) (found int, removed int64, err error) {
	err = s.DB.InTx(ctx, func(tx *gorm.DB) error {
		var ids [][]byte
		expired := tx.Where("expires_at <= ?", tx.NowFunc()).Session(&gorm.Session{})
		err := expired.Model(&keyRow{}).Order("expires_at").Limit(sweepBatch).Pluck("id", &ids).Error
		if found = len(ids); err != nil || found == 0 {
			return err
		}
		removed = 0
		for _, id := range ids {
			result := expired.Where("id = ?", id).Delete(&keyRow{})
			if result.Error != nil {
				return result.Error
			}
			removed += result.RowsAffected
		}
		return nil
	})
	return found, removed, err
}
