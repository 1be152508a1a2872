package ratelimit

import (
	"errors"
	"strconv"
	"time"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// maxLimit is the maximum of rates and bursts. The clock of Redis counts
// microseconds and can't measure higher rates.
const maxLimit = 100_000

// Config is the settings section Limits. The limits apply to each app key, and to
// each address of clients without a token.
type Config struct {
	Enabled        bool `mapstructure:"Enabled" usage:"limit the request rate of each client"`
	ReadPerSecond  int  `mapstructure:"ReadPerSecond" usage:"reads per second, for each app key or else client address"`
	ReadBurst      int  `mapstructure:"ReadBurst" usage:"reads that may arrive at once"`
	WritePerSecond int  `mapstructure:"WritePerSecond" usage:"writes per second, for each app key or else client address"`
	WriteBurst     int  `mapstructure:"WriteBurst" usage:"writes that may arrive at once"`
	AuthPerMinute  int  `mapstructure:"AuthPerMinute" usage:"token requests per minute, for each client address"`
	AuthBurst      int  `mapstructure:"AuthBurst" usage:"token requests that may arrive at once"`
}

// Default returns the defaults.
func Default() Config {
	return Config{
		Enabled:       true,
		ReadPerSecond: 50, ReadBurst: 100,
		WritePerSecond: 20, WriteBurst: 40,
		AuthPerMinute: 10, AuthBurst: 5,
	}
}

// Validate returns an error that names every invalid setting, even if the limits are
// disabled.
func (c Config) Validate() error {
	var errs []error
	check := func(key string, got int) {
		if got < 1 || got > maxLimit {
			errs = append(errs, settings.Invalid(key, strconv.Itoa(got),
				"a number from 1 to "+strconv.Itoa(maxLimit)+"; set Enabled to false to disable all limits"))
		}
	}
	check("ReadPerSecond", c.ReadPerSecond)
	check("ReadBurst", c.ReadBurst)
	check("WritePerSecond", c.WritePerSecond)
	check("WriteBurst", c.WriteBurst)
	check("AuthPerMinute", c.AuthPerMinute)
	check("AuthBurst", c.AuthBurst)
	return errors.Join(errs...)
}

func (c Config) read() quota  { return quota{c.ReadPerSecond, time.Second, c.ReadBurst} }
func (c Config) write() quota { return quota{c.WritePerSecond, time.Second, c.WriteBurst} }
func (c Config) auth() quota  { return quota{c.AuthPerMinute, time.Minute, c.AuthBurst} }
