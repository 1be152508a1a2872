package auth

import (
	"errors"
	"time"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// Config is the settings section Auth, the same in every service.
type Config struct {
	KeysFile  string        `mapstructure:"KeysFile" usage:"file with the key set that signs and verifies tokens, as article key new prints it; reloaded when it changes; empty: every token is rejected"`
	Issuer    string        `mapstructure:"Issuer" usage:"issuer of the tokens (claim iss)"`
	Audience  string        `mapstructure:"Audience" usage:"audience of the tokens (claim aud)"`
	Lifetime  time.Duration `mapstructure:"Lifetime" usage:"how long a token is valid"`
	ClockSkew time.Duration `mapstructure:"ClockSkew" usage:"maximum difference between the clocks of two services"`
}

// Default returns the defaults. Without a key set every token is rejected.
func Default() Config {
	return Config{Issuer: "achilles", Audience: "achilles", Lifetime: time.Hour, ClockSkew: 30 * time.Second}
}

// Validate returns an error that names every invalid setting.
func (c Config) Validate() error {
	var problems []error
	check := func(ok bool, key, got, allowed string) {
		if !ok {
			problems = append(problems, settings.Invalid(key, got, allowed))
		}
	}
	check(c.Issuer != "", "Issuer", c.Issuer, "a name, the same in every service, such as achilles")
	check(c.Audience != "", "Audience", c.Audience, "a name, the same in every service, such as achilles")
	check(c.Lifetime >= time.Minute && c.Lifetime <= 24*time.Hour && c.Lifetime%time.Second == 0,
		"Lifetime", c.Lifetime.String(), "whole seconds from 1m to 24h")
	check(c.ClockSkew >= 0 && c.ClockSkew <= 5*time.Minute, "ClockSkew", c.ClockSkew.String(), "0 to 5m")
	return errors.Join(problems...)
}
