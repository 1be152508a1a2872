package health

import (
	"errors"
	"strconv"
	"time"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// Config is the section Health.
type Config struct {
	Strict        bool          `mapstructure:"Strict" usage:"let a failing dependency make the service unready"`
	CheckInterval time.Duration `mapstructure:"CheckInterval" usage:"pause between two checks of a dependency"`
	CheckTimeout  time.Duration `mapstructure:"CheckTimeout" usage:"how long one check may take"`
	StaleAfter    time.Duration `mapstructure:"StaleAfter" usage:"age at which the result of a check is not believed any more"`
	FailAfter     int           `mapstructure:"FailAfter" usage:"failures in a row that make a dependency count as down, in strict mode"`
	PassAfter     int           `mapstructure:"PassAfter" usage:"passes in a row that make it count as up again, in strict mode"`
}

// Default returns the section's defaults.
func Default() Config {
	return Config{CheckInterval: 5 * time.Second, CheckTimeout: 2 * time.Second, StaleAfter: 30 * time.Second, FailAfter: 3, PassAfter: 2}
}

// Validate returns every value that is not allowed.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, key, got, allowed string) {
		if !ok {
			errs = append(errs, settings.Invalid(key, got, allowed))
		}
	}
	check(c.CheckInterval > 0, "CheckInterval", c.CheckInterval.String(), "more than 0")
	check(c.CheckTimeout > 0, "CheckTimeout", c.CheckTimeout.String(), "more than 0")
	check(c.StaleAfter > c.CheckInterval+c.CheckTimeout, "StaleAfter", c.StaleAfter.String(), "more than CheckInterval and CheckTimeout together")
	check(c.FailAfter > 0, "FailAfter", strconv.Itoa(c.FailAfter), "1 or more")
	check(c.PassAfter > 0, "PassAfter", strconv.Itoa(c.PassAfter), "1 or more")
	return errors.Join(errs...)
}
