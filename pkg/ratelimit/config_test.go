package ratelimit_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/ratelimit"
)

func TestValidate(t *testing.T) {
	require.NoError(t, ratelimit.Default().Validate())
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
				require.ErrorContains(t, cfg.Validate(), key+": ")
				require.ErrorContains(t, cfg.Validate(), "Enabled")
			}
			for _, right := range []int{1, 100_000} {
				cfg := ratelimit.Default()
				*field(&cfg) = right
				require.NoError(t, cfg.Validate())
			}
		})
	}
}
