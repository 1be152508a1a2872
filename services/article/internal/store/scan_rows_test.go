package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// createdAt is the time at which fillFast has created the article with an id.
func createdAt(id int) *time.Time {
	return new(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(id) * time.Second))
}

// scansReadFewRows requires that lists with filters and orders read a bounded number of rows of
// fillFast, and a page far behind the first about as many as that. Of all articles, 66 % are enabled;
// tag 1 has the odd ids, 3 one in ten of these, 4 one in ten of the even ones, 5 one in a thousand.
func (f fixture) scansReadFewRows(t *testing.T, rows int) {
	t.Helper()
	enabled, disabled := article.Enabled, article.Disabled
	middle := func(o article.Order) *article.Position { // of the list
		switch o.By {
		case article.ByCreated:
			return &article.Position{ID: uint64(rows / 2), Time: *createdAt(rows / 2)}
		case article.ByPublished:
			return &article.Position{ID: uint64(rows / 2), Time: *createdAt(rows / 2)}
		case article.ByUpdated:
			return &article.Position{ID: uint64(rows / 2), Time: *createdAt(0)}
		case article.ByTitle:
			return &article.Position{ID: uint64(rows / 2), Title: "0500滚动"}
		default:
			return &article.Position{ID: uint64(rows / 2)}
		}
	}
	days := article.Interval{From: createdAt(rows / 4), To: createdAt(rows * 3 / 4)}
	for name, one := range map[string]struct {
		filter article.Filter
		orders []article.OrderBy // nil for all
		most   int               // rows that may be read beside the page
	}{
		"all":                       {article.Filter{}, nil, 200},
		"enabled":                   {article.Filter{State: &enabled}, nil, 200},
		"disabled":                  {article.Filter{State: &disabled}, nil, 200},
		"public":                    {public(), nil, 200},
		"public tag":                {public(1), nil, 25_000},
		"public tags":               {public(1, 3), nil, 40_000},
		"public rare tag":           {public(2), nil, 300},
		"published":                 {article.Filter{Published: days}, []article.OrderBy{article.ByPublished}, 9000},
		"published, tag":            {article.Filter{AnyTag: []uint64{1}, Published: days, State: &enabled, Public: true}, []article.OrderBy{article.ByPublished}, 9000},
		"published, other order":    {article.Filter{Published: days, State: &enabled}, nil, 100_000},
		"created":                   {article.Filter{Created: days}, []article.OrderBy{article.ByCreated}, 9000},
		"created, other order":      {article.Filter{Created: days, State: &enabled}, nil, 100_000},
		"created on few days":       {article.Filter{Created: article.Interval{From: createdAt(rows / 2), To: createdAt(rows/2 + 3000)}}, nil, 40_000},
		"changed never":             {article.Filter{Updated: article.Interval{To: createdAt(0)}}, nil, 500},
		"changed":                   {article.Filter{Updated: article.Interval{From: createdAt(0)}}, nil, 100_000},
		"frequent tag":              {article.Filter{AnyTag: []uint64{1}, State: &enabled, TagEnabled: true}, nil, 25_000},
		"frequent tags":             {article.Filter{AnyTag: []uint64{1, 3, 4}}, nil, 45_000}, // nine ranges by time: three states of three tags
		"both frequent tags":        {article.Filter{AllTags: []uint64{1, 3}}, nil, 130_000},
		"frequent tags, never both": {article.Filter{AllTags: []uint64{1, 4}}, nil, 130_000},
		"rare tag":                  {article.Filter{AnyTag: []uint64{2}, Created: days}, nil, 300},
		"tag of a thousand":         {article.Filter{AnyTag: []uint64{5}}, nil, 10_000},
		"rare and frequent tag":     {article.Filter{AllTags: []uint64{1, 5}, Created: days}, nil, 10_000},
		"name":                      {article.Filter{Tag: pointer("tag 1"), State: &enabled}, nil, 25_000},
		"no such name":              {article.Filter{Tag: pointer("none")}, nil, 20},
	} {
		orders := one.orders
		if orders == nil {
			orders = []article.OrderBy{article.ByID, article.ByCreated, article.ByUpdated, article.ByTitle, article.ByPublished}
		}
		for _, by := range orders {
			for _, order := range []article.Order{{By: by}, {By: by, Ascending: true}} {
				first := f.rowsOfPage(t, one.filter, article.Page{Order: order, Limit: 10})
				deep := f.rowsOfPage(t, one.filter, article.Page{Order: order, Limit: 10, After: middle(order)})
				t.Logf("%s %+v: %d rows, deep %d", name, order, first, deep)
				if first > one.most+100 || deep > one.most+200 {
					t.Errorf("%s %+v: %d and %d rows are more than %d", name, order, first, deep, one.most)
				}
				if one.filter.Scans(order) {
					continue
				}
				if read := f.rowsOfPage(t, one.filter, article.Page{Order: order, Limit: 10, Offset: 1000}); read > one.most+8000 {
					t.Errorf("%s %+v: %d rows for an offset of 1000", name, order, read)
				}
			}
		}
	}
}

// rowsOfPage returns the number of rows that a list reads.
func (f fixture) rowsOfPage(t *testing.T, filter article.Filter, page article.Page) int {
	t.Helper()
	return rowsRead(t, f.db, func() {
		_, _, err := f.List(t.Context(), filter, page)
		require.NoError(t, err)
	})
}
