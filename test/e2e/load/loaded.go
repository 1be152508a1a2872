package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/achilles-blog/achilles/test/bench/corpus"
)

// page is a page of a list of the loaded articles. It doesn't change, because no worker
// writes articles with their tags.
type page struct {
	path string
	want corpus.List
}

const pageSize = 10

// loadedPages returns pages of the articles of a rare tag and of the most used one.
func loadedPages(loaded int) []page {
	var all []page
	for _, tag := range []uint64{corpus.RareTag, corpus.TopTag} {
		for _, number := range []int{1, 100} {
			all = append(all, loadedPage(loaded, tag, number))
		}
	}
	return all
}

func loadedPage(loaded int, tag uint64, number int) page {
	return page{
		fmt.Sprintf("/api/v1/articles?tag_id=%d&page=%d&page_size=%d", tag, number, pageSize),
		corpus.Page(uint64(loaded), corpus.Filter{TagID: tag}, number, pageSize), // #nosec G115 -- not negative
	}
}

// readsLoaded reports whether the next read is that of a loaded article: every second one.
func (w *worker) readsLoaded() bool { return w.load.config.Loaded > 0 && rand.IntN(2) == 0 }

func (w *worker) readLoaded(ctx context.Context) {
	id := 1 + rand.Uint64N(uint64(w.load.config.Loaded)) // #nosec G115 -- positive
	w.verify(ctx, fmt.Sprintf("/api/v1/articles/%d", id), func(body []byte) error { return corpus.CheckArticle(body, id) })
}

func (w *worker) listLoaded(ctx context.Context) {
	p := w.load.pages[rand.IntN(len(w.load.pages))]
	w.verify(ctx, p.path, p.want.Check)
}

// verify reads from the article service and checks the whole response.
func (w *worker) verify(ctx context.Context, path string, check func(body []byte) error) {
	got, ok := w.exchange(ctx, w.load.config.Articles, request{method: http.MethodGet, path: path}, http.StatusOK)
	if !ok {
		return
	}
	if err := check(got.body); err != nil {
		w.load.results.wrong(w.name, got, err.Error())
	}
}
