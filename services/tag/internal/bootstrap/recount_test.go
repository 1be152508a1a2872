package bootstrap_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/tag/internal/bootstrap"
)

func TestRecount(t *testing.T) {
	config := database.Default()
	config.DBType, config.DBName = database.SQLite, filepath.Join(t.TempDir(), "tag.db")
	t.Setenv("ACHILLES_DATABASE_DBNAME", config.DBName)
	run := func(exit int, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		require.Equal(t, exit, bootstrap.Command().Main(args, os.Environ(), &out, &out), out.String())
		return out.String()
	}
	require.Contains(t, run(1, "recount"), "run the command migrate")
	run(0, "migrate")
	require.Equal(t, "Nothing was wrong.\n", run(0, "recount"))
	db, err := database.Open(config, zap.NewNop())
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	_, err = db.SQL().ExecContext(t.Context(), "UPDATE blog_tag_sequence SET enabled_tags = 3")
	require.NoError(t, err)
	_, err = db.SQL().ExecContext(t.Context(), "CREATE TRIGGER reject BEFORE UPDATE ON blog_tag_sequence BEGIN SELECT RAISE(ABORT, 'rejected'); END")
	require.NoError(t, err)
	require.NotContains(t, run(1, "recount"), "Repaired")
	_, err = db.SQL().ExecContext(t.Context(), "DROP TRIGGER reject")
	require.NoError(t, err)
	require.Equal(t, "Repaired:\n"+"tags, state 1: 0, was 3\n", run(0, "recount"))
	require.Equal(t, "Nothing was wrong.\n", run(0, "recount"))
}
