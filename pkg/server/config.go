// Package server provides the HTTP server of every service: the engine with its
// middleware, the timeouts and limits, and the listeners.
package server

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// The values of Config.RunMode.
const (
	Debug   = "debug"
	Release = "release"
	Test    = "test"
)

const (
	// defaultMaxBodyBytes applies if Config.MaxBodyBytes is 0.
	defaultMaxBodyBytes = 1 << 20
	maxHeaderBytes      = 64 << 10
	// newConnTimeout is how long http.Server.Shutdown waits for a new connection
	// on which nothing has arrived.
	newConnTimeout = 5 * time.Second
)

// Config is the settings section Server.
type Config struct {
	RunMode            string        `mapstructure:"RunMode" usage:"debug, release or test: release logs JSON, debug logs text" validate:"oneof=debug release test"`
	Host               string        `mapstructure:"Host" usage:"address to serve on; empty: all"`
	HTTPPort           int           `mapstructure:"HttpPort" usage:"port to serve on; 0: any free port" validate:"min=0,max=65535" allowed:"a port from 0 to 65535"`
	AdminHost          string        `mapstructure:"AdminHost" usage:"address of the admin listener (metrics, profiles); empty: all"`
	AdminPort          int           `mapstructure:"AdminPort" usage:"port of the admin listener; 0: any free port" validate:"min=0,max=65535" allowed:"a port from 0 to 65535"`
	ReadHeaderTimeout  time.Duration `mapstructure:"ReadHeaderTimeout" usage:"timeout for reading the header of a request" validate:"gt=0"`
	ReadTimeout        time.Duration `mapstructure:"ReadTimeout" usage:"timeout for reading a whole request"`
	WriteTimeout       time.Duration `mapstructure:"WriteTimeout" usage:"timeout from the header of a request to the end of its response"`
	IdleTimeout        time.Duration `mapstructure:"IdleTimeout" usage:"timeout of idle connections; longer than that of any proxy in front" validate:"gt=0"`
	RequestTimeout     time.Duration `mapstructure:"RequestTimeout" usage:"timeout for processing a request; shorter than WriteTimeout" validate:"gt=0"`
	MaxBodyBytes       int64         `mapstructure:"MaxBodyBytes" usage:"maximum size of a request body in bytes; 0: a default of the service" validate:"min=0" allowed:"a number of bytes, or 0 for the default of the service"`
	DrainDelay         time.Duration `mapstructure:"DrainDelay" usage:"how long to keep serving after SIGTERM" validate:"min=0"`
	ShutdownTimeout    time.Duration `mapstructure:"ShutdownTimeout" usage:"timeout for requests to finish after DrainDelay"`
	CORSAllowedOrigins []string      `mapstructure:"CorsAllowedOrigins" usage:"origins whose pages may call the API, such as https://blog.example, or http://localhost:* for all ports; empty: none; *: all"`
	TrustedProxies     []string      `mapstructure:"TrustedProxies" usage:"addresses or networks of proxies whose X-Forwarded-For is trusted; empty: none" validate:"dive,ip|cidr" allowed:"IP addresses, or networks such as 10.0.0.0/8"`
	SharedMaxAge       time.Duration `mapstructure:"SharedMaxAge" usage:"how long shared caches, such as a CDN, may keep anonymous responses, in whole seconds; 0: they must revalidate"`
	ServedBy           string        `mapstructure:"ServedBy" usage:"name of this instance, sent as X-Served-By in every response, for tests and diagnosis; empty: not sent"`
}

// Default returns the defaults.
func Default() Config {
	return Config{
		RunMode:           Release,
		HTTPPort:          8080,
		AdminPort:         9090,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      18 * time.Second,
		IdleTimeout:       620 * time.Second, // Google's load balancer keeps connections for 600 s
		RequestTimeout:    15 * time.Second,
		DrainDelay:        5 * time.Second,
		ShutdownTimeout:   20 * time.Second,
		SharedMaxAge:      10 * time.Second,
	}
}

// Release reports whether the service runs in release mode.
func (c Config) Release() bool { return c.RunMode == Release }

// Lifecycle returns the timeouts of the shutdown.
func (c Config) Lifecycle() lifecycle.Config {
	return lifecycle.Config{DrainDelay: c.DrainDelay, ShutdownTimeout: c.ShutdownTimeout}
}

// Validate returns an error that names every invalid setting.
func (c Config) Validate() error {
	var errs []error
	check := func(ok bool, key string, got any, allowed string) {
		if !ok {
			errs = append(errs, settings.Invalid(key, fmt.Sprint(got), allowed))
		}
	}
	check(c.HTTPPort == 0 || c.HTTPPort != c.AdminPort, "AdminPort", c.AdminPort, "another port than HttpPort")
	check(c.ReadTimeout >= c.ReadHeaderTimeout, "ReadTimeout", c.ReadTimeout,
		fmt.Sprintf("at least ReadHeaderTimeout (%s)", c.ReadHeaderTimeout))
	check(c.WriteTimeout > c.RequestTimeout && c.WriteTimeout > c.ReadTimeout, "WriteTimeout", c.WriteTimeout,
		fmt.Sprintf("more than RequestTimeout (%s) and ReadTimeout (%s), so that timeout errors can still be sent", c.RequestTimeout, c.ReadTimeout))
	check(c.ShutdownTimeout >= c.WriteTimeout && c.ShutdownTimeout > newConnTimeout, "ShutdownTimeout", c.ShutdownTimeout,
		fmt.Sprintf("at least WriteTimeout (%s), so that every request can finish, and more than %s", c.WriteTimeout, newConnTimeout))
	for _, origin := range c.CORSAllowedOrigins {
		check(validOrigin(origin) || len(c.CORSAllowedOrigins) == 1 && origin == "*", "CorsAllowedOrigins", origin,
			"origins such as https://blog.example (lower case, scheme, host and port, nothing after them), http://localhost:* for all ports, or * alone")
	}
	check(c.SharedMaxAge >= 0 && c.SharedMaxAge%time.Second == 0, "SharedMaxAge", c.SharedMaxAge, "whole seconds, such as 10s, or 0")
	check(validServedBy(c.ServedBy), "ServedBy", c.ServedBy, "up to 253 letters, digits, dots, dashes and underscores")
	return errors.Join(errs...)
}

// anyPort is the suffix of an origin that allows all ports of a host.
const anyPort = ":*"

func validOrigin(origin string) bool {
	origin, all := strings.CutSuffix(origin, anyPort)
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && !strings.Contains(u.Host, "*") &&
		validURLPort(u.Port()) && (u.Port() == "" || !all) && origin == strings.ToLower(u.Scheme+"://"+u.Host) // as browsers send it
}

func validURLPort(port string) bool {
	if port == "" {
		return true
	}
	number, err := strconv.Atoi(port)
	return err == nil && number >= 0 && number <= 65535
}
