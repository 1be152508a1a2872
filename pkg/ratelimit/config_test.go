package ratelimit_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func TestValidate(t *testing.T) {
	valid := ratelimit.Default()
	require.NoError(t, settings.Validate(&valid))
	cases := map[string]func(*ratelimit.Config) *int{
		"ReadPerSecond":  func(c *ratelimit.Config) *int { return &c.ReadPerSecond },
		"ReadBurst":      func(c *ratelimit.Config) *int { return &c.ReadBurst },
		"WritePerSecond": func(c *ratelimit.Config) *int { return &c.WritePerSecond },
		"WriteBurst":     func(c *ratelimit.Config) *int { return &c.WriteBurst },
		"AuthPerMinute":  func(c *ratelimit.Config) *int { return &c.AuthPerMinute },
		"AuthBurst":      func(c *ratelimit.Config) *int { return &c.AuthBurst },
	}
	for key, field := range cases {
		t.Run(key, func(t *testing.T) {
			for _, wrong := range []int{-1, 0, 100_001} {
				cfg := ratelimit.Default()
				*field(&cfg) = wrong
				require.ErrorContains(t, settings.Validate(&cfg), key+": ")
				require.ErrorContains(t, settings.Validate(&cfg), "set Enabled to false to disable all limits")
			}
			for _, right := range []int{1, 100_000} {
				cfg := ratelimit.Default()
				*field(&cfg) = right
				require.NoError(t, settings.Validate(&cfg))
			}
		})
	}
}

func TestValidateIPv6(t *testing.T) {
	for _, c := range []struct {
		prefix, factor int
		want           string
	}{
		{64, 1, ""}, {128, 65536, ""}, {16, 16, ""},
		{15, 16, "IPv6Prefix: 15 is not allowed; it must be 16 to 128"}, {129, 16, "IPv6Prefix: 129 is not allowed"},
		{64, 0, "IPv6SiteFactor: 0 is not allowed; it must be 1 to 65536"}, {64, 65537, "IPv6SiteFactor: 65537 is not allowed"},
	} {
		cfg := ratelimit.Default()
		cfg.IPv6Prefix, cfg.IPv6SiteFactor = c.prefix, c.factor
		if err := settings.Validate(&cfg); c.want == "" {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, c.want)
		}
	}
}
