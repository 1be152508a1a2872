package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// exported returns the ids of the articles of an export, and calls each for them.
func (f fixture) exported(t *testing.T, viewer article.Viewer, each func(article.Article)) (found []uint64) {
	t.Helper()
	require.NoError(t, f.service().Export(t.Context(), viewer, 0, time.Minute, func(a article.Article) error {
		found = append(found, a.ID)
		each(a)
		return nil
	}))
	return found
}

// What everybody's export has is what lists show, also if articles are due whose rows don't say so,
// in one order.
func TestExportHasWhatListsShow(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.fill(t, 2000)
		past := time.Date(2020, 1, 2, 3, 4, 5, 6e6, time.UTC)
		s.exec(t, "UPDATE blog_article SET state = 2, published_at = ? WHERE id % 3 = 1", past)
		s.exec(t, "UPDATE blog_article SET state = 2, published_at = ? WHERE id % 9 = 1", never)
		want := func(where string) (ids []uint64) {
			require.NoError(t, s.db.Gorm(t.Context()).Raw("SELECT id FROM blog_article WHERE is_deleted = 0 AND "+where+" ORDER BY id").Scan(&ids).Error)
			return ids
		}
		public := want("(state = 1 OR state = 2 AND id % 9 <> 1)")
		require.Greater(t, len(public), 1000)
		require.Equal(t, public, s.exported(t, article.Anonymous, func(a article.Article) {
			require.Equal(t, article.Enabled, a.State)
			require.Equal(t, a.ID%3 == 1, a.PublishedAt.Equal(past))
		}))
		require.Equal(t, want("1 = 1"), s.exported(t, article.Authenticated, func(a article.Article) {
			require.Equal(t, a.ID%9 == 1, a.State == article.Scheduled)
		}))
	})
}

// An article whose time comes while an export runs is not in it, whether its row says so meanwhile or
// not.
func TestExportIsOfOneMoment(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.fill(t, 1000)
		at := time.Now().Add(time.Second).UTC().Truncate(time.Millisecond)
		soon := []uint64{s.schedule(t, "soon", at).ID, s.schedule(t, "settled", at).ID}
		s.exec(t, "UPDATE blog_article SET state = 2, published_at = ? WHERE id = 1", time.Unix(0, 0)) // due
		for viewer, state := range map[article.Viewer]article.State{article.Anonymous: article.Enabled, article.Authenticated: article.Scheduled} {
			for _, id := range soon {
				s.moveTo(t, id, time.Now().Add(time.Second))
			}
			first := true
			found := s.exported(t, viewer, func(a article.Article) {
				if first {
					first = false
					require.Eventually(t, func() bool {
						_, err := s.service().Get(t.Context(), article.Anonymous, soon[1])
						return err == nil
					}, patience, time.Millisecond)
					s.exec(t, "UPDATE blog_article SET state = 1 WHERE id = ?", soon[1])
				}
				if a.ID >= soon[0] {
					require.Equal(t, state, a.State)
				}
			})
			require.Contains(t, found, uint64(1))
			if viewer == article.Authenticated {
				require.Equal(t, soon, found[len(found)-2:])
			} else {
				require.Less(t, slices.Max(found), soon[0])
			}
		}
	})
}

// An export reads what it returns, however many articles are disabled or scheduled.
func TestExportReadsFewRows(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		cfg.MaxOpenConns, cfg.MaxIdleConns = 1, 1 // the counters of rows are those of a connection
		s := open(t, cfg)
		s.fill(t, 2000)
		s.exec(t, "UPDATE blog_article SET is_deleted = 0, state = 0, published_at = ?", never)
		s.exec(t, "UPDATE blog_article SET state = 2 WHERE id % 2 = 0")
		s.exec(t, "UPDATE blog_article SET state = 1 WHERE id % 100 = 1")
		s.exec(t, "UPDATE blog_article SET state = 2, published_at = ? WHERE id % 100 = 2", time.Unix(0, 0))
		dbtest.Analyze(t, s.db, "article")
		read := rowsRead(t, s.db, func() { require.Len(t, s.exported(t, article.Anonymous, func(article.Article) {}), 40) })
		require.Less(t, read, 500)
	})
}
