package process

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
)

// many is more requests than the tests can send at once.
const many = "100000"

// FeedToken is the token of the tag feed.
const FeedToken = "the-token-of-the-feed-of-the-tests"

// On returns the settings of a service with the database of cfg, on free ports of
// 127.0.0.1, with a short drain, without effective rate limits, and with timeouts that
// are long, but shorter than Patience.
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
		"Limits.SearchBurst": many, "Limits.SearchPerSecond": many,
		"Limits.WriteBurst": many, "Limits.WritePerSecond": many,
		"Limits.AuthBurst": many, "Limits.AuthPerMinute": many,
	}
}

// Follow returns the settings of an article service with the database of cfg, which
// follows the tag service at addr.
func Follow(cfg database.Config, addr string) Settings {
	return On(cfg).With(Settings{"Feed.URL": "http://" + addr})
}

// Migrate migrates the database of a service.
func Migrate(t testing.TB, program string, settings Settings) {
	t.Helper()
	p, exit := Run(t, program, settings, "migrate")
	require.Zero(t, exit, p.Stderr())
}

// Serve starts a service.
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
