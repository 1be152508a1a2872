package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/client"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

// service answers requests in memory, so that tests can run in a bubble of synctest.
type service struct {
	mu      sync.Mutex
	answers []answer // of the next requests; the last one is repeated
	seen    []*http.Request
	bodies  []string
	times   []time.Time
	logins  int
}

type answer struct {
	status int
	body   string
	header map[string]string
	err    error
	delay  time.Duration
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	a := s.next(r, string(body))
	if a.delay > 0 {
		select {
		case <-time.After(a.delay):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	if a.err != nil {
		return nil, a.err
	}
	header := http.Header{}
	for name, value := range a.header {
		header.Set(name, value)
	}
	return &http.Response{StatusCode: a.status, Header: header, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}, nil
}

func (s *service) next(r *http.Request, body string) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == "/prefix/auth" {
		s.logins++
		return answer{status: 200, body: fmt.Sprintf(`{"code":0,"data":{"token":"token %d","expires_in":3600}}`, s.logins)}
	}
	s.seen, s.bodies, s.times = append(s.seen, r), append(s.bodies, body), append(s.times, time.Now())
	a := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	return a
}

func (s *service) client(t *testing.T, change ...func(*client.Config)) *client.Client {
	t.Helper()
	config := client.Config{URL: "http://blog.example/prefix/", HTTP: &http.Client{Transport: s}}
	for _, c := range change {
		c(&config)
	}
	c, err := client.New(config)
	require.NoError(t, err)
	return c
}

func withCredentials(c *client.Config) { c.AppKey, c.AppSecret = "demo", "secret" }

// Answers of a service.
var (
	lost   = answer{err: io.ErrUnexpectedEOF}
	tag    = answer{status: 200, body: `{"code":0,"data":{"id":7,"name":"Go","state":1}}`, header: map[string]string{"ETag": `"1.a.en"`}}
	gone   = failed(404, errcode.TagNotFound)
	busy   = withRetryAfter(failed(503, errcode.Unavailable), "3")
	proxy  = answer{status: 503, body: "<html>"}
	limits = withRetryAfter(failed(429, errcode.TooManyRequests), "7")
)

func failed(status int, code errcode.Code) answer {
	return answer{status: status, body: fmt.Sprintf(`{"code":%d,"msg":"message","details":["a detail"],"errors":[{"field":"name","code":"required","message":"a detail"}]}`, code)}
}

func withRetryAfter(a answer, seconds string) answer {
	a.header = map[string]string{"Retry-After": seconds}
	return a
}

// inBubble runs a test with a clock that jumps ahead when everybody waits.
func inBubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

func TestRetries(t *testing.T) {
	type request = func(ctx context.Context, c *client.Client) error
	get := func(ctx context.Context, c *client.Client) error { _, err := c.Tag(ctx, 7); return err }
	create := func(ctx context.Context, c *client.Client) error {
		_, err := c.CreateTag(ctx, client.NewTag{Name: "Go"})
		return err
	}
	update := func(ctx context.Context, c *client.Client) error {
		_, err := c.UpdateTag(ctx, 7, client.TagUpdate{Name: new("Go")}, client.IfMatch(`"1"`))
		return err
	}
	remove := func(ctx context.Context, c *client.Client) error { return c.DeleteTag(ctx, 7) }
	inProgress, conflict := failed(409, errcode.RequestInProgress), failed(409, errcode.Conflict)
	for about, c := range map[string]struct {
		do      request
		answers []answer
		tries   int
		fails   bool
	}{
		"read, lost":                 {get, []answer{lost, lost, tag}, 3, false},
		"read, 503 of a proxy":       {get, []answer{proxy, tag}, 2, false},
		"read, 502":                  {get, []answer{{status: 502}, tag}, 2, false},
		"read, 504":                  {get, []answer{failed(504, errcode.Timeout), tag}, 2, false},
		"read, 500":                  {get, []answer{failed(500, errcode.Internal), tag}, 1, true},
		"read, 404":                  {get, []answer{gone}, 1, true},
		"read, too often":            {get, []answer{busy}, 5, true},
		"create, lost":               {create, []answer{lost, busy, limits, tag}, 4, false},
		"create, in progress":        {create, []answer{inProgress, conflict, tag}, 3, false},
		"create, exists":             {create, []answer{failed(409, errcode.TagNameExists)}, 1, true},
		"create, key reused":         {create, []answer{failed(422, errcode.KeyReused)}, 1, true},
		"update, lost":               {update, []answer{lost, tag}, 1, true},
		"update, 503 of a proxy":     {update, []answer{proxy, tag}, 1, true},
		"update, 502":                {update, []answer{{status: 502}, tag}, 1, true},
		"update, 503":                {update, []answer{busy, tag}, 2, false},
		"update, 429":                {update, []answer{limits, limits, tag}, 3, false},
		"update, conflict":           {update, []answer{conflict, tag}, 2, false},
		"update, changed meanwhile":  {update, []answer{failed(412, errcode.PreconditionFailed)}, 1, true},
		"update, read-only":          {update, []answer{withRetryAfter(failed(503, errcode.ReadOnly), "5"), tag}, 2, false},
		"delete, lost":               {remove, []answer{lost, tag}, 1, true},
		"delete, 503":                {remove, []answer{busy, {status: 200, body: `{"code":0,"data":{}}`}}, 2, false},
		"delete, done before a 503":  {remove, []answer{busy, gone}, 2, false},
		"delete, not there":          {remove, []answer{limits, gone}, 2, true},
		"read, longer than MaxWait":  {get, []answer{withRetryAfter(busy, "61"), tag}, 1, true},
		"read, Retry-After overflow": {get, []answer{withRetryAfter(busy, "9223372036854775807"), tag}, 1, true},
		"read, odd Retry-After":      {get, []answer{withRetryAfter(busy, "-1"), withRetryAfter(busy, "soon"), tag}, 3, false},
	} {
		t.Run(about, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := &service{answers: c.answers}
				err := c.do(t.Context(), s.client(t))
				require.Equal(t, c.fails, err != nil, err)
				require.Len(t, s.seen, c.tries)
				for i, r := range s.seen { // each try is the same request
					require.Equal(t, s.seen[0].Header, r.Header)
					require.Equal(t, s.bodies[0], s.bodies[i])
				}
				require.Equal(t, s.seen[0].Method == http.MethodPost, s.seen[0].Header.Get("Idempotency-Key") != "")
			})
		})
	}
}

// A repeat waits for Retry-After, or longer each time, and not longer than the context.
func TestPauses(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &service{answers: []answer{limits, busy, lost, lost, tag}}
		_, err := s.client(t).Tag(t.Context(), 7)
		require.NoError(t, err)
		for i, least := range []time.Duration{7 * time.Second, 3 * time.Second, 400 * time.Millisecond, 800 * time.Millisecond} {
			pause := s.times[i+1].Sub(s.times[i])
			require.GreaterOrEqual(t, pause, least)
			require.LessOrEqual(t, pause, least*5/4)
		}
	})
	inBubble(t, func(t *testing.T) {
		s := &service{answers: []answer{busy}}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		_, err := s.client(t).Tag(ctx, 7)
		require.ErrorIs(t, err, client.Unavailable)
		require.Equal(t, began, time.Now(), "it doesn't wait in vain")
	})
	inBubble(t, func(t *testing.T) {
		s := &service{answers: []answer{busy}}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := s.client(t).Tag(ctx, 7)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, client.Unavailable)
		require.Len(t, s.seen, 1)
	})
	inBubble(t, func(t *testing.T) {
		s := &service{answers: []answer{{delay: time.Hour}, tag}}
		_, err := s.client(t, func(c *client.Config) { c.Timeout = 5 * time.Second }).Tag(t.Context(), 7)
		require.NoError(t, err, "each try has a timeout")
		require.Len(t, s.seen, 2)
		_, err = s.client(t, func(c *client.Config) { c.MaxRetries = -1 }).Tag(t.Context(), 7)
		require.NoError(t, err)
	})
}

// Requests have a token, which is renewed before it expires and after it was rejected.
func TestTokens(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := &service{answers: []answer{tag}}
		c := s.client(t, withCredentials)
		tokens := func() (all []string) {
			for _, r := range s.seen {
				all = append(all, r.Header.Get("Authorization"))
			}
			s.seen = nil
			return all
		}
		var readers sync.WaitGroup
		for range 20 {
			readers.Go(func() { _, _ = c.Tag(t.Context(), 7) })
		}
		readers.Wait()
		require.Len(t, tokens(), 20)
		require.Equal(t, 1, s.logins, "the others wait for the first")
		time.Sleep(58 * time.Minute)
		_, _ = c.Tag(t.Context(), 7)
		require.Equal(t, []string{"Bearer token 1"}, tokens())
		time.Sleep(time.Minute)
		_, _ = c.Tag(t.Context(), 7)
		require.Equal(t, []string{"Bearer token 2"}, tokens())

		for _, code := range []errcode.Code{errcode.UnauthorizedExpired, errcode.UnauthorizedToken} {
			s.answers = []answer{failed(401, code), tag}
			require.NoError(t, c.DeleteTag(t.Context(), 7))
			require.Len(t, tokens(), 2)
		}
		require.Equal(t, 4, s.logins)
		s.answers = []answer{failed(401, errcode.UnauthorizedToken)}
		_, err := c.Tag(t.Context(), 7)
		require.ErrorIs(t, err, client.InvalidToken)
		require.Equal(t, []string{"Bearer token 4", "Bearer token 5"}, tokens(), "once")
	})
	inBubble(t, func(t *testing.T) {
		s := &service{answers: []answer{failed(401, errcode.UnauthorizedExpired)}}
		_, err := s.client(t, func(c *client.Config) { c.Token = "fixed" }).Tag(t.Context(), 7)
		require.ErrorIs(t, err, client.ExpiredToken)
		require.Len(t, s.seen, 1)
		require.Equal(t, "Bearer fixed", s.seen[0].Header.Get("Authorization"))
		_, err = s.client(t).Tag(t.Context(), 7)
		require.ErrorIs(t, err, client.ExpiredToken)
		require.NotContains(t, s.seen[1].Header, "Authorization")
	})
}

func TestErrors(t *testing.T) {
	missing := failed(404, errcode.TagNotFound)
	missing.header = map[string]string{"X-Request-ID": "abc", "Retry-After": "2"}
	s := &service{answers: []answer{missing}}
	_, err := s.client(t).Tag(t.Context(), 7)
	var failure *client.Error
	require.ErrorAs(t, err, &failure)
	require.Equal(t, &client.Error{
		Status: 404, Code: client.TagNotFound, Message: "message", Details: []string{"a detail"}, Fields: []client.FieldError{{Field: "name", Code: "required", Message: "a detail"}},
		RetryAfter: 2 * time.Second, RequestID: "abc", Method: "GET", Path: "/api/v1/tags/7",
	}, failure)
	require.ErrorIs(t, err, client.TagNotFound)
	require.NotErrorIs(t, err, client.ArticleNotFound)
	require.EqualError(t, err, "GET /api/v1/tags/7: status 404, code 20010007: message: a detail")
	require.EqualError(t, client.TagNotFound, "20010007 no such tag")

	for _, body := range []string{"", "<html>", `{"ok":true}`, `[]`, `{"code":null}`, "null"} {
		for _, status := range []int{200, 301, 404} {
			s.answers = []answer{{status: status, body: body}}
			_, err := s.client(t).Tag(t.Context(), 7)
			require.ErrorAs(t, err, &failure, body)
			require.Zero(t, failure.Code)
			require.Equal(t, status, failure.Status)
			require.ErrorContains(t, err, "is not of Achilles")
			require.NotErrorIs(t, err, client.Code(0))
		}
	}
	s.answers = []answer{tag}
	s.answers[0].body = strings.Repeat(" ", 100) + tag.body
	_, err = s.client(t, func(c *client.Config) { c.MaxResponse = 99 }).Tag(t.Context(), 7)
	require.ErrorIs(t, err, client.ErrResponseTooLarge)
	s.answers[0].status = 304
	_, err = s.client(t).Tag(t.Context(), 7, client.IfNoneMatch(`"1"`))
	require.ErrorIs(t, err, client.ErrNotModified)
}

func TestRequests(t *testing.T) {
	s := &service{answers: []answer{tag}}
	c := s.client(t, func(c *client.Config) { c.Language = "zh" })
	got, err := c.CreateTag(t.Context(), client.NewTag{Name: "Go", State: new(client.Disabled)}, client.IdempotencyKey("mine"))
	require.NoError(t, err)
	require.Equal(t, client.Tag{ID: 7, Name: "Go", State: client.Enabled, ETag: `"1.a.en"`}, got)
	_, err = c.UpdateArticle(t.Context(), 3, client.ArticleUpdate{Desc: new(""), TagIDs: &[]uint64{}}, client.IfMatch(`"2"`))
	require.NoError(t, err)
	_, err = c.ArticleBySlug(t.Context(), "a/b?c")
	require.NoError(t, err)
	s.answers = []answer{{status: 200, body: `{"code":0,"list":[]}`}}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	_, err = c.ArticlePage(t.Context(), client.ArticleFilter{
		TagIDs: []uint64{1, 2}, AllTagIDs: []uint64{3}, TagName: "Go", Title: "a&b", Words: "字", State: new(client.Enabled), CreatedFrom: at, UpdatedTo: at,
		OrderBy: "-title", Fields: []string{"id", "title"}, Content: true,
	}, client.PageAt{Number: 2, Size: 5})
	require.NoError(t, err)
	_, err = c.TagPage(t.Context(), client.TagFilter{Name: "Go", Prefix: "G"}, client.PageAt{Number: 2, After: "x"})
	require.NoError(t, err)
	var lines []string
	for i, r := range s.seen {
		require.Equal(t, "zh", r.Header.Get("Locale"))
		lines = append(lines, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+s.bodies[i]))
	}
	require.Equal(t, []string{
		`POST /prefix/api/v1/tags {"name":"Go","state":0}`,
		`PATCH /prefix/api/v1/articles/3 {"desc":"","tag_ids":[]}`,
		`GET /prefix/api/v1/articles/slug/a%2Fb%3Fc`,
		`GET /prefix/api/v1/articles?created_from=2026-01-02T03%3A04%3A05Z&fields=id%2Ctitle&include=content&order_by=-title&page=2&page_size=5&q=%E5%AD%97&state=1&tag=Go&tag_all=3&tag_id=1%2C2&title=a%26b&updated_to=2026-01-02T03%3A04%3A05Z`,
		`GET /prefix/api/v1/tags?after=x&name=Go&prefix=G`,
	}, lines)
	require.Equal(t, "mine", s.seen[0].Header.Get("Idempotency-Key"))
	require.Equal(t, "application/merge-patch+json", s.seen[1].Header.Get("Content-Type"))
	require.Equal(t, `"2"`, s.seen[1].Header.Get("If-Match"))
}

func TestLists(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		list := func(ids, next string) answer {
			return answer{status: 200, body: `{"code":0,"list":[` + ids + `],"pager":{"page_size":100,"total_rows":3,"total_relation":"gte","next":"` + next + `"}}`}
		}
		pages := []answer{list(`{"id":1},{"id":2}`, "a&b"), busy, list(`{"id":3}`, "")}
		s := &service{answers: pages}
		var ids []uint64
		for one, err := range s.client(t).Tags(t.Context(), client.TagFilter{OrderBy: "-name"}) {
			require.NoError(t, err)
			ids = append(ids, one.ID)
		}
		require.Equal(t, []uint64{1, 2, 3}, ids)
		require.Equal(t, "order_by=-name&page_size=100", s.seen[0].URL.RawQuery)
		require.Equal(t, "after=a%26b&order_by=-name&page_size=100", s.seen[2].URL.RawQuery)
		s = &service{answers: pages}
		for _, err := range s.client(t).Tags(t.Context(), client.TagFilter{}) {
			require.NoError(t, err)
			break
		}
		require.Len(t, s.seen, 1)
		s = &service{answers: []answer{pages[0], gone}}
		ids = nil
		var failure error
		for one, err := range s.client(t).Tags(t.Context(), client.TagFilter{}) {
			ids, failure = append(ids, one.ID), err
		}
		require.ErrorIs(t, failure, client.TagNotFound)
		require.Equal(t, []uint64{1, 2, 0}, ids)
		s = &service{answers: pages}
		page, err := s.client(t).TagPage(t.Context(), client.TagFilter{}, client.PageAt{})
		require.NoError(t, err)
		require.Equal(t, client.Page[client.Tag]{Items: []client.Tag{{ID: 1}, {ID: 2}}, Total: 3, AtLeast: true, Next: "a&b"}, page)
	})
}

func TestChanges(t *testing.T) {
	part := func(changes, next string, more bool) answer {
		return answer{status: 200, body: fmt.Sprintf(`{"code":0,"data":{"changes":[%s],"next":%q,"more":%v}}`, changes, next, more)}
	}
	put, deleted := `{"offset":"e.1","kind":"put","id":7,"article":{"id":7,"title":"a"}}`, `{"offset":"e.2","kind":"delete","id":3}`
	inBubble(t, func(t *testing.T) {
		s := &service{answers: []answer{part(put, "e.1", true), part(deleted, "e.2", false)}}
		var all []client.Change
		for one, err := range s.client(t).ArticleChanges(t.Context(), "") {
			require.NoError(t, err)
			all = append(all, one)
		}
		require.Equal(t, []client.Change{{Offset: "e.1", Kind: client.Put, ID: 7, Article: &client.Article{ID: 7, Title: "a"}}, {Offset: "e.2", Kind: client.Delete, ID: 3}}, all)
		require.Equal(t, []string{"", "after=e.1"}, []string{s.seen[0].URL.RawQuery, s.seen[1].URL.RawQuery})
	})
	inBubble(t, func(t *testing.T) {
		trimmed := answer{status: 410, body: `{"code":10000018,"msg":"gone","details":[],"errors":[],"next":"f.9"}`}
		none := part("", "e.1", false) // at once, as during a drain
		s := &service{answers: []answer{part(put, "e.1", false), none, none, busy, part(deleted, "e.2", false), trimmed}}
		var offsets []string
		for one, err := range s.client(t).FollowArticleChanges(t.Context(), "e.0") {
			if err != nil {
				var failure *client.Error
				require.True(t, errors.As(err, &failure))
				require.ErrorIs(t, err, client.ChangesTrimmed)
				require.Equal(t, "f.9", failure.Next)
				break
			}
			offsets = append(offsets, one.Offset)
		}
		require.Equal(t, []string{"e.1", "e.2"}, offsets)
		require.Equal(t, "after=e.0&wait=10", s.seen[0].URL.RawQuery)
		require.Equal(t, 500*time.Millisecond, s.times[2].Sub(s.times[1]), "it doesn't ask without a pause")
	})
	inBubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &service{answers: []answer{part(put, "e.1", false), {delay: time.Hour}}}
		time.AfterFunc(time.Second, cancel)
		var failure error
		for _, err := range s.client(t).FollowArticleChanges(ctx, "") {
			failure = err
		}
		require.ErrorIs(t, failure, context.Canceled)
	})
}

func TestInvalidConfigs(t *testing.T) {
	for _, config := range []client.Config{
		{}, {URL: "blog.example"}, {URL: "ftp://blog.example"}, {URL: "http://"}, {URL: "http://a?b=c"}, {URL: "http://a#b"}, {URL: "http://user:secret@a"}, {URL: "http://a\n"},
		{TagURL: "http://a"}, {ArticleURL: "http://a"}, {URL: "http://a", AppKey: "demo"}, {URL: "http://a", AppSecret: "secret"},
	} {
		_, err := client.New(config)
		require.Error(t, err, "%+v", config)
	}
	_, err := client.New(client.Config{TagURL: "http://a", ArticleURL: "https://b/c/"})
	require.NoError(t, err)
}

// A batch is sent again, with its key, while the service has no time for all objects.
func TestUnfinishedBatchIsRepeated(t *testing.T) {
	results := func(second string) answer {
		return answer{status: 200, body: `{"code":0,"data":{"failed":1,"results":[{"index":0,"code":0,"replayed":true,"data":{"id":1,"name":"a"}},` + second + `]}}`}
	}
	unfinished, finished := results(`{"index":1,"code":10000014,"msg":"temporarily unavailable"}`), results(`{"index":1,"code":0,"data":{"id":2,"name":"b"}}`)
	names := []client.NewTag{{Name: "a"}, {Name: "b"}}
	inBubble(t, func(t *testing.T) {
		s := &service{answers: []answer{unfinished, unfinished, finished}}
		created, err := s.client(t).CreateEachTag(t.Context(), names)
		require.NoError(t, err)
		require.Equal(t, []client.BatchResult[client.Tag]{{Created: client.Tag{ID: 1, Name: "a"}, Replayed: true}, {Created: client.Tag{ID: 2, Name: "b"}}}, created)
		require.Len(t, s.seen, 3)
		for _, request := range s.seen {
			require.Equal(t, s.seen[0].Header.Get("Idempotency-Key"), request.Header.Get("Idempotency-Key"))
		}
		require.GreaterOrEqual(t, s.times[1].Sub(s.times[0]), time.Second)
	})
	inBubble(t, func(t *testing.T) {
		s := &service{answers: []answer{unfinished}}
		created, err := s.client(t, func(c *client.Config) { c.MaxRetries = -1 }).CreateEachTag(t.Context(), names)
		require.NoError(t, err)
		require.NoError(t, created[0].Err)
		require.ErrorIs(t, created[1].Err, client.Unavailable)
	})
}
