package store_test

import (
	"strings"
	"testing"

	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// wordsReadFewRows requires that a search for words reads a bounded number of rows of
// fillFast, in each order.
func (f fixture) wordsReadFewRows(t *testing.T, rows int) {
	t.Helper()
	enabled, disabled := article.Enabled, article.Disabled
	for _, one := range []struct {
		words  string
		filter article.Filter
		total  article.Total
		rows   int // that may be read
	}{
		{"even", article.Filter{}, article.Total{Rows: 1000, AtLeast: true}, 4500},
		{"even", article.Filter{State: &enabled}, article.Total{Rows: 1000, AtLeast: true}, 8500},
		{"even", article.Filter{State: &enabled, AnyTag: []uint64{1}, TagEnabled: true}, article.Total{AtLeast: rows/2 > 12_000}, 80_000},
		{"even off", article.Filter{State: &disabled}, article.Total{Rows: 1000, AtLeast: true}, 12_000},
		{"even off", article.Filter{State: &enabled}, article.Total{AtLeast: true}, 36_000},
		{"rare", article.Filter{}, article.Total{Rows: int64(rows / 10_000)}, 600},
		{"rare odd off", article.Filter{}, article.Total{}, 1200},
		{"few even", article.Filter{State: &enabled, AnyTag: []uint64{2}, TagEnabled: true}, article.Total{}, 800},
		{"none", article.Filter{}, article.Total{}, 20},
		{"even none off", article.Filter{}, article.Total{}, 400},
		// The words are in half of the articles each, and never together.
		{"even odd", article.Filter{}, article.Total{AtLeast: true}, 25_000},
		{"even odd off", article.Filter{}, article.Total{AtLeast: true}, 25_000},
	} {
		one.filter.Words = strings.Fields(one.words)
		for by := range article.ByRank + 1 {
			if raceDetector && by != article.ByID && by != article.ByRank {
				continue // SQLite is Go code, which the detector slows down
			}
			for _, page := range []article.Page{{Limit: 10}, {Offset: 500, Limit: 100}} {
				page.Order.By = by
				f.requireSearch(t, one.words, one.filter, page, one.total, one.rows)
			}
		}
	}
}
