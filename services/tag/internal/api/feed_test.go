package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/tag/internal/api"
)

const (
	changesPath  = "/internal/v1/tag-changes"
	snapshotPath = "/internal/v1/tag-snapshot"
)

var authorized = http.Header{"Authorization": {"Bearer " + token}}

func (s *service) changes(t *testing.T, query string) api.Changes {
	t.Helper()
	result := s.Do(t, apitest.Case{Path: changesPath + "?" + query, Header: authorized})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
	var response struct{ Data api.Changes }
	result.JSON(t, &response)
	return response.Data
}

func (s *service) snapshot(t *testing.T) api.Snapshot {
	t.Helper()
	result := s.Do(t, apitest.Case{Path: snapshotPath, Header: authorized})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
	var response struct{ Data api.Snapshot }
	result.JSON(t, &response)
	return response.Data
}

func TestFeedRequiresToken(t *testing.T) {
	for _, configured := range []settings.Secret{token, ""} {
		s := start(t, dbtest.SQLite(t), withToken(configured))
		for _, header := range []http.Header{
			{}, {"Authorization": {""}}, {"Authorization": {"Bearer"}}, {"Authorization": {"Bearer "}},
			{"Authorization": {"Bearer wrong"}}, {"Authorization": {"Bearer " + token + "x"}}, {"Authorization": {"Bearer " + token[1:]}},
			{"Authorization": {"Bearer\t" + token}}, {"Authorization": {"Bearer " + token, "Bearer wrong"}}, {"Authorization": {"", "Bearer " + token}}, {"Authorization": {token}}, {"Authorization": {"Basic " + token}},
			{"X-Service-Token": {token}}, {"Cookie": {"Authorization=" + token}},
		} {
			for _, path := range []string{changesPath, snapshotPath, changesPath + "?after=x"} {
				for language, message := range map[string]string{
					"zh": "服务令牌错误", "en": "missing or invalid service token", "zh_Hant_TW": "服務權杖錯誤",
				} {
					header.Set("locale", language)
					result := s.Do(t, apitest.Case{Path: path, Header: header, Invalid: true})
					requireProblem(t, result, errcode.UnauthorizedInternal, message, nil)
					require.Equal(t, "Bearer", result.Header.Get("WWW-Authenticate"))
				}
			}
		}
	}
}

// Without a configured token, no request is authorized. The test calls the handler,
// because an HTTP client trims white space at the end of a header.
func TestFeedWithoutConfiguredToken(t *testing.T) {
	s := start(t, dbtest.SQLite(t), withToken(""))
	for _, header := range []string{"", "Bearer", "Bearer "} {
		request := httptest.NewRequest(http.MethodGet, snapshotPath, nil)
		request.Header.Set("Authorization", header)
		response := httptest.NewRecorder()
		s.handler.ServeHTTP(response, request)
		require.Equal(t, http.StatusUnauthorized, response.Code)
	}
}

func TestFeedHasEveryChange(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		require.Equal(t, []api.Change{}, s.changes(t, "").Changes)
		empty := s.snapshot(t)
		require.Zero(t, empty.Sequence)
		require.Equal(t, []api.SnapshotTag{}, empty.Tags)
		require.NotEmpty(t, empty.Epoch)

		first := s.create(t, fields{"name": "first"})
		second := s.create(t, fields{"name": "🦄", "state": 0})
		s.requireError(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "first"}}, errcode.TagNameExists, "name已被其他标签使用")
		s.requireError(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{}, Invalid: true}, errcode.InvalidParams, "name为必填字段")
		s.expectTag(t, http.StatusOK, apitest.Case{Method: http.MethodPut, Path: at(first.ID), JSON: fields{"name": "renamed"}})
		s.requireError(t, apitest.Case{Method: http.MethodPut, Path: at(99), JSON: fields{"name": "x"}}, errcode.TagNotFound)
		s.delete(t, second.ID)
		s.requireError(t, apitest.Case{Method: http.MethodDelete, Path: at(second.ID)}, errcode.TagNotFound)
		s.expectTag(t, http.StatusOK, apitest.Case{Method: http.MethodPut, Path: at(first.ID), JSON: fields{"name": "renamed", "state": 0}})

		want := []api.Change{
			{Sequence: 1, TagID: first.ID, Kind: "put", Name: "first", State: 1},
			{Sequence: 2, TagID: second.ID, Kind: "put", Name: "🦄", State: 0},
			{Sequence: 3, TagID: first.ID, Kind: "put", Name: "renamed", State: 1},
			{Sequence: 4, TagID: second.ID, Kind: "delete", Name: "🦄", State: 0},
			{Sequence: 5, TagID: first.ID, Kind: "put", Name: "renamed", State: 0},
		}
		for query, part := range map[string][]api.Change{
			"":                        want,
			"after=0":                 want,
			"after=0&limit=0&wait=0":  want,
			"after=0&limit=1000":      want,
			"after=0&limit=2":         want[:2],
			"after=2&limit=2":         want[2:4],
			"after=4&limit=2":         want[4:],
			"after=4&wait=10":         want[4:],
			"after=5":                 {},
			"after=0&limit=1&wait=10": want[:1],
		} {
			found := s.changes(t, query)
			require.Equal(t, part, found.Changes, query)
			require.EqualValues(t, 5, found.Last, query)
			require.Equal(t, empty.Epoch, found.Epoch, query)
		}
		require.Equal(t, api.Snapshot{
			Epoch: empty.Epoch, Sequence: 5, Tags: []api.SnapshotTag{{ID: first.ID, Name: "renamed", State: 0}},
		}, s.snapshot(t))
	})
}

func TestFeedLimit(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	for i := range 102 {
		s.create(t, fields{"name": fmt.Sprint(i)})
	}
	require.Len(t, s.changes(t, "").Changes, 100)
	require.Len(t, s.changes(t, "limit=101").Changes, 101)
	require.Len(t, s.snapshot(t).Tags, 102, "a snapshot has no limit")
}

func TestFeedInvalidParameters(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	for query, details := range map[string][]string{
		"after=-1":                   {"after必须是正整数"},
		"after=x":                    {"after必须是正整数"},
		"after=":                     {"after必须是正整数"},
		"after=18446744073709551616": {"after超出 64 位整数的范围"},
		"after=1&after=2":            {"after只能出现一次"},
		"limit=-1":                   {"limit最小只能为0"},
		"limit=1001":                 {"limit必须小于或等于1,000"},
		"wait=-1":                    {"wait最小只能为0"},
		"wait=11":                    {"wait必须小于或等于10"},
		"wait=1.5":                   {"wait必须是整数"},
		"wait=99&limit=-1":           {"limit最小只能为0", "wait必须小于或等于10"},
		"wait=x&limit=y&after=z":     {"after必须是正整数", "limit必须是整数", "wait必须是整数"},
	} {
		t.Run(query, func(t *testing.T) {
			s.requireError(t, apitest.Case{Path: changesPath + "?" + query, Header: authorized, Invalid: true}, errcode.InvalidParams, details...)
		})
	}
}

func TestTrimmedFeed(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		requireTrimmed := func(after string) {
			t.Helper()
			for language, message := range map[string]string{
				"zh": "变更记录已清理, 请重新开始", "en": "the requested changes are no longer available, start over",
				"zh_Hant_TW": "變更記錄已清理, 請重新開始",
			} {
				header := authorized.Clone()
				header.Set("locale", language)
				// It returns at once, despite wait.
				result := s.Do(t, apitest.Case{Path: changesPath + "?wait=10&after=" + after, Header: header, Invalid: true})
				requireProblem(t, result, errcode.ChangesTrimmed, message, nil)
			}
		}
		for _, ahead := range []string{"1", "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551615"} {
			requireTrimmed(ahead)
		}
		for i := range 5 {
			s.create(t, fields{"name": fmt.Sprint(i)})
		}
		removed, err := s.store.Trim(t.Context(), time.Now().Add(time.Hour), 3)
		require.NoError(t, err)
		require.EqualValues(t, 3, removed)
		for _, after := range []string{"0", "2", "6"} {
			requireTrimmed(after)
		}
		require.Len(t, s.changes(t, "after=3").Changes, 2)
		snapshot := s.snapshot(t)
		require.EqualValues(t, 5, snapshot.Sequence)
		require.Len(t, snapshot.Tags, 5)

		_, err = s.store.Trim(t.Context(), time.Now().Add(time.Hour), 100)
		require.NoError(t, err)
		requireTrimmed("4")
		require.Empty(t, s.changes(t, "after=5").Changes, "the last offset of an empty feed is valid")
		s.create(t, fields{"name": "next"})
		require.EqualValues(t, 6, s.changes(t, "after=5").Changes[0].Sequence, "the sequence continues")
	})
}

// poll starts a long poll and returns once it has found nothing and waits.
func (s *service) poll(t *testing.T, query string) (await func() (api.Changes, time.Duration)) {
	t.Helper()
	before := s.reads.Load()
	var found api.Changes
	var took time.Duration
	done := make(chan struct{})
	go func() {
		defer close(done)
		began := time.Now()
		found = s.changes(t, query)
		took = time.Since(began)
	}()
	require.Eventually(t, func() bool { return s.reads.Load() > before }, patience, time.Millisecond)
	return func() (api.Changes, time.Duration) { <-done; return found, took }
}

// prompt is well below the wait of 10 s that the readers ask for.
const prompt = 5 * time.Second

func TestWriteWakesReaders(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		s := start(t, cfg)
		created := s.create(t, fields{"name": "a"})
		for i, write := range []func(){
			func() { s.create(t, fields{"name": "b"}) },
			func() {
				s.expectTag(t, http.StatusOK, apitest.Case{Method: http.MethodPut, Path: at(created.ID), JSON: fields{"name": "c"}})
			},
			func() { s.delete(t, created.ID) },
		} {
			query := fmt.Sprintf("after=%d&wait=10", i+1)
			one, other := s.poll(t, query), s.poll(t, query)
			write()
			for _, await := range []func() (api.Changes, time.Duration){one, other} {
				found, took := await()
				require.Len(t, found.Changes, 1)
				require.EqualValues(t, i+2, found.Changes[0].Sequence)
				require.Less(t, took, prompt)
			}
		}
	})
}

func TestWriteOfAnotherReplicaWakesReader(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		reading := start(t, cfg, func(o *options) { o.pollInterval = 20 * time.Millisecond })
		writing := serve(t, dbtest.Open(t, cfg))
		await := reading.poll(t, "wait=10")
		writing.create(t, fields{"name": "a"})
		found, took := await()
		require.Len(t, found.Changes, 1)
		require.Less(t, took, prompt)
	})
}

func TestLongPollEndsAfterWait(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	found, took := s.poll(t, "wait=1")()
	require.Empty(t, found.Changes)
	require.GreaterOrEqual(t, took, time.Second)
	require.Less(t, took, prompt)
}

// A long poll returns before the RequestTimeout, even if wait is longer.
func TestLongPollEndsBeforeRequestTimeout(t *testing.T) {
	s := start(t, dbtest.SQLite(t), func(o *options) { o.config.Server.RequestTimeout = 2 * time.Second })
	dbtest.Within(t, 2*time.Second, func() { require.Empty(t, s.changes(t, "wait=10").Changes) })
}

func TestDrainEndsLongPolls(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	await := s.poll(t, "wait=10")
	close(s.draining)
	found, took := await()
	require.Empty(t, found.Changes)
	require.Less(t, took, prompt)

	began := time.Now()
	require.Empty(t, s.changes(t, "wait=10").Changes, "a long poll that begins during the drain does not wait")
	require.Less(t, time.Since(began), prompt)
	s.create(t, fields{"name": "a"})
	require.Len(t, s.changes(t, "wait=10").Changes, 1)
}

// A long poll ends when its client disconnects.
func TestLongPollEndsWithItsClient(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	server := httptest.NewServer(s.handler)
	defer server.Close()
	ctx, disconnect := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+changesPath+"?wait=10", nil)
	require.NoError(t, err)
	request.Header = authorized
	var done sync.WaitGroup
	done.Go(func() {
		response, err := server.Client().Do(request)
		if err == nil {
			_ = response.Body.Close()
		}
	})
	require.Eventually(t, func() bool { return s.reads.Load() > 0 }, patience, time.Millisecond)
	disconnect()
	done.Wait()
	require.Eventually(t, func() bool { return s.logs.FilterMessage("request").Len() == 1 }, patience, time.Millisecond)
	require.EqualValues(t, 499, s.logs.FilterMessage("request").All()[0].ContextMap()["status"])
}

// Guesses at the token are limited by address. The right token is not.
func TestGuessesAtTheFeedToken(t *testing.T) {
	s := start(t, dbtest.SQLite(t), func(o *options) { o.config.Limits.AuthPerMinute, o.config.Limits.AuthBurst = 1, 5 })
	do := func(token, path string) *apitest.Result {
		return s.anonymous.Do(t, apitest.Case{Path: path, Header: http.Header{"Authorization": {"Bearer " + token}}})
	}
	for _, path := range []string{"/internal/v1/tag-changes", "/internal/v1/tag-snapshot"} {
		require.Equal(t, http.StatusOK, do(token, path).Status)
		limited := do("a guess", path)
		for range 20 {
			limited = do("a guess", path)
		}
		require.Equal(t, http.StatusTooManyRequests, limited.Status)
		require.NotEmpty(t, limited.Header.Get("Retry-After"))
		for range 20 {
			right := do(token, path)
			require.Equal(t, http.StatusOK, right.Status)
			require.Empty(t, right.Header.Get("RateLimit"))
		}
	}
}
