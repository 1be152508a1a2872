package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

const (
	changesPath = articlesPath + "/changes"
	// maxWaiting is the number of readers that may wait for a change in tests.
	maxWaiting = 8
	// prompt is well below the wait of 10 s that readers ask for.
	prompt = 5 * time.Second
)

// newFeed returns the feed of a replica. Only writes of the replica wake its readers, unless
// a minute passes.
func newFeed(t *testing.T, stored *store.Store) *article.Feed {
	t.Helper()
	watch := func(viewer article.Viewer) *changefeed.Watcher {
		w := changefeed.NewWatcher(changefeed.WatcherOptions{Head: stored.LastNumber(viewer), Interval: time.Minute, MaxWaiting: maxWaiting})
		dbtest.Work(t, w.Run)
		return w
	}
	return article.NewFeed(stored, watch(article.Anonymous), watch(article.Authenticated))
}

// changes returns changes as a client gets them.
func changes(t *testing.T, client *apitest.Client, after string, query ...string) api.Changes {
	t.Helper()
	result := client.Do(t, apitest.Case{Path: changesPath + "?after=" + url.QueryEscape(after) + strings.Join(append([]string{""}, query...), "&")})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
	var response struct{ Data api.Changes }
	result.JSON(t, &response)
	for i, change := range response.Data.Changes {
		require.Equal(t, change.Article != nil, change.Kind == "put")
		if change.Article != nil {
			require.Equal(t, change.ID, change.Article.ID)
			require.Nil(t, change.Article.Content)
		}
		if i == len(response.Data.Changes)-1 {
			require.Equal(t, change.Offset, response.Data.Next)
		}
	}
	return response.Data
}

// brief returns the kinds, ids and titles of changes.
func brief(found api.Changes) []string {
	all := []string{}
	for _, change := range found.Changes {
		text := fmt.Sprint(change.Kind, " ", change.ID)
		if change.Article != nil {
			text += " " + change.Article.Title
		}
		all = append(all, text)
	}
	return all
}

func TestChanges(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		require.Equal(t, []string{}, brief(changes(t, s.anonymous, "")))
		beginning := changes(t, s.Client, "").Next

		first := s.create(t, fields{"title": "first", "desc": "d", "tag_ids": []int{2, 1}}).ID
		draft := s.create(t, fields{"title": "draft", "state": 0}).ID
		s.put(t, draft, fields{"title": "draft 2"})
		s.put(t, first, fields{"title": "first"}) // changes nothing
		s.requireError(t, apitest.Case{Method: http.MethodPut, Path: at(99), JSON: fields{"title": "x"}}, errcode.ArticleNotFound)
		id := func(text string, ids ...any) string { return fmt.Sprintf(text, ids...) }
		all := []string{id("put %d first", first), id("put %d draft 2", draft), id("put %d draft 2", draft)}
		require.Equal(t, all, brief(changes(t, s.Client, "")))
		require.Equal(t, all, brief(changes(t, s.Client, beginning)))
		require.Equal(t, all[:1], brief(changes(t, s.anonymous, "")))
		seen := changes(t, s.anonymous, "").Changes[0].Article
		read := s.get(t, first)
		read.Content = nil
		require.Equal(t, &read, seen, "the shape of a list")

		published := s.put(t, draft, fields{"title": "published", "state": 1}).ID
		require.Equal(t, []string{all[0], id("put %d published", published)}, brief(changes(t, s.anonymous, "")))
		s.put(t, first, fields{"state": 0})
		gone := []string{id("delete %d", first), id("put %d published", published), id("delete %d", first)}
		require.Equal(t, gone, brief(changes(t, s.anonymous, "")))
		s.put(t, first, fields{"title": "hidden"})
		require.Equal(t, gone, brief(changes(t, s.anonymous, "")), "a change of what is hidden")
		s.delete(t, first)
		require.Equal(t, gone, brief(changes(t, s.anonymous, "")), "a deletion of what is hidden")
		s.delete(t, published)
		require.Equal(t, []string{gone[0], id("delete %d", published), gone[2], id("delete %d", published)}, brief(changes(t, s.anonymous, "")))
		require.Len(t, changes(t, s.Client, "").Changes, 8)
	})
}

// Pages end where the limit says, and each offset goes on where it was.
func TestPagesOfChanges(t *testing.T) {
	s := embedded(t)
	for n := range 102 {
		s.create(t, fields{"title": strconv.Itoa(n)})
	}
	page := changes(t, s.anonymous, "")
	require.Len(t, page.Changes, 100)
	require.True(t, page.More)
	last := changes(t, s.anonymous, page.Next)
	require.Len(t, last.Changes, 2)
	require.False(t, last.More)
	empty := changes(t, s.anonymous, last.Next)
	require.Equal(t, api.Changes{Changes: []api.Change{}, Next: last.Next}, empty)
	within := changes(t, s.anonymous, page.Changes[96].Offset, "limit=2")
	require.Equal(t, page.Changes[97:99], within.Changes)
	require.True(t, within.More)
}

// Whoever has no token learns nothing about disabled articles, not even their number.
func TestHiddenChangesLeaveNoTrace(t *testing.T) {
	s := embedded(t)
	s.create(t, fields{"title": "visible"})
	before := s.anonymous.Do(t, apitest.Case{Path: changesPath}).Body
	hidden := s.create(t, fields{"title": "secret", "state": 0}).ID
	s.put(t, hidden, fields{"title": "another secret"})
	s.delete(t, hidden)
	require.Equal(t, string(before), string(s.anonymous.Do(t, apitest.Case{Path: changesPath}).Body))

	disabledTag := s.create(t, fields{"title": "tagged", "tag_ids": []int{1, 2}}).ID
	require.NoError(t, s.applyChange(t.Context(), tagfeed.Change{TagID: 1, Kind: changefeed.Put, Name: tagName(1)}))
	found := changes(t, s.anonymous, "").Changes
	require.Equal(t, disabledTag, found[1].ID)
	require.Equal(t, []uint64{2}, tagIDs(*found[1].Article))
	require.Equal(t, []uint64{1, 2}, tagIDs(*changes(t, s.Client, "").Changes[len(changes(t, s.Client, "").Changes)-1].Article))
}

// A long poll of a client without a token doesn't return for a hidden change.
func TestHiddenChangesWakeNobody(t *testing.T) {
	s := embedded(t)
	await := s.poll(t, s.anonymous, article.Anonymous, "", "wait=2")
	s.create(t, fields{"title": "secret", "state": 0})
	found, took := await()
	require.Empty(t, found.Changes)
	require.GreaterOrEqual(t, took, 2*time.Second)
}

func TestInvalidParametersOfChanges(t *testing.T) {
	s := embedded(t)
	malformed := "after必须是本接口返回的next或offset"
	for query, details := range map[string][]string{
		"after=x":                      {malformed},
		"after=1":                      {malformed},
		"after=e.-1":                   {malformed},
		"after=e.1.1":                  {malformed},
		"after=e.99999999999999999999": {malformed},
		"after=%00.1":                  {malformed},
		"after=%25_.1%27":              {malformed},
		"after=" + strings.Repeat("e", 65) + ".1": {malformed},
		"after=" + strings.Repeat("e", 101):       {"after长度不能超过100个字符"},
		"after=e.1&after=e.2":                     {"after只能出现一次"},
		"limit=0":                                 {"limit最小只能为1"},
		"limit=-1":                                {"limit最小只能为1"},
		"limit=101":                               {"limit必须小于或等于100"},
		"limit=18446744073709551616":              {"limit超出 64 位整数的范围"},
		"wait=-1":                                 {"wait最小只能为0"},
		"wait=11":                                 {"wait必须小于或等于10"},
		"wait=x":                                  {"wait必须是整数"},
	} {
		t.Run(query, func(t *testing.T) {
			s.requireError(t, apitest.Case{Path: changesPath + "?" + query, Invalid: true}, errcode.InvalidParams, details...)
		})
	}
	result := s.Do(t, apitest.Case{Path: changesPath + "?afterr=e.1", Invalid: true})
	require.Equal(t, http.StatusBadRequest, result.Status, "a name that resembles a parameter")
}

// gone requires a 410 and returns the offset in it, from which the feed goes on.
func gone(t *testing.T, client *apitest.Client, after string) string {
	t.Helper()
	result := client.Do(t, apitest.Case{Path: changesPath + "?wait=10&after=" + after})
	require.Equal(t, http.StatusGone, result.Status, "%s", result.Body)
	var problem struct {
		Code errcode.Code
		Next string
	}
	result.JSON(t, &problem)
	require.Equal(t, errcode.ChangesTrimmed, problem.Code)
	require.Empty(t, changes(t, client, problem.Next).Changes)
	return problem.Next
}

func TestStartOver(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		for n := range 5 {
			s.create(t, fields{"title": strconv.Itoa(n), "state": n % 2})
		}
		all, public := changes(t, s.Client, ""), changes(t, s.anonymous, "")
		require.Len(t, public.Changes, 2)
		require.Equal(t, all.Next, gone(t, s.Client, public.Next), "a client that got a token")
		require.Equal(t, public.Next, gone(t, s.anonymous, all.Next), "a client whose token is gone")
		for _, ahead := range []string{"another.1", strings.Replace(public.Next, ".2", ".3", 1), strings.Replace(public.Next, ".2", ".9223372036854775807", 1)} {
			require.Equal(t, public.Next, gone(t, s.anonymous, ahead))
		}

		removed, err := s.store.TrimChanges(t.Context(), time.Now().Add(time.Hour), 4)
		require.NoError(t, err)
		require.EqualValues(t, 4, removed)
		for _, client := range []*apitest.Client{s.Client, s.anonymous} {
			gone(t, client, "")
		}
		require.Len(t, changes(t, s.Client, all.Changes[3].Offset).Changes, 1)
		require.Empty(t, changes(t, s.anonymous, public.Next).Changes, "the last offset of an empty feed is valid")
		s.create(t, fields{"title": "next"})
		require.Len(t, changes(t, s.anonymous, public.Next).Changes, 1)

		_, err = s.db.SQL().ExecContext(t.Context(), "UPDATE blog_article_sequence SET epoch = 'restored'")
		require.NoError(t, err)
		require.Equal(t, "prestored.3", gone(t, s.anonymous, public.Next))
		problem := s.anonymous.Do(t, apitest.Case{Path: changesPath + "?after=x.1", Header: http.Header{"Accept": {"application/problem+json"}}})
		require.Equal(t, http.StatusGone, problem.Status)
		require.Contains(t, string(problem.Body), `"next":"prestored.3"`)
	})
}

// poll starts a long poll and returns once it waits.
func (s *service) poll(t *testing.T, client *apitest.Client, viewer article.Viewer, after string, query ...string) (await func() (api.Changes, time.Duration)) {
	t.Helper()
	waiting := s.feed.Watcher(viewer).Waiting()
	var found api.Changes
	var took time.Duration
	done := make(chan struct{})
	go func() {
		defer close(done)
		began := time.Now()
		found = changes(t, client, after, query...)
		took = time.Since(began)
	}()
	require.Eventually(t, func() bool { return s.feed.Watcher(viewer).Waiting() > waiting }, patience, time.Millisecond)
	return func() (api.Changes, time.Duration) { <-done; return found, took }
}

func TestWriteWakesReadersOfChanges(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		created := s.create(t, fields{"title": "a"})
		for _, write := range []func(){
			func() { s.create(t, fields{"title": "b"}) },
			func() { s.put(t, created.ID, fields{"title": "c"}) },
			func() { s.delete(t, created.ID) },
		} {
			public := s.poll(t, s.anonymous, article.Anonymous, changes(t, s.anonymous, "").Next, "wait=10")
			all := s.poll(t, s.Client, article.Authenticated, changes(t, s.Client, "").Next, "wait=10")
			write()
			for _, await := range []func() (api.Changes, time.Duration){public, all} {
				found, took := await()
				require.Len(t, found.Changes, 1)
				require.Less(t, took, prompt)
			}
		}
	})
}

// A client without a token that opens many long polls gets a quarter of the places, and
// keeps neither others from waiting nor anybody from reading.
func TestManyLongPolls(t *testing.T) {
	s := embedded(t)
	s.create(t, fields{"title": "a"})
	next, all := changes(t, s.anonymous, "").Next, changes(t, s.Client, "").Next
	var waiting []func() (api.Changes, time.Duration)
	for range maxWaiting / 4 {
		waiting = append(waiting, s.poll(t, s.anonymous, article.Anonymous, next, "wait=10"))
	}
	for range 20 {
		result := s.anonymous.Do(t, apitest.Case{Path: changesPath + "?wait=10&after=" + next})
		require.Equal(t, http.StatusServiceUnavailable, result.Status)
		require.NotEmpty(t, result.Header.Get("Retry-After"))
	}
	require.Zero(t, s.memory.Reserved(), "a request that waits holds no memory of responses")
	require.Empty(t, changes(t, s.anonymous, next).Changes, "without a wait")
	waiting = append(waiting, s.poll(t, s.Client, article.Authenticated, all, "wait=10"))
	s.create(t, fields{"title": "b"})
	for _, await := range waiting {
		found, took := await()
		require.Len(t, found.Changes, 1)
		require.Less(t, took, prompt)
	}
}

// Readers that wait don't keep others from reading, even if as many wait as may read at once.
func TestLongPollsLeavePlacesToReads(t *testing.T) {
	s := embedded(t, func(o *options) { o.server.MaxRequests = maxWaiting }) // half of them may be reads
	created := s.create(t, fields{"title": "a"})
	next, all := changes(t, s.anonymous, "").Next, changes(t, s.Client, "").Next
	var waiting []func() (api.Changes, time.Duration)
	for range maxWaiting / 4 {
		waiting = append(waiting, s.poll(t, s.anonymous, article.Anonymous, next, "wait=10"), s.poll(t, s.Client, article.Authenticated, all, "wait=10"))
	}
	for range 20 {
		s.get(t, created.ID)
	}
	s.put(t, created.ID, fields{"title": "b"})
	for _, await := range waiting {
		found, _ := await()
		require.Len(t, found.Changes, 1)
	}
}

// A long poll ends when its client disconnects, and before the request's timeout.
func TestLongPollOfChangesEnds(t *testing.T) {
	s := embedded(t)
	server := httptest.NewServer(s.handler)
	defer server.Close()
	ctx, disconnect := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+changesPath+"?wait=10", nil)
	require.NoError(t, err)
	var done sync.WaitGroup
	done.Go(func() {
		if response, err := server.Client().Do(request); err == nil {
			_ = response.Body.Close()
		}
	})
	watcher := s.feed.Watcher(article.Anonymous)
	require.Eventually(t, func() bool { return watcher.Waiting() == 1 }, patience, time.Millisecond)
	disconnect()
	done.Wait()
	require.Eventually(t, func() bool { return watcher.Waiting() == 0 }, patience, time.Millisecond)

	hasty := embedded(t, func(o *options) { o.server.RequestTimeout = 2 * time.Second })
	dbtest.Within(t, 2*time.Second, func() { require.Empty(t, changes(t, hasty.anonymous, "", "wait=10").Changes) })
}

// A repeated POST adds no change.
func TestRepeatAddsNoChange(t *testing.T) {
	s := embedded(t)
	for range 3 {
		s.expect(t, http.StatusCreated, apitest.Case{
			Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "once"}, Header: http.Header{"Idempotency-Key": {"key"}},
		})
	}
	require.Len(t, changes(t, s.anonymous, "").Changes, 1)
}
