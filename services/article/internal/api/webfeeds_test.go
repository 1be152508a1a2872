package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/mmcdole/gofeed"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

// mediaTypes are those of the feeds, by the last parts of their paths.
var mediaTypes = map[string]string{
	"feed.rss": "application/rss+xml; charset=utf-8", "feed.atom": "application/atom+xml; charset=utf-8", "feed.json": "application/feed+json; charset=utf-8",
}

// eachFeed runs a test for each format, with the path of the feed.
func eachFeed(t *testing.T, test func(t *testing.T, path string)) {
	t.Helper()
	for name := range mediaTypes {
		t.Run(name, func(t *testing.T) { test(t, articlesPath+"/"+name) })
	}
}

// webFeed reads a feed as a feed reader does.
func (s *service) webFeed(t *testing.T, client *apitest.Client, path string) *gofeed.Feed {
	t.Helper()
	result := client.Do(t, apitest.Case{Path: path})
	require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
	kind, _, _ := strings.Cut(strings.TrimPrefix(path, articlesPath+"/"), "?")
	require.Equal(t, mediaTypes[kind], result.Header.Get("Content-Type"))
	require.Equal(t, "zh-CN", result.Header.Get("Content-Language"))
	read, err := gofeed.NewParser().Parse(bytes.NewReader(result.Body))
	require.NoError(t, err, "%s", result.Body)
	return read
}

func titlesOf(feed *gofeed.Feed) []string {
	titles := make([]string, 0, len(feed.Items))
	for _, item := range feed.Items {
		titles = append(titles, item.Title)
	}
	return titles
}

func tagFeed(path, name string) string { return path + "?tag=" + url.QueryEscape(name) }

// A feed has what an anonymous client sees, also for others.
func TestWebFeeds(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		require.NoError(t, s.applyChange(t.Context(), tagfeed.Change{Kind: changefeed.Put, TagID: 2, Name: "运维 & <more>", State: 1}))
		require.NoError(t, s.applyChange(t.Context(), tagfeed.Change{Kind: changefeed.Put, TagID: 3, Name: "hidden", State: 0}))
		first := s.create(t, fields{"title": "滚动重启 <&]]>", "desc": "a & b", "content": "the content", "tag_ids": []int{2, 3}})
		hidden := s.create(t, fields{"title": "draft", "state": 0, "tag_ids": []int{2}})
		s.create(t, fields{"title": "second"})
		eachFeed(t, func(t *testing.T, path string) {
			for _, client := range []*apitest.Client{s.anonymous, s.Client} {
				all := s.webFeed(t, client, path)
				require.Equal(t, []string{"second", "滚动重启 <&]]>"}, titlesOf(all))
				require.Equal(t, []string{"运维 & <more>"}, all.Items[1].Categories)
				require.True(t, strings.HasSuffix(all.Items[1].Link, at(first.ID)), all.Items[1].Link)
				require.True(t, strings.HasPrefix(all.Items[1].Link, "http://127.0.0.1:"), all.Items[1].Link)
				require.True(t, strings.HasSuffix(all.FeedLink, path), all.FeedLink)
				require.Equal(t, strings.TrimSuffix(all.Items[1].Link, fmt.Sprint("/", first.ID)), all.Link)
				require.NotContains(t, fmt.Sprint(all.Items[1]), "the content")

				tagged := s.webFeed(t, client, tagFeed(path, " 运维 & <more> "))
				require.Equal(t, []string{"滚动重启 <&]]>"}, titlesOf(tagged))
				require.Equal(t, "Achilles - 运维 & <more>", tagged.Title)
				require.True(t, strings.HasSuffix(tagged.FeedLink, tagFeed(path, "运维 & <more>")), tagged.FeedLink)
				require.Empty(t, s.webFeed(t, client, tagFeed(path, tagName(4))).Items)
				for _, name := range []string{"hidden", "unknown", "运维", "%", "_", "'; DROP TABLE blog_article"} {
					result := client.Do(t, apitest.Case{Path: tagFeed(path, name), Header: in("en")})
					apitest.RequireProblem(t, result, errcode.TagNotFound, "no such tag")
				}
			}
		})
		guid := s.webFeed(t, s.anonymous, articlesPath+"/feed.atom").Items[1].GUID
		s.put(t, first.ID, fields{"title": "renamed", "slug": "renamed"})
		s.put(t, hidden.ID, fields{"state": 1})
		eachFeed(t, func(t *testing.T, path string) {
			all := s.webFeed(t, s.anonymous, path)
			require.Equal(t, []string{"second", "draft", "renamed"}, titlesOf(all), "it is read anew")
			require.Equal(t, guid, all.Items[2].GUID, "ids stay")
		})
	})
}

// Feed readers ask again and again.
func TestFeedNotModified(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		s.create(t, fields{"title": "a", "tag_ids": []int{1}})
		eachFeed(t, func(t *testing.T, path string) {
			for _, path := range []string{path, tagFeed(path, tagName(1))} {
				first := s.anonymous.Do(t, apitest.Case{Path: path})
				etag := first.Header.Get("ETag")
				require.True(t, strings.HasPrefix(etag, "W/"))
				require.Equal(t, "public, max-age=0, s-maxage=10", first.Header.Get("Cache-Control"))
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					again := s.anonymous.Do(t, apitest.Case{Method: method, Path: path, Header: http.Header{"If-None-Match": {etag}}})
					require.Equal(t, http.StatusNotModified, again.Status)
					require.Equal(t, etag, again.Header.Get("ETag"))
					require.Empty(t, again.Body)
				}
				head := s.anonymous.Do(t, apitest.Case{Method: http.MethodHead, Path: path})
				require.Equal(t, http.StatusOK, head.Status)
				for _, name := range []string{"ETag", "Content-Type", "Content-Language", "Cache-Control"} {
					require.Equal(t, first.Header.Get(name), head.Header.Get(name))
				}
				s.create(t, fields{"title": "another", "tag_ids": []int{1}})
				changed := s.anonymous.Do(t, apitest.Case{Path: path, Header: http.Header{"If-None-Match": {etag}}})
				require.Equal(t, http.StatusOK, changed.Status)
				require.NotEqual(t, etag, changed.Header.Get("ETag"))
			}
		})
		other := serve(t, s.db, func(o *options) { o.webFeeds.Site.Title = "Another title" })
		require.NotEqual(t, s.etag(t, articlesPath+"/feed.rss"), other.etag(t, articlesPath+"/feed.rss"))
	})
}

// The settings say what a feed has.
func TestFeedSettings(t *testing.T) {
	s := embedded(t, func(o *options) {
		o.webFeeds.Size = 3
		o.webFeeds.Site.Title, o.webFeeds.Site.URL, o.webFeeds.Site.ArticleURL = "My blog", "https://blog.example/", "https://blog.example/posts/{slug}"
	})
	for n := range 5 {
		s.create(t, fields{"title": fmt.Sprint("Title ", n)})
	}
	eachFeed(t, func(t *testing.T, path string) {
		feed := s.webFeed(t, s.anonymous, path)
		require.Equal(t, "My blog", feed.Title)
		require.Equal(t, "https://blog.example/", feed.Link)
		require.Equal(t, []string{"Title 4", "Title 3", "Title 2"}, titlesOf(feed))
		require.Equal(t, "https://blog.example/posts/title-4", feed.Items[0].Link)
		require.Regexp(t, `^tag:blog\.example,\d{4}-\d\d-\d\d:article/5$`, feed.Items[0].GUID)
	})
}

// The address of a feed is the one that the client used, whatever it says its host is.
func TestAddressOfWebFeeds(t *testing.T) {
	s := embedded(t)
	s.create(t, fields{"title": "a"})
	eachFeed(t, func(t *testing.T, path string) {
		for host, want := range map[string]string{
			"blog.example": "http://blog.example", "[::1]:8080": "http://[::1]:8080", `"><script>`: "", "a b": "", "]]>": "",
		} {
			request := httptest.NewRequest(http.MethodGet, path, nil)
			request.Host = host
			recorder := httptest.NewRecorder()
			s.handler.ServeHTTP(recorder, request)
			require.Equal(t, http.StatusOK, recorder.Code)
			require.Contains(t, recorder.Body.String(), `"`+want+path+`"`)
			require.NotContains(t, recorder.Body.String(), "<script")
		}
	})
}

func TestInvalidFeedParameters(t *testing.T) {
	s := embedded(t)
	for query, details := range map[string][]string{
		"tag=":                            {"tag不能为空白"},
		"tag=%20":                         {"tag不能为空白"},
		"tag=a&tag=b":                     {"tag只能出现一次"},
		"tag[]=a":                         {`没有字段"tag[]", 是否指tag`},
		"tags=a":                          {`没有字段"tags", 是否指tag`},
		"Tag=a":                           {`没有字段"Tag", 是否指tag`},
		"tag=" + strings.Repeat("x", 101): {"tag长度不能超过100个字符"},
		"tag=%ff":                         {"内容必须是 UTF-8 编码"},
	} {
		eachFeed(t, func(t *testing.T, path string) {
			s.requireError(t, apitest.Case{Path: path + "?" + query, Invalid: true}, errcode.InvalidParams, details...)
		})
	}
	for _, name := range []string{"\x00", "a\x00b", strings.Repeat("😀", 100)} {
		eachFeed(t, func(t *testing.T, path string) {
			s.requireError(t, apitest.Case{Path: tagFeed(path, name), Invalid: true}, map[bool]errcode.Code{true: errcode.TagNotFound, false: errcode.InvalidParams}[name != "\x00"],
				map[bool][]string{true: nil, false: {"tag不能为空白"}}[name != "\x00"]...)
		})
	}
	for _, path := range []string{"/feed", "/feed.xml", "/feed.rss/", "/feed.RSS"} {
		c := apitest.Case{Path: articlesPath + path, Invalid: true}
		c.Undescribed = strings.HasSuffix(path, "/")
		status := s.Do(t, c).Status
		require.True(t, status == http.StatusBadRequest || status == http.StatusNotFound, path)
	}
}

// The largest feed takes a bounded amount of memory, and none when it has been sent.
func TestMemoryOfWebFeeds(t *testing.T) {
	s := embedded(t, func(o *options) { o.webFeeds.Size = 100 })
	hostile := strings.Repeat(`"`, 99)
	for range 100 {
		s.create(t, fields{"title": hostile + "a", "desc": strings.Repeat("\x01", 255), "cover_image_url": "https://x/" + strings.Repeat("界", 1990), "tag_ids": first(20)})
	}
	eachFeed(t, func(t *testing.T, path string) {
		result := s.anonymous.Do(t, apitest.Case{Path: path})
		require.Equal(t, http.StatusOK, result.Status)
		require.Less(t, len(result.Body), 2*int(api.WebFeedMemory(100)))
		require.True(t, !strings.HasSuffix(path, "json") || json.Valid(result.Body))
		reserved := s.reserve(t, 40*mebibyte/2)
		result = s.Do(t, apitest.Case{Path: path})
		require.Equal(t, http.StatusServiceUnavailable, result.Status, "the client holds all that it may")
		reserved.Release()
		s.reserve(t, 40*mebibyte/2).Release() // nothing is held any longer
	})
}

// Readers that wait at the same time share what is read and written, each with its own
// address.
func TestFeedsAreShared(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		s.create(t, fields{"title": "a"})
		var all sync.WaitGroup
		for n := range 60 {
			all.Go(func() {
				for name := range mediaTypes {
					request := httptest.NewRequest(http.MethodGet, articlesPath+"/"+name, nil)
					request.Host = fmt.Sprintf("host-%d.example", n%5)
					recorder := httptest.NewRecorder()
					s.handler.ServeHTTP(recorder, request)
					if recorder.Code != http.StatusOK || !strings.Contains(recorder.Body.String(), `"http://`+request.Host+request.URL.Path+`"`) {
						t.Error(recorder.Code, recorder.Body)
					}
				}
			})
		}
		all.Wait()
	})
}

func TestFeedsOfUnmigratedDatabase(t *testing.T) {
	s := serve(t, dbtest.Open(t, dbtest.SQLite(t)))
	eachFeed(t, func(t *testing.T, path string) {
		result := s.Do(t, apitest.Case{Path: path})
		require.Equal(t, http.StatusInternalServerError, result.Status)
		require.Equal(t, "zh", result.Header.Get("Content-Language"))
	})
}

// A cover that is a file has its address, unless there is another one.
func TestWebFeedCovers(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		digest := make([]byte, 32)
		for _, insert := range []string{
			"INSERT INTO blog_blob (sha256, size) VALUES (?, 1)",
			"INSERT INTO blog_file (id, created_at, name, size, type, sha256) VALUES (7, '2026-01-02 03:04:05', 'a.png', 1, 'image/png', ?)",
		} {
			_, err := s.db.SQL().ExecContext(t.Context(), insert, digest)
			require.NoError(t, err)
		}
		s.create(t, fields{"title": "file", "cover_file_id": 7})
		s.create(t, fields{"title": "both", "cover_file_id": 7, "cover_image_url": "https://example.org/a.png"})
		read := s.webFeed(t, s.anonymous, articlesPath+"/feed.json")
		require.Equal(t, "https://example.org/a.png", read.Items[0].Image.URL)
		require.Regexp(t, `^http://127\.0\.0\.1:\d+/api/v1/file/download/7$`, read.Items[1].Image.URL)
	})
}
