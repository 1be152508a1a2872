package health

import (
	"time"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// Config is the section Health.
type Config struct {
	Strict        bool          `mapstructure:"Strict" usage:"let a failing dependency make the service unready"`
	CheckInterval time.Duration `mapstructure:"CheckInterval" usage:"pause between two checks of a dependency" validate:"gt=0"`
	CheckTimeout  time.Duration `mapstructure:"CheckTimeout" usage:"how long one check may take" validate:"gt=0"`
	StaleAfter    time.Duration `mapstructure:"StaleAfter" usage:"age at which the result of a check is not believed any more"`
	FailAfter     int           `mapstructure:"FailAfter" usage:"failures in a row that make a dependency count as down, in strict mode" validate:"min=1"`
	PassAfter     int           `mapstructure:"PassAfter" usage:"passes in a row that make it count as up again, in strict mode" validate:"min=1"`
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
