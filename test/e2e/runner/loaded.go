package runner

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"runtime"
	"time"

	"github.com/achilles-blog/achilles/test/bench/corpus"
	"github.com/achilles-blog/achilles/test/bench/seed"
)

// loadedArticles is the number of articles that are there before the load.
const loadedArticles = 10_000

// loaded are the numbers of tags and articles that were loaded. Their ids begin with 1.
type loaded struct{ tags, articles int }

// of returns the largest id of a resource that was loaded.
func (l loaded) of(resource string) uint64 {
	if resource == string(tag) {
		return uint64(l.tags) // #nosec G115 -- not negative
	}
	return 0
}

// loadArticles loads articles and their tags, and counts them by the command recount.
func (r *Runner) loadArticles(ctx context.Context, s *system) error {
	if runtime.GOOS != "linux" {
		r.log("skipped: loading articles (the article program is built for Linux)")
		return nil
	}
	began := time.Now()
	db, err := s.open(article)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	token, err := s.token(ctx)
	if err != nil {
		return err
	}
	if err := s.apiClient().createTags(ctx, token); err != nil {
		return err
	}
	if err := awaitTags(ctx, db); err != nil {
		return err
	}
	if err := seed.Articles(ctx, db, loadedArticles); err != nil {
		return fmt.Errorf("loading articles: %w", err)
	}
	if output, err := r.command(ctx, s, article, "recount").CombinedOutput(); err != nil {
		return fmt.Errorf("article recount: %w: %s", err, output)
	}
	s.loaded = loaded{corpus.Tags, loadedArticles}
	r.log("loaded %d articles with %d tags in %.0f s", loadedArticles, corpus.Tags, time.Since(began).Seconds())
	return nil
}

// createTags creates the tags of the articles by the API, because the article service
// follows the changes of the tag service.
func (a *apiClient) createTags(ctx context.Context, token string) error {
	for id := uint64(1); id <= corpus.Tags; id++ {
		got, err := a.do(ctx, http.MethodPost, "/api/v1/tags", bearer(token), map[string]any{"name": corpus.TagName(id)})
		if err != nil {
			return err
		}
		if got.Data.ID != id {
			return fmt.Errorf("creating the tag with the id %d: %s with the id %d", id, got, got.Data.ID)
		}
	}
	return nil
}

// awaitTags waits until the article service knows the tags.
func awaitTags(ctx context.Context, articles *sql.DB) error {
	for until := time.Now().Add(rolloutTimeout); ; {
		var tags int
		err := articles.QueryRowContext(ctx, "SELECT COUNT(*) FROM blog_tag_projection").Scan(&tags)
		switch {
		case err != nil:
			return err
		case tags >= corpus.Tags:
			return nil
		case time.Now().After(until):
			return fmt.Errorf("the article service knows %d of %d tags", tags, corpus.Tags)
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}
