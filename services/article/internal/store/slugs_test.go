package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

func named(title, slug string) article.Draft {
	d := draft(title)
	d.Slug = &slug
	return d
}

// slugOf returns the current slug of an article.
func (f fixture) slugOf(t *testing.T, id uint64) string {
	t.Helper()
	found, err := f.get(t.Context(), id)
	require.NoError(t, err)
	return found.Slug
}

// requireSlug requires that the slug leads to the article, or if id is 0 to none.
func (f fixture) requireSlug(t *testing.T, slug string, id uint64) {
	t.Helper()
	for _, get := range []func() (*article.Shared, error){
		func() (*article.Shared, error) { return f.GetBySlug(t.Context(), slug) },
		func() (*article.Shared, error) { return f.GetBySlugWithoutContent(t.Context(), slug) },
	} {
		found, err := get()
		if id == 0 {
			requireCode(t, err, errcode.ArticleNotFound)
			continue
		}
		require.NoError(t, err, slug)
		view, _ := found.View(article.Authenticated)
		require.Equal(t, id, view.ID, slug)
	}
}

func requireCode(t *testing.T, err error, code errcode.Code) {
	t.Helper()
	var coded *errcode.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, code, coded.Code)
}

// requireSlugs requires that both tables agree about the slugs.
func (f fixture) requireSlugs(t *testing.T) {
	t.Helper()
	require.Zero(t, f.count(t, "article_slug", "article_id NOT IN (SELECT id FROM blog_article WHERE is_deleted = 0)"))
	require.Zero(t, f.count(t, "article_slug", "retired = 0 AND slug <> (SELECT a.slug FROM blog_article AS a WHERE a.id = article_id)"))
	require.Zero(t, f.count(t, "article", "is_deleted = 0 AND slug <> '' AND NOT EXISTS (SELECT 1 FROM blog_article_slug AS s WHERE s.article_id = blog_article.id AND s.retired = 0)"))
}

func (f fixture) update(t *testing.T, id uint64, d article.Draft) article.Article {
	t.Helper()
	updated, err := f.Update(t.Context(), id, d, nil)
	require.NoError(t, err)
	return updated
}

func TestSlugs(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		first := s.create(t, "Rolling restarts")
		require.Equal(t, "rolling-restarts", first.Slug)
		second := s.create(t, "Rolling Restarts!")
		require.Equal(t, fmt.Sprint("rolling-restarts-", second.ID), second.Slug, "the first one has it")
		blank := s.create(t, "🚀")
		require.Equal(t, fmt.Sprint("article-", blank.ID), blank.Slug)
		for _, a := range []article.Article{first, second, blank} {
			s.requireSlug(t, a.Slug, a.ID)
			require.Equal(t, a.Slug, s.slugOf(t, a.ID))
		}
		for _, filter := range []article.Filter{{}, {Title: &first.Title}} {
			list, _, err := s.List(t.Context(), filter, article.Page{Limit: 10})
			require.NoError(t, err)
			require.Equal(t, []string{second.Slug, first.Slug}, []string{list[len(list)-2].Slug, list[len(list)-1].Slug})
		}

		renamed := s.update(t, first.ID, draft("Another title"))
		require.Equal(t, "rolling-restarts", renamed.Slug, "the slug stays when the title changes")
		_, _, err := s.Create(t.Context(), named("x", "rolling-restarts"), idempotency.Key{})
		requireCode(t, err, errcode.SlugTaken)
		_, err = s.Update(t.Context(), second.ID, named("x", "rolling-restarts"), nil)
		requireCode(t, err, errcode.SlugTaken)
		require.Equal(t, second, must(s.get(t.Context(), second.ID)), "nothing was changed")
		same := s.update(t, second.ID, article.Draft{Slug: &second.Slug})
		require.Equal(t, second.Revision, same.Revision, "the same slug changes nothing")

		moved := s.update(t, first.ID, named("Another title", "moved"))
		require.Equal(t, "moved", moved.Slug)
		require.Equal(t, renamed.Revision+1, moved.Revision)
		s.requireSlug(t, "moved", first.ID)
		s.requireSlug(t, "rolling-restarts", first.ID) // formerly
		third := s.create(t, "Rolling restarts")
		require.Equal(t, fmt.Sprint("rolling-restarts-", third.ID), third.Slug, "a former slug is not made again")
		taken := s.update(t, second.ID, named("x", "rolling-restarts"))
		require.Equal(t, "rolling-restarts", taken.Slug, "a former slug can be taken")
		s.requireSlug(t, "rolling-restarts", second.ID)
		s.requireSlug(t, second.Slug, second.ID)
		s.requireSlugs(t)

		none := ""
		back := s.update(t, first.ID, article.Draft{Slug: &none})
		require.Equal(t, "another-title", back.Slug, "it is made from the title")
		require.Equal(t, back, s.update(t, first.ID, article.Draft{Slug: &none}), "it is the same again")
		again := s.update(t, first.ID, named("Another title", "moved"))
		require.Equal(t, "moved", again.Slug, "an article can have its former slug again")
		require.Equal(t, "another-title", s.update(t, first.ID, article.Draft{Slug: &none}).Slug)
		made := s.update(t, third.ID, article.Draft{Slug: &none})
		require.Equal(t, third, made, "the slug from its title is still taken")

		require.NoError(t, s.Delete(t.Context(), first.ID, "", nil))
		s.requireSlug(t, "another-title", 0)
		s.requireSlug(t, "moved", 0)
		require.Equal(t, "moved", s.create(t, "Moved").Slug, "the slugs of a deleted article are free")
		s.requireSlug(t, "Moved", 0)
		s.requireSlugs(t)
	})
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// The oldest former slugs are free again.
func TestFormerSlugsAreBounded(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		id := s.create(t, "n 0").ID
		const changes = article.MaxFormerSlugs + 3
		for n := 1; n <= changes; n++ {
			s.update(t, id, named("x", fmt.Sprint("n-", n)))
		}
		for n := range changes + 1 {
			if n < changes-article.MaxFormerSlugs {
				s.requireSlug(t, fmt.Sprint("n-", n), 0)
			} else {
				s.requireSlug(t, fmt.Sprint("n-", n), id)
			}
		}
		require.EqualValues(t, article.MaxFormerSlugs+1, s.count(t, "article_slug", "1 = 1"))
		// One that is in use again is the newest.
		s.update(t, id, named("x", "n-3"))
		s.requireSlug(t, "n-4", id)
		s.update(t, id, named("x", "n-100"))
		s.requireSlug(t, "n-4", 0)
		s.requireSlug(t, "n-3", id)
		s.requireSlugs(t)
	})
}

// A client that knows the next id can't keep an article from getting a slug.
func TestSlugsThatAreTakenBeforehand(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		next := s.create(t, "x").ID + 1
		for n := range uint64(4) {
			for _, slug := range []string{fmt.Sprint("a-", next+4+n), fmt.Sprint("article-", next+4+n)} {
				s.update(t, s.create(t, "x").ID, named("x", slug))
			}
		}
		s.update(t, next, named("x", "a"))
		for _, title := range []string{"a", "🚀", "a", "🚀"} {
			created := s.create(t, title)
			s.requireSlug(t, created.Slug, created.ID)
			require.LessOrEqual(t, len(created.Slug), 100)
		}
		s.requireSlugs(t)
	})
}

// Articles that are created at the same time with the same title get different slugs.
func TestEqualTitlesAtTheSameTime(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		for _, title := range []string{"the same", "🚀", strings.Repeat("重", 100)} {
			const writers = 50
			created := make([]article.Article, writers)
			errs := make([]error, writers)
			var all sync.WaitGroup
			for i := range writers {
				all.Go(func() { created[i], _, errs[i] = s.Create(t.Context(), draft(title), idempotency.Key{}) })
			}
			all.Wait()
			require.NoError(t, errors.Join(errs...))
			slugs := map[string]bool{}
			for _, a := range created {
				slugs[a.Slug] = true
				s.requireSlug(t, a.Slug, a.ID)
			}
			require.Len(t, slugs, writers)
		}
		s.requireSlugs(t)
	})
}

// Of several that take a slug at the same time, one gets it.
func TestOneTakesASlug(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		former := s.create(t, "old")
		for round := range 5 {
			slug := fmt.Sprint("contested-", round)
			if round%2 == 1 { // as a former slug of another article
				s.update(t, former.ID, named("old", slug))
				s.update(t, former.ID, named("old", slug+"-no-more"))
			}
			const writers = 10
			ids := make([]uint64, writers)
			for i := range ids {
				ids[i] = s.create(t, fmt.Sprint("writer ", round, i)).ID
			}
			errs := make([]error, 2*writers)
			var all sync.WaitGroup
			for i := range writers {
				all.Go(func() { _, errs[2*i] = s.Update(t.Context(), ids[i], named("x", slug), nil) })
				all.Go(func() { _, _, errs[2*i+1] = s.Create(t.Context(), named("x", slug), idempotency.Key{}) })
			}
			all.Wait()
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
					continue
				}
				requireCode(t, err, errcode.SlugTaken)
			}
			require.Equal(t, 1, won)
		}
		s.requireSlugs(t)
	})
}

func TestFillSlugs(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.fill(t, 1000)
		s.create(t, "7")
		before := must(s.get(t.Context(), 1))
		require.Empty(t, before.Slug)
		filled, err := s.FillSlugs(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 900, filled)
		require.Zero(t, s.count(t, "article", "is_deleted = 0 AND slug = ''"))
		s.requireSlugs(t)
		after := must(s.get(t.Context(), 1))
		s.requireSlug(t, after.Slug, after.ID)
		require.NotEqual(t, before.Version(), after.Version())
		filled, err = s.FillSlugs(t.Context())
		require.NoError(t, err)
		require.Zero(t, filled)
	})
}
