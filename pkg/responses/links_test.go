package responses_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/coalesce"
	"github.com/achilles-blog/achilles/pkg/responses"
)

// linksOf returns the field Link of the response to a request.
func linksOf(request *http.Request, pager responses.Pager, prepare func(*gin.Context)) string {
	recorder := httptest.NewRecorder()
	c := gin.CreateTestContextOnly(recorder, gin.New())
	c.Request = request
	if prepare != nil {
		prepare(c)
	}
	responses.SetLinks(c, pager)
	return recorder.Header().Get("Link")
}

// getList returns a GET request with the query as it was sent.
func getList(host, query string) *http.Request {
	return &http.Request{Method: http.MethodGet, Host: host, Header: http.Header{}, URL: &url.URL{Path: "/api/v1/tags", RawQuery: query}}
}

func TestLinks(t *testing.T) {
	const at = "http://blog.example/api/v1/tags"
	for about, c := range map[string]struct {
		query string
		pager responses.Pager
		want  string
	}{
		"first page":      {"", responses.Pager{Page: 1, Next: "abc"}, `<` + at + `?after=abc>; rel="next", <` + at + `>; rel="first"`},
		"page in between": {"page=3", responses.Pager{Page: 3, Next: "abc"}, `<` + at + `?after=abc>; rel="next", <` + at + `?page=2>; rel="prev", <` + at + `>; rel="first"`},
		"after a row":     {"after=x&state=1", responses.Pager{Next: "abc"}, `<` + at + `?state=1&after=abc>; rel="next", <` + at + `?state=1>; rel="first"`},
		"last page":       {"after=x", responses.Pager{}, `<` + at + `>; rel="first"`},
		"order of parameters": {"z=1&page_size=5&p%61ge=2&a=%E4%BD%A0+b&z=2&&flag", responses.Pager{Page: 2},
			`<` + at + `?z=1&page_size=5&a=%E4%BD%A0+b&z=2&flag&page=1>; rel="prev", <` + at + `?z=1&page_size=5&a=%E4%BD%A0+b&z=2&flag>; rel="first"`},
		"escaped": {`q=a>; rel="next",<é%zz%4`, responses.Pager{Page: 1},
			`<` + at + `?q=a%3E%3B%20rel=%22next%22%2C%3C%C3%A9%25zz%254>; rel="first"`},
	} {
		t.Run(about, func(t *testing.T) {
			require.Equal(t, c.want, linksOf(getList("blog.example", c.query), c.pager, nil))
		})
	}
}

// The links have the address that the client used, and never another text as a host.
func TestAddressOfLinks(t *testing.T) {
	for about, c := range map[string]struct {
		host    string
		prepare func(*gin.Context)
		want    string
	}{
		"port":         {"localhost:8080", nil, "http://localhost:8080/api/v1/tags"},
		"IPv6":         {"[::1]:8080", nil, "http://[::1]:8080/api/v1/tags"},
		"TLS":          {"a", func(c *gin.Context) { c.Request.TLS = &tls.ConnectionState{} }, "https://a/api/v1/tags"},
		"prefix":       {"a", func(c *gin.Context) { responses.SetPathPrefix(c, "/blog") }, "http://a/blog/api/v1/tags"},
		"proxy":        {"a", func(c *gin.Context) { responses.SetAddress(c, "https", "blog.example") }, "https://blog.example/api/v1/tags"},
		"scheme alone": {"a", func(c *gin.Context) { responses.SetAddress(c, "https", "") }, "https://a/api/v1/tags"},
		"no host":      {"", nil, "/api/v1/tags"},
		"injection":    {`a>; rel="next", <http://evil`, nil, "/api/v1/tags"},
		"line break":   {"a\r\nSet-Cookie: x", nil, "/api/v1/tags"},
		"user":         {"user@evil", nil, "/api/v1/tags"},
		"path":         {"evil/x", nil, "/api/v1/tags"},
		"proxy, evil":  {"a", func(c *gin.Context) { responses.SetAddress(c, "https", `evil>, <b`) }, "/api/v1/tags"},
		"long":         {strings.Repeat("a", 300), nil, "/api/v1/tags"},
	} {
		t.Run(about, func(t *testing.T) {
			require.Equal(t, `<`+c.want+`>; rel="first"`, linksOf(getList(c.host, ""), responses.Pager{Page: 1}, c.prepare))
		})
	}
}

// Links that would not fit into the buffers of proxies are left out.
func TestLinksAreShort(t *testing.T) {
	pager := responses.Pager{Page: 2, Next: "abc"}
	for length, want := range map[int][]string{100: {"next", "prev", "first"}, 800: {"next", "prev", "first"}, 1200: {"next", "prev"}, 2400: {"next"}, 2600: nil, 1 << 20: nil} {
		link := linksOf(getList("a", "q="+strings.Repeat("b", length)), pager, nil)
		require.LessOrEqual(t, len(link), 2560)
		require.Equal(t, len(want), strings.Count(link, "rel="), length)
		for _, relation := range want {
			require.Contains(t, link, `rel="`+relation+`"`)
		}
	}
	require.Empty(t, linksOf(getList("a", strings.Repeat("<", 2000)), pager, nil))
}

// Each response has the links of its own request, also without a body, though the bodies
// are shared; and each has the cursor of its own request.
func TestSharedListsHaveTheirOwnLinks(t *testing.T) {
	var encodings coalesce.Memo[string, []byte]
	encoder := responses.NewEncoder[int]()
	memory, _ := newMemory(1 << 20)
	respond := func(method, query, next string, header ...string) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		c := gin.CreateTestContextOnly(recorder, gin.New())
		c.Request = getList("a", query)
		c.Request.Method = method
		for i := 0; i < len(header); i += 2 {
			c.Request.Header.Set(header[i], header[i+1])
		}
		reserved, err := memory.Reserve(c, 1000)
		require.NoError(t, err)
		defer reserved.Release()
		pager := responses.Pager{Page: 1, Next: next}
		encoder.SharedList(c, responses.PageETag("", pager, nil), &encodings, 10, 1000, func() []int { return []int{1} }, pager, reserved)
		return recorder
	}
	all := respond(http.MethodGet, "", "one")
	require.Contains(t, all.Body.String(), `"next":"one"`)
	require.Contains(t, all.Header().Get("Link"), `<http://a/api/v1/tags?after=one>; rel="next"`)
	enabled := respond(http.MethodGet, "state=1", "two")
	require.Contains(t, enabled.Body.String(), `"next":"two"`)
	require.Contains(t, enabled.Header().Get("Link"), `<http://a/api/v1/tags?state=1&after=two>; rel="next"`)
	for _, without := range []*httptest.ResponseRecorder{
		respond(http.MethodHead, "", "one"), respond(http.MethodGet, "", "one", "If-None-Match", all.Header().Get("ETag")),
	} {
		require.Empty(t, without.Body.String())
		require.Equal(t, all.Header().Get("Link"), without.Header().Get("Link"))
	}
}
