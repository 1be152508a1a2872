package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func TestDefaultIsValid(t *testing.T) {
	cfg := server.Default()
	require.NoError(t, settings.Validate(&cfg))
	require.True(t, cfg.Release())
	require.Equal(t, "127.0.0.1", cfg.AdminHost, "the admin listener has profiles, and no authentication")
	require.Equal(t, lifecycle.Config{DrainDelay: 5 * time.Second, ShutdownTimeout: 20 * time.Second, MaxConnections: 1000}, cfg.Lifecycle())
}

func TestValidate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*server.Config)
		want   string // "" where it is allowed
	}{
		"run mode":                  {func(c *server.Config) { c.RunMode = "prod" }, "RunMode: prod is not allowed; it must be debug, release or test"},
		"debug":                     {func(c *server.Config) { c.RunMode = server.Debug }, ""},
		"port too large":            {func(c *server.Config) { c.HTTPPort = 65536 }, "HttpPort: 65536 is not allowed; it must be a port from 0 to 65535"},
		"port negative":             {func(c *server.Config) { c.AdminPort = -1 }, "AdminPort: -1 is not allowed"},
		"free ports":                {func(c *server.Config) { c.HTTPPort, c.AdminPort = 0, 0 }, ""},
		"same port":                 {func(c *server.Config) { c.AdminPort = c.HTTPPort }, "AdminPort: 8080 is not allowed; it must be another port than HttpPort"},
		"no header timeout":         {func(c *server.Config) { c.ReadHeaderTimeout = 0 }, "ReadHeaderTimeout: 0s"},
		"no read timeout":           {func(c *server.Config) { c.ReadTimeout = 0 }, "ReadTimeout: 0s"},
		"no request timeout":        {func(c *server.Config) { c.RequestTimeout = 0 }, "RequestTimeout: 0s"},
		"no idle timeout":           {func(c *server.Config) { c.IdleTimeout = 0 }, "IdleTimeout: 0s"},
		"WriteTimeout too short":    {func(c *server.Config) { c.WriteTimeout = 15 * time.Second }, "WriteTimeout: 15s is not allowed; it must be more than RequestTimeout (15s)"},
		"ReadTimeout too long":      {func(c *server.Config) { c.ReadTimeout = 18 * time.Second }, "WriteTimeout: 18s"},
		"ShutdownTimeout too short": {func(c *server.Config) { c.ShutdownTimeout = 17 * time.Second }, "ShutdownTimeout: 17s is not allowed; it must be at least WriteTimeout (18s)"},
		"ShutdownTimeout too short for new connections": {func(c *server.Config) {
			c.ReadTimeout, c.RequestTimeout, c.WriteTimeout, c.ShutdownTimeout = 5*time.Second, time.Second, 5*time.Second+1, 5*time.Second
		}, "ShutdownTimeout: 5s"},
		"negative drain": {func(c *server.Config) { c.DrainDelay = -1 }, "DrainDelay: -1ns"},
		"no drain":       {func(c *server.Config) { c.DrainDelay = 0 }, ""},
		"origins": {func(c *server.Config) {
			c.CORSAllowedOrigins = []string{"https://blog.example", "http://localhost:3000"}
		}, ""},
		"all origins":  {func(c *server.Config) { c.CORSAllowedOrigins = []string{"*"} }, ""},
		"all and one":  {func(c *server.Config) { c.CORSAllowedOrigins = []string{"*", "https://a.example"} }, "CorsAllowedOrigins: * is not allowed"},
		"proxies":      {func(c *server.Config) { c.TrustedProxies = []string{"10.0.0.0/8", "::1"} }, ""},
		"served by":    {func(c *server.Config) { c.ServedBy = "achilles-tag-5d8f" }, ""},
		"two lines":    {func(c *server.Config) { c.ServedBy = "a\nb" }, `ServedBy: "a\nb" is not allowed`},
		"two headers":  {func(c *server.Config) { c.CORSAllowedHeaders = []string{"ETag, Link"} }, "CorsAllowedHeaders: ETag, Link is not allowed"},
		"no header":    {func(c *server.Config) { c.CORSExposedHeaders = []string{""} }, "CorsExposedHeaders"},
		"prefix":       {func(c *server.Config) { c.PathPrefix = "/blog/v1" }, ""},
		"slash":        {func(c *server.Config) { c.PathPrefix = "/blog/" }, "PathPrefix: /blog/ is not allowed"},
		"another host": {func(c *server.Config) { c.PathPrefix = "//evil.example" }, "PathPrefix: //evil.example is not allowed"},
		"proxy name":   {func(c *server.Config) { c.TrustedProxies = []string{"ingress"} }, "TrustedProxies: ingress is not allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := server.Default()
			c.change(&cfg)
			err := settings.Validate(&cfg)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "\n", "one line per error")
		})
	}
}

func TestInvalidOrigins(t *testing.T) {
	for _, origin := range []string{
		"", "blog.example", "https://", "https://blog.example/", "https://blog.example/path", "ftp://blog.example",
		"https://u:p@blog.example", "https://*.example", "/https?:.*/", "HTTPS://blog.example", "https://Blog.example", "https://blog.example:99999", "null",
		"https://blog.example:80:*", "https://*:*", ":*", "blog.example:*",
	} {
		cfg := server.Default()
		cfg.CORSAllowedOrigins = []string{origin}
		require.ErrorContains(t, settings.Validate(&cfg), "CorsAllowedOrigins", "%q", origin)
	}
}

func TestAllErrorsAreReported(t *testing.T) {
	cfg := server.Default()
	cfg.HTTPPort, cfg.RunMode = 70000, "x"
	require.Len(t, strings.Split(settings.Validate(&cfg).Error(), "\n"), 2)
}

func TestConfigLoads(t *testing.T) {
	cfg := struct {
		Server server.Config `mapstructure:"Server"`
	}{server.Default()}
	err := settings.Load(&cfg, settings.Source{Environ: []string{
		"ACHILLES_SERVER_HTTPPORT=8081", "ACHILLES_SERVER_DRAINDELAY=3", "ACHILLES_SERVER_CORSALLOWEDORIGINS=https://a.example,https://b.example",
	}})
	require.NoError(t, err)
	require.Equal(t, 8081, cfg.Server.HTTPPort)
	require.Equal(t, 3*time.Second, cfg.Server.DrainDelay)
	require.Equal(t, []string{"https://a.example", "https://b.example"}, cfg.Server.CORSAllowedOrigins)

	err = settings.Load(&cfg, settings.Source{Environ: []string{"ACHILLES_SERVER_HTTPPORT=70000"}})
	require.ErrorContains(t, err, "Server.HttpPort: 70000 is not allowed")
}
