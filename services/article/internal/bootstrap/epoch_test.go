package bootstrap

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
)

// One epoch is that of both feeds.
func TestEpoch(t *testing.T) {
	c := newConsole(t)
	c.Fail([]string{"epoch", "--new"}, "run the command migrate")
	c.Succeed("migrate")
	config := defaults().Database
	config.DBName = c.file
	db := dbtest.Open(t, config)
	epoch := func() (epoch string) {
		t.Helper()
		require.NoError(t, db.Gorm(t.Context()).Raw("SELECT epoch FROM blog_article_sequence").Scan(&epoch).Error)
		return epoch
	}
	former := epoch()
	require.Equal(t, "The feed has the epoch "+former+".\n", c.Succeed("epoch"))
	said := c.Succeed("epoch", "--new", "--lost=7")
	require.NotEqual(t, former, epoch())
	require.Equal(t, "The feed has the epoch "+epoch()+" instead of "+former+": its readers start over. 7 ids and versions are left out.\n", said)
	c.Fail([]string{"epoch", "new"}, "article epoch takes flags only")
	_, err := db.SQL().ExecContext(t.Context(), "ALTER TABLE blog_article_migration RENAME TO blog_tag_migration")
	require.NoError(t, err)
	c.Fail([]string{"epoch", "--new"}, "the database belongs to another service", "is that of tag")
	require.NotEqual(t, former, epoch())
}
