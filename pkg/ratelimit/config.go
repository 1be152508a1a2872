package ratelimit

import (
	"fmt"
	"time"
)

// maxLimit is the maximum of rates and bursts, as in the tags of Config. The clock of
// Redis counts microseconds and can't measure higher rates.
const maxLimit = 100_000

// Config is the settings section Limits. The limits apply to each app key, and to
// each address of clients without a token.
type Config struct {
	Enabled         bool `mapstructure:"Enabled" usage:"limit the request rate of each client" live:"true"`
	ReadPerSecond   int  `mapstructure:"ReadPerSecond" usage:"reads per second, for each app key or else client address" live:"true" validate:"min=1,max=100000" allowed:"a number from 1 to 100000; set Enabled to false to disable all limits"`
	ReadBurst       int  `mapstructure:"ReadBurst" usage:"reads that may arrive at once" live:"true" validate:"min=1,max=100000" allowed:"a number from 1 to 100000; set Enabled to false to disable all limits"`
	SearchPerSecond int  `mapstructure:"SearchPerSecond" usage:"expensive reads per second, such as searches and lists with content, for each app key or else client address; they count as reads, too" live:"true" validate:"min=1,max=100000" allowed:"a number from 1 to 100000; set Enabled to false to disable all limits"`
	SearchBurst     int  `mapstructure:"SearchBurst" usage:"expensive reads that may arrive at once" live:"true" validate:"min=1,max=100000" allowed:"a number from 1 to 100000; set Enabled to false to disable all limits"`
	WritePerSecond  int  `mapstructure:"WritePerSecond" usage:"writes per second, for each app key or else client address" live:"true" validate:"min=1,max=100000" allowed:"a number from 1 to 100000; set Enabled to false to disable all limits"`
	WriteBurst      int  `mapstructure:"WriteBurst" usage:"writes that may arrive at once" live:"true" validate:"min=1,max=100000" allowed:"a number from 1 to 100000; set Enabled to false to disable all limits"`
	AuthPerMinute   int  `mapstructure:"AuthPerMinute" usage:"token requests, or wrong tokens of the feed, per minute, for each client address" live:"true" validate:"min=1,max=100000" allowed:"a number from 1 to 100000; set Enabled to false to disable all limits"`
	AuthBurst       int  `mapstructure:"AuthBurst" usage:"token requests that may arrive at once" live:"true" validate:"min=1,max=100000" allowed:"a number from 1 to 100000; set Enabled to false to disable all limits"`
	IPv6Prefix      int  `mapstructure:"IPv6Prefix" usage:"length of the prefix of IPv6 addresses that count as one address" live:"true" validate:"min=16,max=128"`
	IPv6SiteFactor  int  `mapstructure:"IPv6SiteFactor" usage:"how many times these limits all IPv6 addresses with the same prefix of 48 bits have together" live:"true" validate:"min=1,max=65536"`
}

// Default returns the defaults.
func Default() Config {
	return Config{
		Enabled:       true,
		ReadPerSecond: 50, ReadBurst: 100,
		SearchPerSecond: 10, SearchBurst: 20,
		WritePerSecond: 20, WriteBurst: 40,
		AuthPerMinute: 10, AuthBurst: 5,
		IPv6Prefix: 64, IPv6SiteFactor: 16,
	}
}

// limits are what requests are limited by under one configuration.
type limits struct {
	enabled    bool
	ipv6Prefix int
	classes    [classes]classLimits
}

// classLimits are the quotas of a class.
type classLimits struct {
	client, site quota
	policy       []string // RateLimit-Policy
}

func newLimits(cfg Config) *limits {
	l := &limits{enabled: cfg.Enabled, ipv6Prefix: cfg.IPv6Prefix}
	for c, q := range [classes]quota{
		read:   {cfg.ReadPerSecond, time.Second, cfg.ReadBurst},
		search: {cfg.SearchPerSecond, time.Second, cfg.SearchBurst},
		write:  {cfg.WritePerSecond, time.Second, cfg.WriteBurst},
		auth:   {cfg.AuthPerMinute, time.Minute, cfg.AuthBurst},
	} {
		policy := fmt.Sprintf("%q;q=%d;w=%d", class(c), q.burst, seconds(q.window()))
		l.classes[c] = classLimits{client: q, site: q.times(cfg.IPv6SiteFactor), policy: []string{policy}}
	}
	return l
}
