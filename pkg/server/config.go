// Package server provides the HTTP server of every service: the engine with its
// middleware, the timeouts and limits, and the listeners.
package server

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/pkg/memory"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// The values of Config.RunMode.
const (
	Debug   = "debug"
	Release = "release"
	Test    = "test"
)

const (
	// maxHeaderBytes times MaxConnections is memory that clients can take.
	maxHeaderBytes = 16 << 10
	// newConnTimeout is how long http.Server.Shutdown waits for a new connection
	// on which nothing has arrived.
	newConnTimeout = 5 * time.Second
)

// Config is the settings section Server.
type Config struct {
	RunMode            string        `mapstructure:"RunMode" usage:"debug, release or test: release logs JSON, debug logs text" validate:"oneof=debug release test"`
	Host               string        `mapstructure:"Host" usage:"address to serve on; empty: all"`
	HTTPPort           int           `mapstructure:"HttpPort" usage:"port to serve on; 0: any free port" validate:"min=0,max=65535" allowed:"a port from 0 to 65535"`
	AdminHost          string        `mapstructure:"AdminHost" usage:"address of the admin listener (metrics, profiles); 0.0.0.0 or empty: all, which clients must not reach"`
	AdminPort          int           `mapstructure:"AdminPort" usage:"port of the admin listener; 0: any free port" validate:"min=0,max=65535" allowed:"a port from 0 to 65535"`
	ReadHeaderTimeout  time.Duration `mapstructure:"ReadHeaderTimeout" usage:"timeout for reading the header of a request, from its first byte" validate:"gt=0"`
	ReadTimeout        time.Duration `mapstructure:"ReadTimeout" usage:"timeout for reading a whole request"`
	WriteTimeout       time.Duration `mapstructure:"WriteTimeout" usage:"timeout from the header of a request to the end of its response"`
	IdleTimeout        time.Duration `mapstructure:"IdleTimeout" usage:"timeout of idle connections, also before the first request; longer than that of any proxy in front" validate:"gt=0"`
	RequestTimeout     time.Duration `mapstructure:"RequestTimeout" usage:"timeout for processing a request; shorter than WriteTimeout" live:"true" validate:"gt=0"`
	MaxConnections     int           `mapstructure:"MaxConnections" usage:"maximum number of open connections, about 20 KB of memory each; at the maximum one that waits for its client is closed for a new one" validate:"min=32" allowed:"at least 32"`
	MaxRequests        int           `mapstructure:"MaxRequests" usage:"maximum number of requests in progress, a quarter of them of one client; half of them may be reads that run; more are answered with 503 and Retry-After" validate:"min=1" allowed:"at least 1"`
	MaxResponseMemory  int64         `mapstructure:"MaxResponseMemory" usage:"memory in bytes that the data of all responses may take at once; what exceeds it waits for up to 3 s and then gets 503" validate:"min=33554432" allowed:"33554432 (32 MiB) or more"`
	DrainDelay         time.Duration `mapstructure:"DrainDelay" usage:"how long to keep serving after SIGTERM" validate:"min=0"`
	ShutdownTimeout    time.Duration `mapstructure:"ShutdownTimeout" usage:"timeout for requests to finish after DrainDelay"`
	CORSAllowedOrigins []string      `mapstructure:"CorsAllowedOrigins" usage:"origins whose pages may call the API, such as https://blog.example, or http://localhost:* for all ports; empty: none; *: all" live:"true"`
	CORSAllowedHeaders []string      `mapstructure:"CorsAllowedHeaders" usage:"headers that pages of these origins may send" live:"true"`
	CORSExposedHeaders []string      `mapstructure:"CorsExposedHeaders" usage:"headers of responses that pages of these origins may read" live:"true"`
	TrustedProxies     []string      `mapstructure:"TrustedProxies" usage:"addresses or networks of proxies whose X-Forwarded-For is trusted; empty: none" live:"true" validate:"dive,ip|cidr" allowed:"IP addresses, or networks such as 10.0.0.0/8"`
	TrustedHops        int           `mapstructure:"TrustedHops" usage:"number of trusted proxies in a row in front; each appends to X-Forwarded-For" live:"true" validate:"min=1,max=16"`
	PathPrefix         string        `mapstructure:"PathPrefix" usage:"what a proxy removes from the front of the path, such as /blog; empty: as a trusted proxy says in X-Forwarded-Prefix" live:"true"`
	SharedMaxAge       time.Duration `mapstructure:"SharedMaxAge" usage:"how long shared caches, such as a CDN, may keep anonymous responses, in whole seconds; 0: they must revalidate" live:"true"`
	Compression        []string      `mapstructure:"Compression" usage:"methods of compression, the preferred one first: zstd, gzip; empty: none" live:"true" validate:"dive,oneof=zstd gzip" allowed:"zstd or gzip, or an empty list"`
	SlowRequestTrace   time.Duration `mapstructure:"SlowRequestTrace" usage:"how long a request may take before its execution trace is kept, for /debug/slow on the admin port; up to 10 s; 0: none are recorded" validate:"min=0,max=10s" allowed:"a duration up to 10s, or 0 for none"`
	ReadOnly           bool          `mapstructure:"ReadOnly" usage:"answer writes with 503 and Retry-After, while reads go on" live:"true"`
	Middleware         []string      `mapstructure:"Middleware" usage:"middleware that requests pass through, in this order; docs/middleware.md has what each does and which orders are safe"`
	ServedBy           string        `mapstructure:"ServedBy" usage:"name of this instance, sent as X-Served-By in every response, for tests and diagnosis; empty: not sent"`
}

// Default returns the defaults.
func Default() Config {
	return Config{
		RunMode:           Release,
		HTTPPort:          8080,
		AdminHost:         "127.0.0.1",
		AdminPort:         9090,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      18 * time.Second,
		IdleTimeout:       620 * time.Second, // Google's load balancer keeps connections for 600 s
		RequestTimeout:    15 * time.Second,
		MaxConnections:    1000,
		MaxRequests:       1000,
		MaxResponseMemory: 40 << 20, // beside the rest of a pod with 256 MiB, see ADR 0026
		DrainDelay:        5 * time.Second,
		ShutdownTimeout:   20 * time.Second,
		CORSAllowedHeaders: []string{
			"Accept", "Accept-Language", "Authorization", "baggage", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match",
			"If-Range", "Locale", "Range", "Token", "traceparent", "tracestate", "X-Request-ID", "X-Requested-With",
		},
		CORSExposedHeaders: []string{
			"Accept-Ranges", "Content-Disposition", "Content-Language", "Content-Range", "ETag", "Idempotency-Replayed", "Link", "Location",
			"RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Ignored-Fields", "X-Request-ID",
		},
		TrustedHops:  1,
		SharedMaxAge: 10 * time.Second,
		Compression:  []string{zstdMethod, gzipMethod},
		Middleware:   standard(),
	}
}

// CheckResponse returns an error if one client can't reserve the memory in bytes that a
// response takes with the value of another setting, named by its key.
func (c Config) CheckResponse(key string, value int, need int64) error {
	if need <= memory.ClientShare(c.MaxResponseMemory) {
		return nil
	}
	return settings.Invalid("Server.MaxResponseMemory", fmt.Sprint(c.MaxResponseMemory), fmt.Sprintf(
		"at least %d: a client may hold half of it, and one response with %s (%d) takes up to %d", 2*need, key, value, need))
}

// Address returns the host:port to serve on.
func (c Config) Address() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.HTTPPort)) }

// AdminAddress returns the host:port of the admin listener.
func (c Config) AdminAddress() string {
	return net.JoinHostPort(c.AdminHost, strconv.Itoa(c.AdminPort))
}

// Release reports whether the service runs in release mode.
func (c Config) Release() bool { return c.RunMode == Release }

// Lifecycle returns the timeouts of the shutdown.
func (c Config) Lifecycle() lifecycle.Config {
	return lifecycle.Config{DrainDelay: c.DrainDelay, ShutdownTimeout: c.ShutdownTimeout, MaxConnections: c.MaxConnections}
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
	for _, name := range c.CORSAllowedHeaders {
		check(validHeader.MatchString(name), "CorsAllowedHeaders", name, "names of headers, such as X-Requested-With")
	}
	for _, name := range c.CORSExposedHeaders {
		check(validHeader.MatchString(name), "CorsExposedHeaders", name, "names of headers, such as ETag")
	}
	check(c.PathPrefix == "" || validPrefix.MatchString(c.PathPrefix), "PathPrefix", c.PathPrefix, "a path such as /blog, without a slash at the end")
	check(c.SharedMaxAge >= 0 && c.SharedMaxAge%time.Second == 0, "SharedMaxAge", c.SharedMaxAge, "whole seconds, such as 10s, or 0")
	check(validServedBy(c.ServedBy), "ServedBy", c.ServedBy, "up to 253 letters, digits, dots, dashes and underscores")
	return errors.Join(append(errs, checkOrder(c.Middleware))...)
}

var validHeader = regexp.MustCompile(`^[A-Za-z0-9-]+$`)

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
