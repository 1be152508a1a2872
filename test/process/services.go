package process

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
)

// many are more requests than the tests can send at a time.
const many = "100000"

// FeedToken is the token of the feed in all tests.
const FeedToken = "the-token-of-the-feed"

// On returns the settings of a service on the database of cfg, on free ports
// of the loopback, with a short drain, with limits that nobody meets and with
// timeouts that a slow machine keeps, each less than Patience.
func On(cfg database.Config) Settings {
	return Settings{
		"Server.Host": "127.0.0.1", "Server.HttpPort": "0",
		"Server.AdminHost": "127.0.0.1", "Server.AdminPort": "0",
		"Server.DrainDelay":     "200ms",
		"Server.RequestTimeout": "45s", "Server.ReadTimeout": "45s", "Server.WriteTimeout": "50s", "Server.ShutdownTimeout": "50s",
		"Database.DBType": cfg.DBType, "Database.DBName": cfg.DBName, "Database.Host": cfg.Host,
		"Database.Username": cfg.Username, "Database.Password": cfg.Password.Reveal(),
		"Database.Timeout": min(cfg.Timeout, 40*time.Second).String(),
		"Feed.Token":       FeedToken,
		"Auth.KeysFile":    KeysFile(),
		"Limits.ReadBurst": many, "Limits.ReadPerSecond": many,
		"Limits.WriteBurst": many, "Limits.WritePerSecond": many,
		"Limits.AuthBurst": many, "Limits.AuthPerMinute": many,
	}
}

// Follow returns the settings of an article service on the database of cfg
// that follows the tag service at addr.
func Follow(cfg database.Config, addr string) Settings {
	return On(cfg).With(Settings{"Feed.URL": "http://" + addr})
}

// Migrate brings the database of a service up to date.
func Migrate(t testing.TB, program string, settings Settings) {
	t.Helper()
	p, exit := Run(t, program, settings, "migrate")
	require.Zero(t, exit, p.Stderr())
}

// Serve starts a service, whether or not it can become ready.
func Serve(t testing.TB, program string, settings Settings) *Process {
	t.Helper()
	return Start(t, program, settings, "serve")
}

// Ready migrates the database of a service, starts it and waits until it is
// ready.
func Ready(t testing.TB, program string, settings Settings) *Process {
	t.Helper()
	Migrate(t, program, settings)
	p := Serve(t, program, settings)
	p.AwaitReady(t)
	return p
}
