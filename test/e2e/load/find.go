package load

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"

	"github.com/achilles-blog/achilles/test/bench/corpus"
)

// find reads the worker's last article by its slug or by a search, or two pages of the
// loaded articles.
func (w *worker) find(ctx context.Context) {
	switch n := rand.IntN(3); {
	case n == 0:
		w.readSlug(ctx)
	case n == 1 && w.load.config.Loaded > 0:
		w.turnPage(ctx)
	default:
		w.search(ctx)
	}
}

func (w *worker) readSlug(ctx context.Context) {
	path := "/api/v1/articles/slug/" + w.article.slug
	if got, ok := w.exchange(ctx, w.load.config.Articles, request{method: http.MethodGet, path: path}, http.StatusOK); ok {
		w.expect(got, "title", w.article.name)
	}
}

// search searches for the words of the worker's last article, which comes first: no other
// article has all of them in its title.
func (w *worker) search(ctx context.Context) {
	path := "/api/v1/articles?q=" + url.QueryEscape(w.article.name)
	got, ok := w.exchange(ctx, w.load.config.Articles, request{method: http.MethodGet, path: path}, http.StatusOK)
	if !ok {
		return
	}
	var found struct{ List []struct{ ID uint64 } }
	if err := json.Unmarshal(got.body, &found); err != nil || len(found.List) == 0 || found.List[0].ID != w.article.id {
		w.load.results.wrong(w.name, got, fmt.Sprintf("want article %d first, got %.300s", w.article.id, got.body))
	}
}

// turnPage reads the first page of the loaded articles of a tag, and the second one by the
// cursor that the first one has.
func (w *worker) turnPage(ctx context.Context) {
	first := fmt.Sprintf("/api/v1/articles?tag_id=%d&page_size=%d", corpus.RareTag, pageSize)
	got, ok := w.exchange(ctx, w.load.config.Articles, request{method: http.MethodGet, path: first}, http.StatusOK)
	if !ok {
		return
	}
	var found struct{ Pager struct{ Next string } }
	if err := json.Unmarshal(got.body, &found); err != nil || found.Pager.Next == "" {
		w.load.results.wrong(w.name, got, fmt.Sprintf("want a next page, got %.300s", got.body))
		return
	}
	w.verify(ctx, first+"&after="+url.QueryEscape(found.Pager.Next), w.load.second.Check)
}
