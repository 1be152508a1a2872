package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/store"
)

const never = "9999-12-31T23:59:59.999Z"

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func TestPublishAt(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		eachEncoding(t, func(t *testing.T, encode func(apitest.Case, fields) apitest.Case) {
			for sent, want := range map[string]string{
				"2001-02-03T04:05:06Z":           "2001-02-03T04:05:06Z",
				"2001-02-03T04:05:06.789+08:00":  "2001-02-02T20:05:06.789Z",
				"2001-02-03":                     "2001-02-03T00:00:00Z",
				"1970-01-01T00:00:00Z":           "1970-01-01T00:00:00Z",
				"2001-02-03T04:05:06.789000001Z": "2001-02-03T04:05:06.79Z", // never too early
				"9999-12-31T23:59:59.998000001Z": never,
				never:                            never,
				"":                               "",
			} {
				created := s.expect(t, http.StatusCreated, encode(apitest.Case{Method: http.MethodPost, Path: articlesPath, Invalid: true}, fields{"title": "a", "publish_at": sent}))
				if want == "" {
					want = rfc3339(created.CreatedAt)
				}
				require.Equal(t, want, rfc3339(created.PublishAt), sent)
				require.Equal(t, 1, created.State)
				require.Equal(t, created, s.get(t, created.ID))
				plain := s.create(t, fields{"title": "b"})
				updated := s.expect(t, http.StatusOK, encode(apitest.Case{Method: http.MethodPut, Path: at(plain.ID), Invalid: true}, fields{"publish_at": sent}))
				if sent == "" {
					want = rfc3339(plain.CreatedAt)
				}
				require.Equal(t, want, rfc3339(updated.PublishAt), sent)
			}
			const format = "publish_at必须是日期 (2026-01-02) 或 RFC 3339 时间 (2026-01-02T03:04:05Z)"
			const bounds = "publish_at必须在 1970-01-01T00:00:00Z 与 9999-12-31T23:59:59.999Z 之间"
			for sent, detail := range map[string]string{
				"tomorrow": format, "2026-13-01": format, "2026-01-02T25:00:00Z": format, "0": format, "'; DROP TABLE blog_article": format, strings.Repeat("9", 1000): format, "2026-01-02T03:04:05": format,
				"1969-12-31T23:59:59.999Z": bounds, "0001-01-01": bounds, "9999-12-31T23:59:59.999000001Z": bounds, "9999-12-31T23:59:59-01:00": bounds,
			} {
				s.requireError(t, encode(apitest.Case{Method: http.MethodPost, Path: articlesPath, Invalid: true}, fields{"title": "a", "publish_at": sent}), errcode.InvalidParams, detail)
				s.requireError(t, encode(apitest.Case{Method: http.MethodPut, Path: at(1), Invalid: true}, fields{"publish_at": sent}), errcode.InvalidParams, detail)
			}
		})
		created := s.create(t, fields{"title": "a", "publish_at": never})
		patched := s.expect(t, http.StatusOK, apitest.Case{Method: http.MethodPatch, Path: at(created.ID), JSON: fields{"publish_at": nil}})
		require.Equal(t, created.CreatedAt, patched.PublishAt)
		require.Equal(t, fmt.Sprintf(`{"publish_at":"%s"}`, patched.PublishAt.Format("2006-01-02T15:04:05.000Z")), s.data(t, at(created.ID)+"?fields=publish_at"))
	})
}

// data returns the data of a response, as it is written.
func (s *service) data(t *testing.T, path string) string {
	t.Helper()
	found := regexp.MustCompile(`"data":(.*)\}`).FindSubmatch(s.Do(t, apitest.Case{Path: path}).Body)
	require.NotNil(t, found)
	return string(found[1])
}

// The same moment means the same under an Idempotency-Key, however it is written.
func TestPublishAtUnderKey(t *testing.T) {
	s := embedded(t)
	post := func(at string) *apitest.Result {
		return s.Do(t, apitest.Case{Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "a", "publish_at": at}, Header: http.Header{"Idempotency-Key": {"key"}}})
	}
	first := post("2050-01-01T08:00:00+08:00")
	require.Equal(t, http.StatusCreated, first.Status)
	repeated := post("2050-01-01T00:00:00.000Z")
	require.Equal(t, http.StatusCreated, repeated.Status)
	require.Equal(t, string(first.Body), string(repeated.Body))
	require.Equal(t, "true", repeated.Header.Get("Idempotency-Replayed"))
	require.Equal(t, errcode.KeyReused.Status(), post("2050-01-02T00:00:00Z").Status)
}

// publishDue publishes what is due.
func (s *service) publishDue(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	var working sync.WaitGroup
	defer working.Wait()
	publisher := store.DuePublisher{Store: s.store, Published: s.feed.Changed, Log: zap.NewNop()}
	working.Go(func() { _ = publisher.Run(ctx) })
	for due, now := int64(1), time.Now(); due > 0; {
		if err := s.db.Gorm(ctx).Raw("SELECT COUNT(*) FROM blog_article WHERE state = 2 AND is_deleted = 0 AND published_at < ?", now).Scan(&due).Error; err != nil {
			return err
		}
	}
	stop()
	return nil
}

// publicViews are the requests whose responses show articles to everybody, of which one has the tag
// 1 and a title with the word secret. A response shows it if it has "secret" or a number in it.
func publicViews(a api.Article) []string {
	name := url.QueryEscape(tagName(1))
	return []string{
		at(a.ID), articlesPath + "/slug/" + a.Slug, articlesPath, articlesPath + "?state=1", articlesPath + "?order_by=id", articlesPath + "?order_by=title", articlesPath + "?order_by=-updated_at",
		articlesPath + "?tag_id=1", articlesPath + "?tag_id=1,2", articlesPath + "?tag_all=1", articlesPath + "?tag=" + name, articlesPath + "?title=secret", articlesPath + "?q=secret",
		articlesPath + "?include=content", articlesPath + "?published_from=2000-01-01", articlesPath + "?published_to=9999-12-31", articlesPath + "?created_from=2000-01-01", articlesPath + "/tags",
		articlesPath + "/tags?order_by=name", articlesPath + "/feed.rss", articlesPath + "/feed.atom?tag=" + name, articlesPath + "/feed.json",
	}
}

// Nothing that is sent without a token tells that an article is scheduled; at its time, everything
// shows it at once, on every replica.
func TestScheduledArticleIsHidden(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		other := serve(t, s.db)
		state := func(path string) string {
			t.Helper()
			head := other.anonymous.Do(t, apitest.Case{Method: http.MethodHead, Path: path})
			result := other.anonymous.Do(t, apitest.Case{Path: path})
			require.Equal(t, result.Status, head.Status)
			require.Equal(t, result.Header.Get("ETag"), head.Header.Get("ETag"))
			if result.Status == http.StatusNotFound {
				require.Equal(t, "no-store", result.Header.Get("Cache-Control"))
			}
			return fmt.Sprint(result.Status, result.Header.Get("ETag"), regexp.MustCompile(`"request_id":"[^"]*"`).ReplaceAllString(string(result.Body), ""))
		}
		before := map[string]string{}
		probe := api.Article{ID: 1, Slug: "secret"}
		for _, path := range publicViews(probe) {
			before[path] = state(path)
		}
		secret := s.create(t, fields{"title": "secret", "slug": "secret", "desc": "secret", "content": "secret", "tag_ids": []int{1}, "publish_at": never})
		require.Equal(t, probe.ID, secret.ID)
		for _, path := range publicViews(secret) {
			require.Equal(t, before[path], state(path), path)
		}
		require.Equal(t, []string{"secret"}, titles(s.list(t, "state=1").List))
		require.Equal(t, []string{"secret"}, titles(s.list(t, "published_from="+url.QueryEscape(rfc3339(time.Now()))).List))
		require.Empty(t, s.list(t, "state=0").List)
		require.NotContains(t, string(s.anonymous.Do(t, apitest.Case{Path: articlesPath + "/changes"}).Body), "secret")

		etag := s.Do(t, apitest.Case{Path: at(secret.ID)}).Header.Get("ETag")
		moved := s.put(t, secret.ID, fields{"publish_at": rfc3339(time.Now().Add(300 * time.Millisecond))})
		require.NotEqual(t, etag, s.Do(t, apitest.Case{Path: at(secret.ID)}).Header.Get("ETag"), "it was changed")
		etag = s.Do(t, apitest.Case{Path: at(secret.ID)}).Header.Get("ETag")
		require.Eventually(t, func() bool {
			return s.anonymous.Do(t, apitest.Case{Path: at(secret.ID)}).Status == http.StatusOK
		}, patience, time.Millisecond)
		require.False(t, time.Now().Before(moved.PublishAt))
		for range 2 {
			for _, path := range publicViews(secret) {
				require.NotEqual(t, before[path], state(path), path)
			}
			require.Equal(t, etag, s.Do(t, apitest.Case{Path: at(secret.ID)}).Header.Get("ETag"), "to be published is no change of it")
			require.Equal(t, moved, s.get(t, secret.ID))
			require.NoError(t, s.publishDue(t.Context()))
		}
		require.Contains(t, string(s.anonymous.Do(t, apitest.Case{Path: articlesPath + "/changes"}).Body), "secret")
	})
}

// Once one response has shown an article, every response to a later request does, on every replica.
func TestPublicationIsLinearizable(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		replicas := []*service{s, serve(t, s.db)}
		for range 5 {
			scheduled := s.create(t, fields{"title": "scheduled", "publish_at": rfc3339(time.Now().Add(100 * time.Millisecond))})
			var readers sync.WaitGroup
			var mu sync.Mutex
			var shown time.Time // when a response first showed it
			for n := range 6 {
				readers.Go(func() {
					for after := 0; after < 20; {
						began := time.Now()
						mu.Lock()
						must := !shown.IsZero() && shown.Before(began)
						mu.Unlock()
						path := at(scheduled.ID)
						if n%2 == 0 {
							path = articlesPath + "?page_size=1&fields=id,title"
						}
						result := replicas[n%len(replicas)].anonymous.Do(t, apitest.Case{Path: path})
						seen := result.Status == http.StatusOK && strings.Contains(string(result.Body), fmt.Sprintf(`"id":%d,`, scheduled.ID))
						if must && !seen {
							t.Errorf("%s: %s doesn't show what another response has shown", path, result.Body)
							return
						}
						if seen {
							after++
							mu.Lock()
							if shown.IsZero() {
								shown = time.Now()
							}
							mu.Unlock()
						}
						if after == 5 && n == 0 {
							if err := s.publishDue(t.Context()); err != nil {
								t.Error(err)
							}
						}
					}
				})
			}
			readers.Wait()
		}
	})
}

// No cache may keep a response until an article is published that changes it.
func TestCachesExpireInTime(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		s.create(t, fields{"title": "one", "tag_ids": []int{1}})
		sharedAge := func(path string) int {
			t.Helper()
			policy := s.anonymous.Do(t, apitest.Case{Path: path}).Header.Get("Cache-Control")
			if policy == "public, no-cache" {
				return 0
			}
			seconds, err := strconv.Atoi(strings.TrimPrefix(policy, "public, max-age=0, s-maxage="))
			require.NoError(t, err, policy)
			return seconds
		}
		lists := []string{articlesPath, articlesPath + "?tag_id=1", articlesPath + "?q=one", articlesPath + "?title=n", articlesPath + "?order_by=title", articlesPath + "/tags", articlesPath + "/tags?order_by=name", articlesPath + "/feed.rss", articlesPath + "/feed.json"}
		for _, path := range lists {
			require.Equal(t, 10, sharedAge(path), path)
		}
		soon := time.Now().Add(5 * time.Second)
		scheduled := s.create(t, fields{"title": "soon", "publish_at": rfc3339(soon)})
		for _, path := range lists {
			age := sharedAge(path)
			require.False(t, time.Now().Add(time.Duration(age)*time.Second).After(soon), "%s: %d s", path, age)
		}
		require.Equal(t, 10, sharedAge(at(1)), "an article doesn't change with another one")
		for path, want := range map[string]string{articlesPath: "private, no-cache", at(scheduled.ID): "private, no-cache"} {
			require.Equal(t, want, s.Do(t, apitest.Case{Path: path}).Header.Get("Cache-Control"))
		}
		s.put(t, scheduled.ID, fields{"publish_at": never})
		for _, path := range lists {
			require.Equal(t, 10, sharedAge(path), path)
		}
	})
}

// The order of lists by default: what was published last is first.
func TestDefaultOrder(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		for title, day := range map[string]string{"b": "2026-01-02", "c": "2026-01-03", "a": "2026-01-01", "d": "9999-01-01"} {
			s.create(t, fields{"title": title, "publish_at": day + "T00:00:00Z", "tag_ids": []int{1}})
		}
		for _, query := range []string{"", "tag_id=1", "tag_id=1&order_by=-published_at", "published_from=2026-01-01"} {
			require.Equal(t, []string{"d", "c", "b", "a"}, titles(s.list(t, query).List), query)
			var response listResponse
			s.anonymous.Do(t, apitest.Case{Path: articlesPath + "?page_size=2&" + query}).JSON(t, &response)
			require.Equal(t, []string{"c", "b"}, titles(response.List), query)
			require.EqualValues(t, 3, response.Pager.TotalRows)
			s.anonymous.Do(t, apitest.Case{Path: articlesPath + "?page_size=2&" + query + "&after=" + response.Pager.Next}).JSON(t, &response)
			require.Equal(t, []string{"a"}, titles(response.List), query)
		}
		require.Equal(t, []string{"a", "b"}, titles(s.list(t, "order_by=published_at&published_to=2026-01-03").List))
		require.Equal(t, []string{"b"}, titles(s.list(t, "tag_id=1&published_from=2026-01-02&published_to=2026-01-03").List))
		s.requireError(t, apitest.Case{Path: articlesPath + "?published_from=2026-01-02&published_to=2026-01-01"}, errcode.InvalidParams, "published_from不能晚于published_to")
	})
}
