package ratelimit

import (
	"errors"
	"strconv"
	"time"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// most bounds rates and bursts: beyond it, the clock of Redis, which counts
// microseconds, cannot tell one request from the next.
const most = 100_000

// Config is the section Limits. What it allows is for each app key, and for
// each address of those who show none.
type Config struct {
	Enabled        bool `mapstructure:"Enabled" usage:"limit how often a client may ask"`
	ReadPerSecond  int  `mapstructure:"ReadPerSecond" usage:"reads a second, for each app key or else client address"`
	ReadBurst      int  `mapstructure:"ReadBurst" usage:"reads that may come at once"`
	WritePerSecond int  `mapstructure:"WritePerSecond" usage:"writes a second, for each app key or else client address"`
	WriteBurst     int  `mapstructure:"WriteBurst" usage:"writes that may come at once"`
	AuthPerMinute  int  `mapstructure:"AuthPerMinute" usage:"requests for a token a minute, for each client address"`
	AuthBurst      int  `mapstructure:"AuthBurst" usage:"requests for a token that may come at once"`
}

// Default returns the section's defaults.
func Default() Config {
	return Config{
		Enabled:       true,
		ReadPerSecond: 50, ReadBurst: 100,
		WritePerSecond: 20, WriteBurst: 40,
		AuthPerMinute: 10, AuthBurst: 5,
	}
}

// Validate returns every value that is not allowed, also of limits that are
// off: they may be turned on by one word.
func (c Config) Validate() error {
	var errs []error
	check := func(key string, got int) {
		if got < 1 || got > most {
			errs = append(errs, settings.Invalid(key, strconv.Itoa(got),
				"a number from 1 to "+strconv.Itoa(most)+"; for no limits at all set Enabled to false"))
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
