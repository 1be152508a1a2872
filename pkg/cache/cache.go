// Package cache opens Redis: one server, one that Sentinels watch, or a cluster.
// Redis is optional: its users must also work if it is not configured or
// unavailable.
package cache

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tlsfiles"
)

// Config is the section Redis.
type Config struct {
	Addresses            []string        `mapstructure:"Addresses" usage:"address of the Redis server, or addresses of the nodes of a cluster or of Sentinels, host:port each; empty for none"`
	Cluster              bool            `mapstructure:"Cluster" usage:"whether the server is a cluster; several addresses without MasterName are one in any case"`
	MasterName           string          `mapstructure:"MasterName" usage:"name of the server that Sentinels watch; Addresses are then those of the Sentinels"`
	Username             string          `mapstructure:"Username" usage:"account at the Redis server, empty for the default one"`
	Password             settings.Secret `mapstructure:"Password" usage:"password of the account"`
	PasswordFile         string          `mapstructure:"PasswordFile" usage:"file to read the password from; read again for each new connection"`
	SentinelUsername     string          `mapstructure:"SentinelUsername" usage:"account at the Sentinels, empty for the default one"`
	SentinelPassword     settings.Secret `mapstructure:"SentinelPassword" usage:"password of the account at the Sentinels"`
	SentinelPasswordFile string          `mapstructure:"SentinelPasswordFile" usage:"file to read the password of the account at the Sentinels from"`
	DB                   int             `mapstructure:"DB" usage:"number of the Redis database" validate:"min=0"`
	TLS                  bool            `mapstructure:"TLS" usage:"encrypt the connections to Redis and to Sentinels"`
	CAFile               string          `mapstructure:"CAFile" usage:"file with the certificates of the authorities to trust, empty for those of the system; read again for each new connection"`
	CertFile             string          `mapstructure:"CertFile" usage:"file with the client certificate, empty for none; read again for each new connection"`
	KeyFile              string          `mapstructure:"KeyFile" usage:"file with the key of the client certificate"`
	Timeout              time.Duration   `mapstructure:"Timeout" usage:"how long one command may take" validate:"min=10ms"`
}

// Default returns a configuration without Redis.
func Default() Config { return Config{Timeout: 500 * time.Millisecond} }

// Validate reports addresses that are none, and settings that contradict each other.
func (c Config) Validate() error {
	var errs []error
	reject := func(broken bool, key, got, allowed string) {
		if broken {
			errs = append(errs, settings.Invalid(key, got, allowed))
		}
	}
	for _, address := range c.Addresses {
		reject(!settings.ValidHostPort(address), "Addresses", address, "host:port each, or an empty list for no Redis")
	}
	sentinel := c.MasterName != ""
	reject(sentinel && len(c.Addresses) == 0, "MasterName", c.MasterName, "empty without Addresses, which are those of the Sentinels")
	reject(sentinel && c.Cluster, "Cluster", "true", "false with MasterName: Sentinels watch a server that is no cluster")
	reject(!sentinel && c.SentinelUsername != "", "SentinelUsername", c.SentinelUsername, "empty without MasterName")
	reject(!sentinel && c.SentinelPassword != "", "SentinelPassword", c.SentinelPassword.String(), "empty without MasterName")
	reject(c.cluster() && c.DB != 0, "DB", strconv.Itoa(c.DB), "0: a cluster has no other database")
	reject(!c.TLS && c.CAFile != "", "CAFile", c.CAFile, "empty without TLS; set TLS to true")
	reject(!c.TLS && c.CertFile != "", "CertFile", c.CertFile, "empty without TLS; set TLS to true")
	return errors.Join(append(errs, c.tlsFiles().Validate())...)
}

func (c Config) tlsFiles() tlsfiles.Config {
	return tlsfiles.Config{CAFile: c.CAFile, CertFile: c.CertFile, KeyFile: c.KeyFile}
}

func (c Config) cluster() bool { return c.Cluster || c.MasterName == "" && len(c.Addresses) > 1 }

// Open returns a client, or nil if cfg has no address. It does not connect: the
// server may be unavailable at any time. A command ends with its context, and
// after a small multiple of Timeout, retries and connecting included. Each new
// connection reads the files of the password and of the certificates again.
func Open(cfg Config) redis.UniversalClient {
	if len(cfg.Addresses) == 0 {
		return nil
	}
	password := settings.NewSecretFile(cfg.PasswordFile, cfg.Password)
	options := &redis.UniversalOptions{
		Addrs:         cfg.Addresses,
		IsClusterMode: cfg.Cluster,
		MasterName:    cfg.MasterName,
		DB:            cfg.DB,
		CredentialsProviderContext: func(context.Context) (string, string, error) {
			secret, _ := password.Read() // the last one, if the file is just being replaced
			return cfg.Username, secret.Reveal(), nil
		},
		SentinelUsername:      cfg.SentinelUsername,
		SentinelPassword:      cfg.SentinelPassword.Reveal(),
		Dialer:                dialer(cfg),
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
	return redis.NewUniversalClient(options)
}

// dialer returns a function that connects to a node, encrypted if cfg.TLS is set. The
// certificate of the node must be for the name or address by which it is reached:
// with Sentinels and clusters, the one that they announce.
func dialer(cfg Config) func(ctx context.Context, network, address string) (net.Conn, error) {
	tcp := &net.Dialer{Timeout: cfg.Timeout}
	if !cfg.TLS {
		return tcp.DialContext
	}
	files := tlsfiles.New(cfg.tlsFiles())
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		config, err := files.Client(host)
		if config == nil {
			return nil, fmt.Errorf("TLS to Redis: %w", err)
		}
		return (&tls.Dialer{NetDialer: tcp, Config: config}).DialContext(ctx, network, address)
	}
}
