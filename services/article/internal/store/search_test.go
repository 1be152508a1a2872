package store_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// A search finds the same as a comparison of all titles, whatever the text and the other
// conditions are.
func TestSearchFindsAll(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		s.replace(t, snapshot(1, 1, 2, 3))
		off := put(2, 3, "off")
		off.State = 0
		require.NoError(t, s.apply(t.Context(), off))
		var all []article.Article // newest first
		for range 300 {
			one := draft(anyTitle(), [][]uint64{{}, {1}, {2}, {1, 2}, {2, 3}}[rand.N(5)]...)
			one.State = new(article.State(rand.N(2)))
			created, _, err := s.Create(t.Context(), one, idempotency.Key{})
			require.NoError(t, err)
			all = slices.Insert(all, 0, created)
		}
		for range 300 {
			runes := []rune(all[rand.N(len(all))].Title)
			start := rand.N(len(runes))
			text := string(runes[start:min(start+1+rand.N(8), len(runes))])
			if rand.N(4) == 0 {
				text = strings.ToUpper(anyTitle())
			}
			filter := article.Filter{Title: &text, TagEnabled: rand.N(2) == 0}
			if rand.N(2) == 0 {
				filter.AnyTag = []uint64{1 + rand.Uint64N(4)}
			}
			if rand.N(2) == 0 {
				filter.State = new(article.State(rand.N(2)))
			}
			page := article.Page{Offset: rand.N(20), Limit: 1 + rand.N(20)}
			var want []uint64
			for _, a := range all {
				tagged := filter.AnyTag == nil || slices.ContainsFunc(a.Tags, func(t article.Tag) bool {
					return t.ID == filter.AnyTag[0] && (t.State == article.Enabled || !filter.TagEnabled)
				})
				if tagged && (filter.State == nil || a.State == *filter.State) && strings.Contains(strings.ToLower(a.Title), strings.ToLower(text)) {
					want = append(want, a.ID)
				}
			}
			list, total, err := s.List(t.Context(), filter, page)
			require.NoError(t, err)
			require.Equal(t, article.Total{Rows: int64(len(want))}, total, "%q %+v", text, filter)
			want = want[min(page.Offset, len(want)):min(page.Offset+page.Limit, len(want))]
			require.Equal(t, len(want), len(list), "%q %+v", text, filter)
			for i, a := range list {
				require.Equal(t, want[i], a.ID, "%q %+v", text, filter)
			}
		}
	})
}

// An article that no longer matches when its row is read is not on the page.
func TestSearchLeavesOutWhatHasChanged(t *testing.T) {
	for name, change := range map[string]func(s fixture, id uint64) error{
		"title": func(s fixture, id uint64) error {
			return second(s.Update(context.Background(), id, draft("other", 1), nil))
		},
		"state": func(s fixture, id uint64) error {
			return second(s.Update(context.Background(), id, ofState(article.Disabled), nil))
		},
		"tag": func(s fixture, id uint64) error {
			return second(s.Update(context.Background(), id, draft("found"), nil))
		},
		"tag off": func(s fixture, _ uint64) error {
			off := put(2, 1, "off")
			off.State = 0
			return s.apply(context.Background(), off)
		},
		"deleted": func(s fixture, id uint64) error { return s.Delete(context.Background(), id, "", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, s fixture) {
				s.replace(t, snapshot(1, 1))
				id := s.create(t, "found", 1).ID
				s.db.OnQuery(func(query string, _ []any) {
					if strings.Contains(query, "AS one") { // the page
						require.NoError(t, change(s, id))
					}
				})
				filter := article.Filter{Title: pointer("foun"), AnyTag: []uint64{1}, State: pointer(article.Enabled), TagEnabled: true}
				found, total, err := s.List(t.Context(), filter, article.Page{Limit: 10})
				require.NoError(t, err)
				require.Empty(t, found)
				require.Equal(t, article.Total{Rows: 1}, total, "it was counted before")
			})
		})
	}
}
