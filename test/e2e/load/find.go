package load

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/achilles-blog/achilles/test/bench/corpus"
)

// changesWait is how long a worker waits for a change. Others write, so it seldom does.
const changesWait = time.Second

// find reads the worker's last article by its slug or by a search, changes of articles, or
// two pages of the loaded articles.
func (w *worker) find(ctx context.Context) {
	switch n := rand.IntN(4); {
	case n == 0:
		w.readSlug(ctx)
	case n == 1:
		w.follow(ctx)
	case n == 2 && w.load.config.Loaded > 0:
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

// follow reads the changes after those that the worker has read before.
func (w *worker) follow(ctx context.Context) {
	path := fmt.Sprintf("/api/v1/articles/changes?limit=20&wait=%d", int(changesWait.Seconds()))
	if w.changes != "" {
		path += "&after=" + url.QueryEscape(w.changes)
	}
	got, ok := w.exchange(ctx, w.load.config.Articles, request{method: http.MethodGet, path: path}, http.StatusOK)
	if !ok {
		return
	}
	var found struct{ Data struct{ Next string } }
	if err := json.Unmarshal(got.body, &found); err != nil || found.Data.Next == "" {
		w.load.results.wrong(w.name, got, fmt.Sprintf("want the next offset, got %.300s", got.body))
		return
	}
	w.changes = found.Data.Next
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
