package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/store"
)

// newImport returns an import of a file with a text.
func newImport(source, text string, tags ...uint64) article.Import {
	d := draft(text, tags...)
	d.Content, d.Actor = &text, "importer"
	return article.Import{Source: source, Digest: "digest of " + text, Draft: d}
}

// importFile imports a file and requires an outcome.
func (f fixture) importFile(t *testing.T, want article.Outcome, file article.Import) article.Imported {
	t.Helper()
	done, err := f.Import(t.Context(), file)
	require.NoError(t, err)
	require.Equal(t, want, done.Outcome)
	return done
}

func (f fixture) must(t *testing.T, id uint64) article.Article {
	t.Helper()
	found, err := f.Get(t.Context(), id)
	require.NoError(t, err)
	seen, _ := found.View(article.Authenticated)
	return seen.Article
}

func TestImport(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2))
		at := time.Date(2014, 3, 1, 12, 30, 0, 5e6, time.UTC)
		one := newImport("a/one.md", "one", 1)
		one.CreatedAt = at
		first := s.importFile(t, article.Created, one)
		require.Equal(t, "one", first.Slug)
		got := s.must(t, first.ArticleID)
		require.Equal(t, []any{at, at, "importer", "one"}, []any{got.CreatedAt, got.UpdatedAt, got.CreatedBy, got.Content})

		// Nothing doubles, and what is unchanged is left alone.
		require.Equal(t, first.ArticleID, s.importFile(t, article.Unchanged, one).ArticleID)
		require.Equal(t, got, s.must(t, first.ArticleID))

		// A changed file changes its article, with its tags and times.
		changed := newImport("a/one.md", "new one", 2)
		changed.CreatedAt, changed.UpdatedAt = at.Add(time.Hour), at.Add(2*time.Hour)
		require.Equal(t, first.ArticleID, s.importFile(t, article.Updated, changed).ArticleID)
		got = s.must(t, first.ArticleID)
		require.Equal(t, []any{changed.CreatedAt, changed.UpdatedAt, "new one", uint64(2)}, []any{got.CreatedAt, got.UpdatedAt, got.Title, got.Tags[0].ID})
		s.importFile(t, article.Unchanged, changed)

		// A change of times alone has a revision of its own.
		revision := got.Revision
		changed.Digest, changed.CreatedAt = "later", at.Add(3*time.Hour)
		s.importFile(t, article.Updated, changed)
		got = s.must(t, first.ArticleID)
		require.Equal(t, []any{revision + 1, changed.CreatedAt}, []any{got.Revision, got.CreatedAt})
		changed.Digest = "the same once more"
		s.importFile(t, article.Updated, changed)
		require.Equal(t, got, s.must(t, first.ArticleID))

		// What was changed in the blog isn't overwritten, unless that is asked for.
		_, err := s.Update(t.Context(), first.ArticleID, article.Draft{Title: pointer("edited")}, nil)
		require.NoError(t, err)
		s.importFile(t, article.Unchanged, changed)
		changed.Digest = "again"
		s.importFile(t, article.Edited, changed)
		require.Equal(t, "edited", s.must(t, first.ArticleID).Title)
		changed.Force = true
		s.importFile(t, article.Updated, changed)
		require.Equal(t, "new one", s.must(t, first.ArticleID).Title)
		s.importFile(t, article.Unchanged, changed)

		// What was deleted in the blog isn't created, unless that is asked for.
		require.NoError(t, s.Delete(t.Context(), first.ArticleID, "", nil))
		changed.Force = false
		s.importFile(t, article.Deleted, changed)
		changed.Force = true
		again := s.importFile(t, article.Created, changed)
		require.NotEqual(t, first.ArticleID, again.ArticleID)

		// A file that was renamed keeps its article.
		renamed := changed
		renamed.Source, renamed.Former, renamed.Force = "b/one.md", "a/one.md", false
		require.Equal(t, again.ArticleID, s.importFile(t, article.Unchanged, renamed).ArticleID)
		sources, err := s.Sources(t.Context(), "a/")
		require.NoError(t, err)
		require.Empty(t, sources)
		sources, err = s.Sources(t.Context(), "b/")
		require.NoError(t, err)
		require.Equal(t, []article.Source{{Name: "b/one.md", Digest: "again", ArticleID: again.ArticleID, Revision: 1, Current: 1}}, sources)
		same, err := s.SourcesOf(t.Context(), "again")
		require.NoError(t, err)
		require.Equal(t, sources, same)

		s.requireCounters(t)
	})
}

// An import that fails leaves nothing behind.
func TestImportFails(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1))
		s.create(t, "taken")
		taken := newImport("a.md", "other")
		taken.Draft.Slug = pointer("taken")
		_, err := s.Import(t.Context(), taken)
		requireCode(t, err, errcode.SlugTaken)
		_, err = s.Import(t.Context(), newImport("a.md", "other", 9))
		var unknown *article.UnknownTagsError
		require.ErrorAs(t, err, &unknown)
		sources, err := s.Sources(t.Context(), "")
		require.NoError(t, err)
		require.Empty(t, sources)
		s.importFile(t, article.Created, newImport("a.md", "other", 1))
	})
}

// Several imports of the same files at once create each article once.
func TestImportsAtOnce(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1))
		const files, importers = 12, 4
		stores := []*store.Store{s.Store}
		for range importers - 1 {
			stores = append(stores, store.New(s.db, time.Hour))
		}
		for round := range 2 { // creates, then changes
			var all sync.WaitGroup
			outcomes := make(chan article.Outcome, files*importers)
			for _, own := range stores {
				all.Go(func() {
					for n := range files {
						done, err := own.Import(t.Context(), newImport(fmt.Sprint(n, ".md"), fmt.Sprint("text ", n, " ", round), 1))
						if err != nil {
							t.Error(err)
							return
						}
						outcomes <- done.Outcome
					}
				})
			}
			all.Wait()
			close(outcomes)
			counts := map[article.Outcome]int{}
			for outcome := range outcomes {
				counts[outcome]++
			}
			require.Equal(t, map[article.Outcome]int{[]article.Outcome{article.Created, article.Updated}[round]: files, article.Unchanged: files * (importers - 1)}, counts)
			list, total, err := s.List(t.Context(), article.Filter{}, article.Page{Limit: 100})
			require.NoError(t, err)
			require.Len(t, list, files)
			require.Equal(t, article.Total{Rows: files}, total)
		}
	})
}
