package database_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func reasonOf(t *testing.T, err error) string {
	t.Helper()
	require.Error(t, err)
	with := database.WithReason(err)
	require.ErrorIs(t, with, err)
	require.Equal(t, with, database.WithReason(with), "idempotent")
	var reason health.Reason
	if errors.As(with, &reason) {
		return reason.Error()
	}
	return ""
}

func TestReasonsOfAServer(t *testing.T) {
	for want, change := range map[string]func(*database.Config){
		"access denied (MySQL error 1045)":    func(c *database.Config) { c.Username, c.Password = "nobody", settings.Secret("hunter2") },
		"no such database (MySQL error 1049)": func(c *database.Config) { c.DBName = "missing" },
		"TLS: the server does not support it": func(c *database.Config) { c.TLS = "true" },
	} {
		t.Run(want, func(t *testing.T) {
			cfg := dbtest.NewMySQL(t, "--skip-ssl").Config(t)
			cfg.Timeout = time.Minute
			change(&cfg)
			require.Equal(t, want, reasonOf(t, dbtest.Open(t, cfg).Ping(t.Context())))
		})
	}
}

func TestReasonsOfAFile(t *testing.T) {
	db := dbtest.Open(t, dbtest.SQLite(t))
	_, err := db.SQL().ExecContext(t.Context(), "PRAGMA query_only = ON; CREATE TABLE a (b)")
	require.Equal(t, "read-only (SQLite error 8)", reasonOf(t, err))
	requireReadOnly(t, database.Classify(err))
}

func TestReasons(t *testing.T) {
	require.NoError(t, database.WithReason(nil))
	require.Empty(t, reasonOf(t, errors.New("anything else")))
	for number, want := range map[uint16]string{
		1290: "read-only (MySQL error 1290)", 1698: "access denied (MySQL error 1698)", 1040: "too many connections (MySQL error 1040)",
		1053: "server not ready or shutting down (MySQL error 1053)", 1021: "server out of resources (MySQL error 1021)", 1146: "failing (MySQL error 1146)",
	} {
		require.Equal(t, want, reasonOf(t, fmt.Errorf("x: %w", &mysql.MySQLError{Number: number, Message: "user 'x'@'10.0.0.1'"})))
	}
	require.Equal(t, "connection lost", reasonOf(t, mysql.ErrInvalidConn))
	require.Equal(t, "reachable, but read-only", reasonOf(t, database.ErrReadOnly))
	require.Equal(t, "read-only (MySQL error 1290)", reasonOf(t, database.Classify(&mysql.MySQLError{Number: 1290})))
	require.Equal(t, "the schema is behind: run the command migrate", reasonOf(t, fmt.Errorf("%w, by one", database.ErrSchemaBehind)))
	require.Equal(t, "the database belongs to another service", reasonOf(t, fmt.Errorf("%w: notes", database.ErrOtherService)))
}
