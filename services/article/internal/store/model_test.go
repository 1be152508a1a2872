package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/services/article/internal/article"
)

// model is what a list is compared with: all articles, with their tags.
type model struct{ articles []article.Article }

// list returns the articles for which all conditions of the filter hold, except that on the
// title, in an order.
func (m model) list(filter article.Filter, order article.Order) (found []article.Article) {
	for _, a := range m.articles {
		if modelMatches(filter, a) {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b article.Article) int {
		c := 0
		switch order.By {
		case article.ByCreated:
			c = a.CreatedAt.Compare(b.CreatedAt)
		case article.ByUpdated:
			c = a.UpdatedAt.Compare(b.UpdatedAt)
		case article.ByPublished:
			c = a.PublishedAt.Compare(b.PublishedAt)
		case article.ByTitle:
			c = slices.Compare([]rune(a.Title), []rune(b.Title))
		}
		if c == 0 {
			c = int(a.ID) - int(b.ID)
		}
		if !order.Ascending {
			c = -c
		}
		return c
	})
	return found
}

func modelMatches(filter article.Filter, a article.Article) bool {
	has := func(wanted func(article.Tag) bool) bool {
		for _, t := range a.Tags {
			if wanted(t) && (!filter.TagEnabled || t.State == article.Enabled) {
				return true
			}
		}
		return false
	}
	hasOne := func(id uint64) bool { return has(func(t article.Tag) bool { return t.ID == id }) }
	for _, id := range filter.AllTags {
		if !hasOne(id) {
			return false
		}
	}
	within := func(i article.Interval, t time.Time) bool {
		return (i.From == nil || !t.Before(*i.From)) && (i.To == nil || t.Before(*i.To))
	}
	state := a.State
	if !filter.Public && state == article.Scheduled {
		state = article.Enabled
	}
	return (filter.State == nil || *filter.State == state) &&
		(filter.AnyTag == nil || slices.ContainsFunc(filter.AnyTag, hasOne)) &&
		(filter.Tag == nil || has(func(t article.Tag) bool { return t.Name == *filter.Tag })) &&
		within(filter.Created, a.CreatedAt) && within(filter.Updated, a.UpdatedAt) && within(filter.Published, a.PublishedAt)
}

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// anyTime returns one of few times, so that many are equal.
func anyTime() time.Time { return begin.Add(time.Duration(rand.N(40)) * 250 * time.Millisecond) }

// fillModel stores n random articles with the tags 1 to 5, of which 3 is disabled. Some articles are
// scheduled, some of them are due.
func (f fixture) fillModel(t *testing.T, n int) (m model) {
	t.Helper()
	f.replace(t, snapshot(1, 1, 2, 3, 4, 5))
	off := put(2, 3, "tag 3")
	off.State = 0
	require.NoError(t, f.apply(t.Context(), off))
	for range n {
		var tags []uint64
		for id := range uint64(5) {
			if rand.N(int(id)+2) == 0 {
				tags = append(tags, id+1)
			}
		}
		one := f.create(t, []string{"a", "B", "ab", "中文", "é", "a b", "😀", "￿"}[rand.N(8)], tags...)
		f.exec(t, "UPDATE blog_article SET created_at = ?, updated_at = ? WHERE id = ?", anyTime(), anyTime(), one.ID)
		if rand.N(3) == 0 {
			_, err := f.Update(t.Context(), one.ID, ofState(article.Disabled), nil)
			require.NoError(t, err)
			f.exec(t, "UPDATE blog_article SET updated_at = ? WHERE id = ?", anyTime(), one.ID)
		}
		if rand.N(8) == 0 {
			require.NoError(t, f.Delete(t.Context(), one.ID, "", nil))
			continue
		}
		at, due := anyTime(), rand.N(6) == 0
		if rand.N(5) == 0 {
			at, due = at.AddDate(300, 0, 0), false
		}
		_, err := f.Update(t.Context(), one.ID, article.Draft{PublishedAt: &at}, nil)
		require.NoError(t, err)
		f.exec(t, "UPDATE blog_article SET updated_at = ? WHERE id = ?", anyTime(), one.ID)
		if due {
			f.unsettle(t, one.ID)
		}
		stored, err := f.get(t.Context(), one.ID)
		require.NoError(t, err)
		m.articles = append(m.articles, stored)
	}
	_, err := f.Recount(t.Context())
	require.NoError(t, err)
	return m
}

// unsettle makes an article that is enabled one whose time has come, but whose row doesn't say so.
func (f fixture) unsettle(t *testing.T, id uint64) {
	t.Helper()
	f.exec(t, "UPDATE blog_article SET state = 2 WHERE state = 1 AND id = ?", id)
	f.exec(t, "UPDATE blog_article_tag SET article_state = 2 WHERE article_state = 1 AND article_id = ?", id)
}

func anyFilter() (filter article.Filter) {
	ids := func() (ids []uint64) {
		for range 1 + rand.N(3) {
			ids = append(ids, 1+rand.Uint64N(6))
		}
		return ids
	}
	interval := func() (i article.Interval) {
		if rand.N(2) == 0 {
			i.From = new(anyTime().Add(time.Duration(rand.N(3)) * 100 * time.Microsecond))
		}
		if rand.N(2) == 0 {
			i.To = new(anyTime())
		}
		return i
	}
	if rand.N(3) == 0 {
		filter.AnyTag = ids()
	}
	if rand.N(4) == 0 {
		filter.AllTags = ids()
	}
	if rand.N(4) == 0 {
		filter.Tag = new(fmt.Sprint("tag ", 1+rand.N(6)))
	}
	if rand.N(2) == 0 {
		filter.State = new(article.State(rand.N(2)))
		filter.Public = *filter.State == article.Enabled && rand.N(3) > 0
	}
	if rand.N(3) == 0 {
		filter.Created = interval()
	}
	if rand.N(3) == 0 {
		filter.Updated = interval()
	}
	if rand.N(3) == 0 {
		filter.Published = interval()
	}
	filter.TagEnabled = rand.N(2) == 0
	return filter
}

func ids(articles []article.Article) []uint64 {
	ids := []uint64{}
	for _, a := range articles {
		ids = append(ids, a.ID)
	}
	return ids
}

// Each list has what a comparison with all articles finds, on pages with numbers and with
// cursors alike, whatever the filters and the order are, and however the list is read.
func TestListsAgreeWithModel(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		m := s.fillModel(t, 250)
		for n := range repeats(800) {
			if n >= repeats(400) { // so that the lists read few entries at a time, and sort few
				s.LimitScans(20_000, rand.N(100), 1+rand.N(10), 30)
			}
			filter, order := anyFilter(), article.Order{By: article.OrderBy(rand.N(5)), Ascending: rand.N(2) == 0}
			description := fmt.Sprintf("%s %+v", describe(filter), order)
			want := m.list(filter, order)
			page := article.Page{Order: order, Offset: rand.N(30), Limit: 1 + rand.N(50)}
			found, err := s.Store.List(t.Context(), filter, page)
			require.NoError(t, err, description)
			seen := found.View(article.Authenticated)
			require.Equal(t, article.Total{Rows: int64(len(want))}, seen.Total, description)
			rest := want[min(page.Offset, len(want)):]
			require.Equal(t, ids(rest[:min(page.Limit, len(rest))]), ids(seen.Articles), "%s %+v", description, page)
			s.requirePages(t, description, filter, page, seen.Next, rest[min(page.Limit, len(rest)):])
		}
	})
}

// A list that has read as many entries as it may ends its page early. The pages that follow
// have the rest, each article once.
func TestScansEndEarly(t *testing.T) {
	each(t, func(t *testing.T, s fixture) {
		m := s.fillModel(t, 150)
		early := 0
		for range repeats(200) {
			s.LimitScans(10+rand.N(100), rand.N(10), 1+rand.N(10), 30)
			filter, order := anyFilter(), article.Order{By: article.OrderBy(rand.N(5)), Ascending: rand.N(2) == 0}
			description := fmt.Sprintf("%s %+v", describe(filter), order)
			want := ids(m.list(filter, order))
			page := article.Page{Order: order, Limit: 1 + rand.N(20)}
			got := []uint64{}
			for {
				found, err := s.Store.List(t.Context(), filter, page)
				require.NoError(t, err, description)
				seen := found.View(article.Authenticated)
				if !seen.Total.AtLeast {
					require.EqualValues(t, len(want), seen.Total.Rows, description)
				}
				require.LessOrEqual(t, seen.Total.Rows, int64(len(want)), description)
				require.GreaterOrEqual(t, seen.Total.Rows, int64(len(seen.Articles)), description)
				got = append(got, ids(seen.Articles)...)
				if seen.Next == nil {
					break
				}
				if len(seen.Articles) < page.Limit {
					early++
				}
				page.After = seen.Next
			}
			require.Equal(t, want, got, description)
		}
		require.Greater(t, early, repeats(25))
	})
}

// requirePages requires the pages that follow next to have the given articles.
func (f fixture) requirePages(t *testing.T, description string, filter article.Filter, page article.Page, next *article.Position, want []article.Article) {
	t.Helper()
	page.Offset = 0
	for len(want) > 0 {
		require.NotNil(t, next, description)
		page.After = next
		found, err := f.Store.List(t.Context(), filter, page)
		require.NoError(t, err, description)
		seen := found.View(article.Authenticated)
		n := min(page.Limit, len(want))
		require.Equal(t, ids(want[:n]), ids(seen.Articles), "%s after %+v", description, *next)
		want, next = want[n:], seen.Next
	}
	require.Nil(t, next, description)
}

func describe(filter article.Filter) string {
	text := fmt.Sprintf("any %v all %v enabled %v", filter.AnyTag, filter.AllTags, filter.TagEnabled)
	if filter.Tag != nil {
		text += " name " + *filter.Tag
	}
	if filter.State != nil {
		text += fmt.Sprint(" state ", *filter.State, " public ", filter.Public)
	}
	for name, i := range map[string]article.Interval{" created": filter.Created, " updated": filter.Updated, " published": filter.Published} {
		if i.From != nil {
			text += name + " from " + i.From.String()
		}
		if i.To != nil {
			text += name + " to " + i.To.String()
		}
	}
	return text
}
