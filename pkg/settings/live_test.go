package settings

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type limitsConfig struct {
	Rate  int `mapstructure:"Rate" usage:"requests per second" live:"true" validate:"min=1"`
	Burst int `mapstructure:"Burst" usage:"requests at once" live:"true"`
	Total int `mapstructure:"Total" usage:"memory"`
}

func (c limitsConfig) Validate() error {
	if c.Burst > c.Total {
		return Invalid("Burst", fmt.Sprint(c.Burst), fmt.Sprintf("at most Total (%d)", c.Total))
	}
	return nil
}

type liveConfig struct {
	Limits   limitsConfig
	Database databaseConfig
	Names    struct {
		All []string `mapstructure:"All" usage:"names" live:"true"`
	}
}

func started() liveConfig { return liveConfig{Limits: limitsConfig{Rate: 1, Burst: 2, Total: 3}} }

func limitsOf(c liveConfig) limitsConfig { return c.Limits }

func TestUpdate(t *testing.T) {
	config, update := NewLive(started())
	limits := Part(config, limitsOf)
	sum, err := Derive(limits, func(c limitsConfig) (int, error) { return c.Rate + c.Burst, nil })
	require.NoError(t, err)
	before := context.WithValue(t.Context(), SnapshotKey{}, config.Snapshot())

	next := started()
	next.Limits.Rate, next.Limits.Total, next.Names.All, next.Database.Username = 10, 30, []string{"a"}, "other"
	changes, err := update(next)
	require.NoError(t, err)
	require.Equal(t, []Change{
		{Key: "Limits.Rate", From: "1", To: "10", Live: true},
		{Key: "Limits.Total", From: "3", To: "30"},
		{Key: "Database.Username", From: "", To: "other"},
		{Key: "Names.All", From: "", To: "a", Live: true},
	}, changes)
	require.Equal(t, `Limits.Rate: "10", was "1"`, changes[0].String())
	want := started()
	want.Limits.Rate, want.Names.All = 10, []string{"a"}
	require.Equal(t, want, config.Now(), "the others keep the values of the start")
	require.Equal(t, 12, sum.In(t.Context()))
	require.Equal(t, 3, sum.In(before), "a request keeps its snapshot")

	changes, err = update(next)
	require.NoError(t, err)
	require.Equal(t, []Change{{Key: "Limits.Total", From: "3", To: "30"}, {Key: "Database.Username", From: "", To: "other"}}, changes,
		"what needs a restart is compared with the start")
	changes, err = update(started())
	require.NoError(t, err)
	require.Len(t, changes, 2)
	require.Equal(t, started(), config.Now())
	next = started()
	next.Names.All = []string{}
	changes, err = update(next)
	require.NoError(t, err)
	require.Empty(t, changes, "an empty list is one that is not set")
}

// A secret in a file is read by those who use it.
func TestUpdateIgnoresTheContentOfSecretFiles(t *testing.T) {
	config := started()
	config.Database.Password, config.Database.PasswordFile = "old", "/run/password"
	_, update := NewLive(config)
	config.Database.Password = "new"
	changes, err := update(config)
	require.NoError(t, err)
	require.Empty(t, changes)
	config.Database.PasswordFile = ""
	changes, err = update(config)
	require.NoError(t, err)
	require.Equal(t, []Change{{Key: "Database.Password", From: mask, To: mask}, {Key: "Database.PasswordFile", From: "/run/password"}}, changes)
}

// Live settings that are only valid with others of the same file wait for the restart, too.
func TestUpdateNeedsRestart(t *testing.T) {
	config, update := NewLive(started())
	next := started()
	next.Limits.Burst, next.Limits.Total = 4, 5
	changes, err := update(next)
	require.ErrorIs(t, err, ErrNeedsRestart)
	require.EqualError(t, err, "these settings only go together with others that need a restart: Limits.Burst: 4 is not allowed; it must be at most Total (3)")
	require.Len(t, changes, 2)
	require.Equal(t, started(), config.Now())
}

// If a part of the program rejects a configuration, no part sees it.
func TestDeriveRejects(t *testing.T) {
	config, update := NewLive(started())
	limits := Part(config, limitsOf)
	first, err := Derive(limits, func(c limitsConfig) (int, error) { return c.Rate, nil })
	require.NoError(t, err)
	odd := errors.New("odd")
	_, err = Derive(limits, func(c limitsConfig) (int, error) {
		if c.Rate == 7 {
			return 0, odd
		}
		return c.Rate, nil
	})
	require.NoError(t, err)
	next := started()
	next.Limits.Rate = 7
	_, err = update(next)
	require.ErrorIs(t, err, odd)
	require.Equal(t, 1, first.In(t.Context()))
	require.Equal(t, started(), config.Now())
	_, err = Derive(config, func(liveConfig) (int, error) { return 0, odd })
	require.ErrorIs(t, err, odd)
}

// A value is derived from the present configuration, also if that has changed before.
func TestDeriveLate(t *testing.T) {
	config, update := NewLive(started())
	early := context.WithValue(t.Context(), SnapshotKey{}, config.Snapshot())
	next := started()
	next.Limits.Rate = 5
	_, err := update(next)
	require.NoError(t, err)
	rate, err := Derive(config, func(c liveConfig) (int, error) { return c.Limits.Rate, nil })
	require.NoError(t, err)
	require.Equal(t, 5, rate.In(t.Context()))
	require.Equal(t, 5, rate.In(early), "a snapshot of the time before has no such value")
}

func TestConstantsAndOtherConfigurations(t *testing.T) {
	one, two := Fixed(started()), Fixed(started())
	rate, err := Derive(one, func(c liveConfig) (int, error) { return c.Limits.Rate, nil })
	require.NoError(t, err)
	_, err = Derive(two, func(liveConfig) (string, error) { return "other", nil })
	require.NoError(t, err)
	other := context.WithValue(t.Context(), SnapshotKey{}, two.Snapshot())
	require.Equal(t, 1, rate.In(other), "the snapshot of another configuration doesn't count")
	require.Equal(t, "x", Constant("x").In(other))
}

// Requests see one configuration each, while it changes.
func TestSnapshotsAreConsistent(t *testing.T) {
	config, update := NewLive(started())
	rate, err := Derive(config, func(c liveConfig) (int, error) { return c.Limits.Rate, nil })
	require.NoError(t, err)
	names, err := Derive(config, func(c liveConfig) ([]string, error) { return c.Names.All, nil })
	require.NoError(t, err)
	done := make(chan struct{})
	var requests sync.WaitGroup
	for range 4 {
		requests.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				ctx := context.WithValue(context.Background(), SnapshotKey{}, config.Snapshot())
				if want := rate.In(ctx); want > 1 && names.In(ctx)[0] != fmt.Sprint(want) {
					t.Errorf("a request saw the rate %d and the names %q", want, names.In(ctx))
					return
				}
			}
		})
	}
	for i := range 1000 {
		next := started()
		next.Limits.Rate, next.Names.All = i+2, []string{fmt.Sprint(i + 2)}
		_, err := update(next)
		require.NoError(t, err)
	}
	close(done)
	requests.Wait()
	require.Equal(t, 1001, rate.In(t.Context()))
}

func TestValuesAllocateNothing(t *testing.T) {
	config := Fixed(started())
	names, err := Derive(config, func(c liveConfig) ([]string, error) { return c.Names.All, nil })
	require.NoError(t, err)
	ctx := context.WithValue(t.Context(), SnapshotKey{}, config.Snapshot())
	require.Zero(t, testing.AllocsPerRun(100, func() { _ = names.In(ctx) }))
}

func TestDescribe(t *testing.T) {
	config := started()
	config.Database.Password = "hidden"
	all, err := Describe(&config)
	require.NoError(t, err)
	require.Contains(t, all, Description{
		Key: "Limits.Rate", Variable: "ACHILLES_LIMITS_RATE", Flag: "--limits.rate", Type: "int", Value: "1", Usage: "requests per second", Allowed: "1 or more", Live: true,
	})
	require.Contains(t, all, Description{Key: "Database.Password", Variable: "ACHILLES_DATABASE_PASSWORD", Type: "secret", Value: mask, Usage: "its password"})
	_, err = Describe(config)
	require.Error(t, err)
}

// A file that is read again has the precedence of the start, and the content that the watch has seen.
func TestLoadContent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("Server: {ReadTimeout: 7}"), 0o600))
	c := defaults()
	require.NoError(t, Load(&c, Source{File: file, Content: []byte("Server: {ReadTimeout: 8, HttpPort: 9}"), Environ: []string{"ACHILLES_SERVER_HTTPPORT=10"}}))
	require.Equal(t, 8*time.Second, c.Server.ReadTimeout)
	require.Equal(t, 10, c.Server.HTTPPort)
	err := Load(&c, Source{File: file, Content: []byte("Server: {ReadTimeout: -1}")})
	require.ErrorContains(t, err, "Server.ReadTimeout: -1 is not allowed")
	require.ErrorContains(t, err, file+" line 1")
}
