package api_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// statements records the statements of the service's reads.
type statements struct {
	mu   sync.Mutex
	list []string
}

func (s *service) statements(t *testing.T) *statements {
	t.Helper()
	recorded := &statements{}
	record := func(db *gorm.DB) {
		recorded.mu.Lock()
		defer recorded.mu.Unlock()
		recorded.list = append(recorded.list, db.Statement.SQL.String())
	}
	callbacks := s.db.Gorm(t.Context()).Callback()
	require.NoError(t, callbacks.Query().After("gorm:query").Register("test", record))
	require.NoError(t, callbacks.Row().After("gorm:row").Register("test", record))
	s.db.OnQuery(func(query string, _ []any) {
		recorded.mu.Lock()
		defer recorded.mu.Unlock()
		recorded.list = append(recorded.list, query)
	})
	return recorded
}

// take returns the statements since the last call.
func (s *statements) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.list
	s.list = nil
	return list
}

var contentColumn = regexp.MustCompile("(?i)THEN content END|select [^(]*(content|\\*)[^(]* from [`\"]?blog_article[`\" ]")

// A page has the contents of its first articles, up to 1 MiB, and says which are
// missing.
func TestPageOfContentsIsBounded(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		sizes := []int{1, 300_000, 500_000, 400_000, 100_000, 1 << 20} // oldest first
		for n, size := range sizes {
			s.create(t, fields{"title": fmt.Sprint(n), "content": strings.Repeat("<", size)})
		}
		shown := func(query string) string {
			var list []string
			for _, a := range s.list(t, "include=content&"+query).List {
				switch {
				case a.ContentOmitted != nil:
					require.Nil(t, a.Content)
					list = append(list, a.Title+"-")
				default:
					require.Len(t, *a.Content, sizes[a.Title[0]-'0'])
					list = append(list, a.Title)
				}
			}
			return strings.Join(list, " ")
		}
		require.Equal(t, "5 4- 3- 2- 1- 0-", shown(""))
		require.Equal(t, "5 4-", shown("page_size=2"))
		require.Equal(t, "3 2", shown("page_size=2&page=2"), "paging is that of other lists")
		require.Equal(t, "1 0", shown("page_size=2&page=3"))
		require.Equal(t, "2 1 0", shown("page_size=3&page=2"))
	})
}

// What needs no body reads no content, and the memory is free again.
func TestContentIsReadForBodiesOnly(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		path := at(s.create(t, fields{"title": "a", "content": "the content", "tag_ids": []int{1}}).ID)
		recorded := s.statements(t)
		for _, path := range []string{path, articlesPath + "?include=content"} {
			require.Contains(t, string(s.Do(t, apitest.Case{Path: path}).Body), "the content")
			tag := s.etag(t, path)
			require.Regexp(t, contentColumn, strings.Join(recorded.take(), "\n"), "the test would notice")
			s.Do(t, apitest.Case{Path: path, Header: http.Header{"If-None-Match": {tag}}})
			s.Do(t, apitest.Case{Path: path, Method: http.MethodHead})
			s.Do(t, apitest.Case{Path: path, Method: http.MethodHead, Header: http.Header{"If-None-Match": {tag}}})
			queries := recorded.take()
			require.NotEmpty(t, queries)
			for _, query := range queries {
				require.NotRegexp(t, contentColumn, query)
			}
		}
		s.Do(t, apitest.Case{Path: articlesPath})
		require.NotRegexp(t, contentColumn, strings.Join(recorded.take(), "\n"))
		require.Eventually(t, func() bool { return s.memory.Reserved() == 0 }, patience, time.Millisecond)
	})
}

// A read of an article is one statement, as the server counts them.
func TestReadIsOneStatement(t *testing.T) {
	s := start(t, dbtest.MySQL(t))
	s.loadTags(t, 3)
	path := at(s.create(t, fields{"title": "a", "content": "b", "tag_ids": []int{1, 2, 3}}).ID)
	tag := s.etag(t, path)
	counted := func() (n int) {
		var name string
		require.NoError(t, s.db.SQL().QueryRowContext(t.Context(), "SHOW SESSION STATUS LIKE 'Questions'").Scan(&name, &n))
		return n
	}
	s.db.SQL().SetMaxOpenConns(1) // so that the session is that of the reads
	for _, c := range []apitest.Case{
		{Path: path}, {Path: path, Method: http.MethodHead}, {Path: path, Header: http.Header{"If-None-Match": {tag}}}, {Path: at(1 << 40)},
	} {
		before := counted()
		s.Do(t, c)
		require.Equal(t, 1, counted()-before-1, "%+v", c)
	}
}

// An anonymous client can't tell a disabled article from a missing one by the
// statements that it takes.
func TestDisabledArticlesCostLikeMissingOnes(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		disabled := s.create(t, fields{"title": "a", "content": "x", "state": 0, "tag_ids": []int{1}})
		deleted := s.create(t, fields{"title": "b"})
		s.delete(t, deleted.ID)
		scheduled := s.create(t, fields{"title": "c", "publish_at": "9999-12-31T23:59:59.999Z"})
		recorded := s.statements(t)
		var first []string
		for _, id := range []uint64{disabled.ID, deleted.ID, scheduled.ID, 1 << 40} {
			result := s.anonymous.Do(t, apitest.Case{Path: at(id)})
			require.Equal(t, http.StatusNotFound, result.Status)
			took := recorded.take()
			require.NotEmpty(t, took)
			if first == nil {
				first = took
			}
			require.Equal(t, withoutTimes(first), withoutTimes(took))
		}
		require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Path: at(disabled.ID)}).Status)
	})
}

// withoutTimes returns statements without the times in their texts.
func withoutTimes(statements []string) (all []string) {
	for _, statement := range statements {
		all = append(all, regexp.MustCompile(`'[-0-9:. ]+\+0000 UTC'`).ReplaceAllString(statement, "now"))
	}
	return all
}

// An article that changes between the reading of its fields and of its content is read
// again.
func TestArticleChangesWhileItIsRead(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		article := s.create(t, fields{"title": "0", "content": "0"})
		ctx, stop := context.WithCancel(t.Context())
		var writer sync.WaitGroup
		writer.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				s.put(t, article.ID, fields{"title": fmt.Sprint(n), "content": fmt.Sprint(n)})
			}
		})
		for range 100 {
			found := s.get(t, article.ID)
			require.Equal(t, found.Title, *found.Content)
			for _, listed := range s.list(t, "include=content").List {
				require.True(t, listed.ContentOmitted != nil || listed.Title == *listed.Content)
			}
		}
		stop()
		writer.Wait()
	})
}

// A change that leaves the content responds with the article's own content.
func TestChangeRespondsWithItsContent(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		first := s.create(t, fields{"title": "a", "content": "of the first"})
		second := s.create(t, fields{"title": "b", "content": "of the second"})
		s.create(t, fields{"title": "c", "content": "of the third"})
		require.Equal(t, "of the second", *s.put(t, second.ID, fields{"title": "d"}).Content)
		patched := s.expect(t, http.StatusOK, apitest.Case{Method: http.MethodPatch, Path: stateOf(second.ID), JSON: fields{"state": 0}})
		require.Equal(t, "of the second", *patched.Content)
		require.Equal(t, "new", *s.put(t, first.ID, fields{"content": "new"}).Content)
		require.Equal(t, "new", *s.get(t, first.ID).Content)
	})
}

// Requests that find too little memory get 503, and none is lost.
func TestMemoryOfResponses(t *testing.T) {
	s := embedded(t, func(o *options) { o.memory = 1 << 20 })
	path := at(s.create(t, fields{"title": "a", "content": strings.Repeat("x", 100_000)}).ID)
	reserved := s.reserve(t, 512<<10)
	var waiting sync.WaitGroup
	for _, c := range []apitest.Case{
		{Path: path}, {Path: articlesPath + "?include=content"}, {Path: articlesPath + "?page_size=100"},
		{Method: http.MethodPut, Path: path, JSON: fields{"title": "b"}},
		{Method: http.MethodPost, Path: articlesPath, JSON: fields{"title": "b", "content": "x"}},
	} {
		waiting.Go(func() {
			result := s.requireError(t, c, errcode.Unavailable)
			require.Equal(t, "1", result.Header.Get("Retry-After"))
			require.Empty(t, result.Header.Get("ETag"))
			require.Equal(t, "no-store", result.Header.Get("Cache-Control"))
		})
	}
	waiting.Wait()
	require.Equal(t, http.StatusOK, s.Do(t, apitest.Case{Path: path, Method: http.MethodHead}).Status)
	reserved.Release()
	require.Equal(t, "a", s.list(t, "include=content&page_size=100").List[0].Title)
}

// threeDigits matches the times of an article whose fraction is not a multiple of 10.
var threeDigits = regexp.MustCompile(`"(created|updated)_at":"[0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z"`)

// Times have three fractional digits in every response, also where they end with
// zeros, and in the response to a repeated request.
func TestTimes(t *testing.T) {
	each(t, func(t *testing.T, s *service) {
		created := s.post(t, "k", fields{"title": "a"})
		require.Len(t, threeDigits.FindAll(created.Body, -1), 2)
		var response articleResponse
		created.JSON(t, &response)
		for _, fraction := range []string{"000", "100", "120"} {
			table := s.db.Table("article")
			require.NoError(t, s.db.Gorm(t.Context()).Exec("UPDATE "+table+" SET created_at = ?", "2026-01-02 03:04:05."+fraction).Error)
			for _, path := range []string{articlesPath, at(response.Data.ID)} {
				body := string(s.Do(t, apitest.Case{Path: path}).Body)
				require.Contains(t, body, `"created_at":"2026-01-02T03:04:05.`+fraction+`Z"`)
			}
		}
		// Until a key was used at a millisecond that ends with zero.
		for n := 0; ; n++ {
			key := fmt.Sprint("key", n)
			first := s.post(t, key, fields{"title": "a"})
			require.Len(t, threeDigits.FindAll(first.Body, -1), 2)
			if !strings.Contains(string(first.Body), `0Z","created_by"`) {
				continue
			}
			require.Equal(t, string(first.Body), string(s.post(t, key, fields{"title": "a"}).Body))
			return
		}
	})
}
