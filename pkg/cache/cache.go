// Package cache opens Redis, which Achilles can do without: whoever uses it
// goes on when it is not configured, and when it does not answer.
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

// Config says which Redis to use.
type Config struct {
	Host         string          `mapstructure:"Host" usage:"address of the Redis server, host:port; empty for none"`
	Username     string          `mapstructure:"Username" usage:"account at the Redis server, empty for the default one"`
	Password     settings.Secret `mapstructure:"Password" usage:"password of the account"`
	PasswordFile string          `mapstructure:"PasswordFile" usage:"file to read the password from"`
	DB           int             `mapstructure:"DB" usage:"number of the Redis database" validate:"min=0"`
	TLS          bool            `mapstructure:"TLS" usage:"encrypt the connection to the Redis server"`
	Timeout      time.Duration   `mapstructure:"Timeout" usage:"longest time one command may take" validate:"min=10ms"`
}

// Default is the configuration without Redis.
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

// Open returns a client, or nil when cfg names no server. It does not connect:
// the server may come later, and go and return. A command ends with its context
// and, tries and connecting included, after a small multiple of Timeout.
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
		MaxRetries:            1, // a connection from before a restart of the server costs one try
		MinRetryBackoff:       8 * time.Millisecond,
		MaxRetryBackoff:       50 * time.Millisecond,
		ContextTimeoutEnabled: true,
		DisableIdentity:       true,
		// These are for Redis' managed services; a plain server only refuses them.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if cfg.TLS {
		host, _, _ := net.SplitHostPort(cfg.Host)
		options.TLSConfig = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	return redis.NewClient(options)
}
