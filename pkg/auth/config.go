package auth

import (
	"time"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// Config is the settings section Auth, the same in every service.
type Config struct {
	KeysFile  string        `mapstructure:"KeysFile" usage:"file with the key set that signs and verifies tokens, as article key new prints it; reloaded when it changes; empty: every token is rejected"`
	Issuer    string        `mapstructure:"Issuer" usage:"issuer of the tokens (claim iss)" validate:"required" allowed:"a name, the same in every service, such as achilles"`
	Audience  string        `mapstructure:"Audience" usage:"audience of the tokens (claim aud)" validate:"required" allowed:"a name, the same in every service, such as achilles"`
	Lifetime  time.Duration `mapstructure:"Lifetime" usage:"how long a token is valid"`
	ClockSkew time.Duration `mapstructure:"ClockSkew" usage:"maximum difference between the clocks of two services" validate:"min=0,max=5m"`
}

// Default returns the defaults. Without a key set every token is rejected.
func Default() Config {
	return Config{Issuer: "achilles", Audience: "achilles", Lifetime: time.Hour, ClockSkew: 30 * time.Second}
}

// Validate returns an error if Lifetime is invalid: tokens contain times in
// seconds.
func (c Config) Validate() error {
	if c.Lifetime < time.Minute || c.Lifetime > 24*time.Hour || c.Lifetime%time.Second != 0 {
		return settings.Invalid("Lifetime", c.Lifetime.String(), "whole seconds from 1m to 24h")
	}
	return nil
}
