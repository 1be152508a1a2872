package bootstrap

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
)

func TestRecount(t *testing.T) {
	c := newConsole(t)
	c.Fail([]string{"recount"}, "run the command migrate")
	c.Succeed("migrate")
	require.Equal(t, "Nothing was wrong.\n", c.Succeed("recount"))
	config := defaults().Database
	config.DBName = c.file
	db, err := database.Open(config, zap.NewNop())
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	exec := func(statement string) {
		_, err := db.SQL().ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	exec("INSERT INTO blog_article_count (tag_id, state, slot, value) VALUES (0, 1, 0, 3), (7, 0, 0, -2)")
	exec("INSERT INTO blog_article_gram (gram, article_id) VALUES (x'61', 1)")
	exec("INSERT INTO blog_article_word (word, article_id, weight) VALUES (x'61', 1, 1), (x'62', 7, 1)")
	require.Equal(t, "Repaired:\nall articles, state 1: 0, was 3\narticles with tag 7, state 0: 0, was -2\nindex of titles: added 0 missing entries, removed 1 wrong ones\n"+
		"index of words: added 0 missing entries, removed 2 wrong ones\n", c.Succeed("recount"))
	require.Equal(t, "Nothing was wrong.\n", c.Succeed("recount"))

	exec("INSERT INTO blog_article (created_at, updated_at, published_at, title, content) VALUES ('2026-01-02', '2026-01-02', '2026-01-02', '😀', '')")
	require.Contains(t, c.Succeed("recount"), "slugs: made 1 missing ones\n")
	exec("DELETE FROM blog_article")
	require.NotContains(t, c.Succeed("recount"), "slugs")

	// The counters are repaired, although the index of titles can't be.
	exec("INSERT INTO blog_article_count (tag_id, state, slot, value) VALUES (0, 1, 1, 3)")
	exec("INSERT INTO blog_article_gram (gram, article_id) VALUES (x'61', 1)")
	exec("CREATE TRIGGER reject BEFORE DELETE ON blog_article_gram BEGIN SELECT RAISE(ABORT, 'rejected'); END")
	exit, stdout, stderr := c.Run("recount")
	require.Equal(t, 1, exit)
	require.Equal(t, "Repaired:\nall articles, state 1: 0, was 3\n", stdout)
	require.Contains(t, stderr, "rejected")
	exec("DROP TRIGGER reject")
	require.Equal(t, "Repaired:\nindex of titles: added 0 missing entries, removed 1 wrong ones\n", c.Succeed("recount"))
	require.Equal(t, "Nothing was wrong.\n", c.Succeed("recount"))
}

// Files without their bytes, as after a restore without the storage, are an error beside what is repaired.
func TestRecountLostFiles(t *testing.T) {
	c := newConsole(t)
	c.Succeed("migrate")
	t.Setenv("ACHILLES_FILES_URL", "file://"+t.TempDir())
	t.Setenv("ACHILLES_FILES_TIMEOUT", "10s")
	require.Equal(t, "Nothing was wrong.\n", c.Succeed("recount"))
	config := defaults().Database
	config.DBName = c.file
	for _, statement := range []string{
		"INSERT INTO blog_blob (sha256, size) VALUES (zeroblob(32), 3)",
		"INSERT INTO blog_file (created_at, name, size, type, sha256) VALUES ('2026-01-02', 'photo.png', 3, 'image/png', zeroblob(32))",
	} {
		_, err := dbtest.Open(t, config).SQL().ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	c.Fail([]string{"recount"}, "the storage lacks bytes of 1 files of 1;", `file 1, "photo.png": 0 of 3 bytes`)
}

// Progress is printed from time to time.
func TestReporting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		report := reporting(&out)
		for n := range 25 {
			report(fmt.Sprint(n))
			time.Sleep(time.Second)
		}
		require.Equal(t, "10\n20\n", out.String())
	})
}
