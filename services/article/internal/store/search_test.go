package store_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/idempotency"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/search"
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

// A search shows each article as it finds it, even if the article changes meanwhile.
func TestSearchesReadASnapshot(t *testing.T) {
	for name, change := range map[string]func(s fixture, id uint64) error{
		"title": func(s fixture, id uint64) error {
			return second(s.Update(context.Background(), id, draft("other", 1), nil))
		},
		"content": func(s fixture, id uint64) error {
			return second(s.Update(context.Background(), id, article.Draft{Content: pointer("")}, nil))
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
				one := draft("found", 1)
				one.Content = pointer("words")
				created, _, err := s.Create(t.Context(), one, idempotency.Key{})
				require.NoError(t, err)
				s.db.OnQuery(func(query string, _ []any) {
					if strings.Contains(query, "AS one") { // the page
						require.NoError(t, change(s, created.ID))
					}
				})
				filter := article.Filter{Title: pointer("foun"), Words: []string{"words"}, AnyTag: []uint64{1}, State: pointer(article.Enabled), TagEnabled: true}
				found, total, err := s.List(t.Context(), filter, article.Page{Limit: 10})
				require.NoError(t, err)
				require.Equal(t, article.Total{Rows: 1}, total)
				created.Content = ""
				require.Equal(t, []article.Article{created}, found)
				s.db.OnQuery(nil)
				found, total, err = s.List(t.Context(), filter, article.Page{Limit: 10})
				require.NoError(t, err)
				require.Empty(t, found)
				require.Zero(t, total)
			})
		})
	}
}

// fillTexts stores n random articles with the tags 1 to 5, of which 3 is disabled.
func (f fixture) fillTexts(t *testing.T, n int) model {
	t.Helper()
	m := f.fillModel(t, n)
	for i, a := range m.articles {
		changed := withText(anyTitle(), anyText(), anyText())
		changed.State = nil
		stored, err := f.Update(t.Context(), a.ID, changed, nil)
		require.NoError(t, err)
		f.exec(t, "UPDATE blog_article SET updated_at = ? WHERE id = ?", a.UpdatedAt, a.ID)
		m.articles[i] = stored
		m.articles[i].UpdatedAt = a.UpdatedAt
	}
	return m
}

// anySearch returns a filter with a part of a title, words, or both.
func (m model) anySearch() (filter article.Filter) {
	if rand.N(2) == 0 {
		filter = anyFilter()
	}
	which := rand.N(3)
	if which != 0 {
		runes := []rune(m.articles[rand.N(len(m.articles))].Title)
		start := rand.N(len(runes))
		filter.Title = pointer(strings.ToUpper(string(runes[start:min(start+1+rand.N(4), len(runes))])))
	}
	if which != 1 {
		for len(filter.Words) == 0 {
			filter.Words = search.QueryWords(anyTitle())
		}
	}
	return filter
}

// search returns the articles that a search finds in an order, and their ranks by id.
func (m model) search(filter article.Filter, order article.Order) (found []article.Article, ranks map[uint64]int) {
	ranks = map[uint64]int{}
	listed := order
	if order.By == article.ByRank {
		listed.By = article.ByID
	}
	for _, a := range m.list(filter, listed) {
		weights := map[string]int{}
		for _, word := range search.Words(a.Title, a.Desc, a.Content) {
			weights[word.Text] = int(word.Weight)
		}
		matches := filter.Title == nil || strings.Contains(strings.ToLower(a.Title), strings.ToLower(*filter.Title))
		for _, word := range filter.Words {
			matches = matches && weights[word] > 0
			ranks[a.ID] += weights[word]
		}
		if matches {
			found = append(found, a)
		}
	}
	if order.By == article.ByRank {
		slices.SortStableFunc(found, func(a, b article.Article) int {
			if order.Ascending {
				return cmp.Compare(ranks[a.ID], ranks[b.ID])
			}
			return cmp.Compare(ranks[b.ID], ranks[a.ID])
		})
	}
	return found, ranks
}

// Each search finds what a comparison with all articles finds, on pages with numbers and with
// cursors alike, whatever the words, the filters and the order are, and however many
// candidates it looks at at a time.
func TestSearchesAgreeWithModel(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		m := s.fillTexts(t, 200)
		some := 0
		for n := range repeats(800) {
			if n >= repeats(400) {
				s.LimitSearches(20_000, 20_000, 20_000, 1+rand.N(20))
			}
			filter, order := m.anySearch(), article.Order{By: article.OrderBy(rand.N(5)), Ascending: rand.N(2) == 0}
			description := fmt.Sprintf("%v %s %+v", filter.Words, describe(filter), order)
			if filter.Title != nil {
				description += " title " + *filter.Title
			}
			want, _ := m.search(filter, order)
			some += len(want)
			page := article.Page{Order: order, Offset: rand.N(20), Limit: 1 + rand.N(30)}
			found, err := s.Store.List(t.Context(), filter, page)
			require.NoError(t, err, description)
			seen := found.View(article.Authenticated)
			require.Equal(t, article.Total{Rows: int64(len(want))}, seen.Total, description)
			rest := want[min(page.Offset, len(want)):]
			require.Equal(t, ids(rest[:min(page.Limit, len(rest))]), ids(seen.Articles), "%s %+v", description, page)
			s.requirePages(t, description, filter, page, seen.Next, rest[min(page.Limit, len(rest)):])
		}
		require.Greater(t, some, repeats(1000))
	})
}

// A search that has looked at as many candidates as it may finds the newest, and says that
// there may be more. In the order of the ids, the pages that follow have the rest.
func TestSearchesEndEarly(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		m := s.fillTexts(t, 150)
		early := 0
		for range repeats(200) {
			most := 1 + rand.N(30)
			s.LimitSearches(most, most, most, 1+rand.N(10))
			filter, order := m.anySearch(), article.Order{By: article.OrderBy(rand.N(5)), Ascending: rand.N(2) == 0}
			description := fmt.Sprintf("%v %s %+v", filter.Words, describe(filter), order)
			all, _ := m.search(filter, order)
			want := ids(all)
			page := article.Page{Order: order, Limit: 1 + rand.N(20)}
			got := []uint64{}
			for {
				found, err := s.Store.List(t.Context(), filter, page)
				require.NoError(t, err, description)
				seen := found.View(article.Authenticated)
				if seen.Total.AtLeast {
					early++
				} else {
					require.EqualValues(t, len(want), seen.Total.Rows, description)
				}
				require.LessOrEqual(t, seen.Total.Rows, int64(len(want)), description)
				require.GreaterOrEqual(t, seen.Total.Rows, int64(len(seen.Articles)), description)
				got = append(got, ids(seen.Articles)...)
				if seen.Next == nil {
					break
				}
				page.After = seen.Next
			}
			if order.By == article.ByID {
				require.Equal(t, want, got, description)
			} else {
				require.Subset(t, want, got, description)
			}
		}
		require.Greater(t, early, repeats(25))
	})
}

// The rank counts titles most, then descriptions, then contents; articles of the same rank
// are in the order of lists.
func TestRank(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		for _, a := range []article.Draft{
			withText("x", "", "go rust"), withText("Go", "rust", ""), withText("x", "Go Rust", ""), withText("Go Rust", "", ""), withText("go", "", "rust"), withText("x", "go", "rust"),
			withText("x", "go", ""), withText("x", "", "rust GO go go"),
		} {
			require.NoError(t, third(s.Create(t.Context(), a, idempotency.Key{})))
		}
		filter := article.Filter{Words: []string{"go", "rust"}}
		order := article.Order{By: article.ByRank}
		found, total, err := s.List(t.Context(), filter, article.Page{Order: order, Limit: 10})
		require.NoError(t, err)
		require.Equal(t, []uint64{4, 2, 5, 3, 6, 8, 1}, ids(found))
		require.Equal(t, article.Total{Rows: 7}, total)
	})
}
