// Package cache opens Redis. Redis is optional: its users must also work if it is
// not configured or unavailable.
package cache

import (
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// Config is the section Redis.
type Config struct {
	Host         string          `mapstructure:"Host" usage:"address of the Redis server, host:port; empty for none"`
	Username     string          `mapstructure:"Username" usage:"account at the Redis server, empty for the default one"`
	Password     settings.Secret `mapstructure:"Password" usage:"password of the account"`
	PasswordFile string          `mapstructure:"PasswordFile" usage:"file to read the password from"`
	DB           int             `mapstructure:"DB" usage:"number of the Redis database" validate:"min=0"`
	TLS          bool            `mapstructure:"TLS" usage:"encrypt the connection to the Redis server"`
	Timeout      time.Duration   `mapstructure:"Timeout" usage:"how long one command may take" validate:"min=10ms"`
}

// Default returns a configuration without Redis.
func Default() Config { return Config{Timeout: 500 * time.Millisecond} }

// Validate reports a Host that is not an address.
func (c Config) Validate() error {
	if c.Host != "" && !validAddress(c.Host) {
		return settings.Invalid("Host", c.Host, "host:port, or empty for no Redis")
	}
	return nil
}

func validAddress(host string) bool {
	name, port, err := net.SplitHostPort(host)
	number, notNumber := strconv.Atoi(port)
	return err == nil && notNumber == nil && strings.TrimSpace(name) != "" && number >= 1 && number <= 65535
}

// Open returns a client, or nil if cfg.Host is empty. It does not connect: the
// server may be unavailable at any time. A command ends with its context, and
// after a small multiple of Timeout, retries and connecting included.
func Open(cfg Config) *redis.Client {
	if cfg.Host == "" {
		return nil
	}
	options := &redis.Options{
		Addr:                  cfg.Host,
		Username:              cfg.Username,
		Password:              cfg.Password.Reveal(),
		DB:                    cfg.DB,
		DialTimeout:           cfg.Timeout,
		ReadTimeout:           cfg.Timeout,
		WriteTimeout:          cfg.Timeout,
		PoolTimeout:           cfg.Timeout,
		DialerRetries:         1,
		MaxRetries:            1, // a connection to a server that was restarted fails once
		MinRetryBackoff:       8 * time.Millisecond,
		MaxRetryBackoff:       50 * time.Millisecond,
		ContextTimeoutEnabled: true,
		DisableIdentity:       true,
		// Only Redis' managed services support them.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if cfg.TLS {
		host, _, _ := net.SplitHostPort(cfg.Host)
		options.TLSConfig = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	return redis.NewClient(options)
}
