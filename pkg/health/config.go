package health

import (
	"time"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// Config is the section Health.
type Config struct {
	Strict        bool          `mapstructure:"Strict" usage:"whether a failing dependency makes the service unready"`
	CheckInterval time.Duration `mapstructure:"CheckInterval" usage:"pause between two checks of a dependency" validate:"gt=0"`
	CheckTimeout  time.Duration `mapstructure:"CheckTimeout" usage:"how long one check may take" validate:"gt=0"`
	StaleAfter    time.Duration `mapstructure:"StaleAfter" usage:"age from which the result of a check counts as a failure"`
	FailAfter     int           `mapstructure:"FailAfter" usage:"consecutive failures after which a dependency counts as down, in strict mode" validate:"min=1"`
	PassAfter     int           `mapstructure:"PassAfter" usage:"consecutive passes after which it counts as up again, in strict mode" validate:"min=1"`
}

// Default returns the section's defaults.
func Default() Config {
	return Config{CheckInterval: 5 * time.Second, CheckTimeout: 2 * time.Second, StaleAfter: 30 * time.Second, FailAfter: 3, PassAfter: 2}
}

// Validate reports values that cannot work together.
func (c Config) Validate() error {
	if c.StaleAfter <= c.CheckInterval+c.CheckTimeout {
		return settings.Invalid("StaleAfter", c.StaleAfter.String(), "more than CheckInterval and CheckTimeout together")
	}
	return nil
}
