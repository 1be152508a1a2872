package bootstrap_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/tag/internal/bootstrap"
)

func TestEpoch(t *testing.T) {
	config := database.Default()
	config.DBType, config.DBName = database.SQLite, filepath.Join(t.TempDir(), "tag.db")
	t.Setenv("ACHILLES_DATABASE_DBNAME", config.DBName)
	run := func(exit int, args ...string) string {
		t.Helper()
		var out bytes.Buffer
		require.Equal(t, exit, bootstrap.Command().Main(args, os.Environ(), &out, &out), out.String())
		return out.String()
	}
	require.Contains(t, run(1, "epoch", "--new"), "run the command migrate")
	run(0, "migrate")
	shown := regexp.MustCompile(`(?m)^The feed(?: tag_change)? has the epoch ([0-9a-f-]{32,36})\.$`)
	first := shown.FindStringSubmatch(run(0, "epoch"))
	require.NotNil(t, first)
	require.Equal(t, first, shown.FindStringSubmatch(run(0, "epoch")), "nothing has changed")
	renewed := regexp.MustCompile(`(?m)^The feed(?: tag_change)? has the epoch (\S+) instead of (\S+): its readers start over\. 1000000 ids and versions are left out\.$`).FindStringSubmatch(run(0, "epoch", "--new"))
	require.NotNil(t, renewed)
	require.Equal(t, first[1], renewed[2])
	require.NotEqual(t, first[1], renewed[1])
	require.Equal(t, renewed[1], shown.FindStringSubmatch(run(0, "epoch"))[1])

	db := dbtest.Open(t, config)
	_, err := db.SQL().ExecContext(t.Context(), "DELETE FROM blog_tag_sequence")
	require.NoError(t, err)
	require.Contains(t, run(1, "epoch", "--new"), "has no row with id 1")
	_, err = db.SQL().ExecContext(t.Context(), "ALTER TABLE blog_tag_migration RENAME TO blog_article_migration")
	require.NoError(t, err)
	require.Regexp(t, "the database belongs to another service: \\S+ is that of article .* choose another with Database.DBName", run(1, "epoch", "--new"))
}
