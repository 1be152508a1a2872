package api_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zapcore"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
)

func TestUnknownRoutes(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	s.create(t, fields{"name": "one"})
	for _, c := range []struct{ method, path string }{
		{"GET", "/"},
		{"GET", "/api"},
		{"GET", "/api/v1"},
		{"GET", "/api/v1/articles"},
		{"GET", "/api/v2/tags"},
		{"GET", "/api/v1/tags/"},
		{"POST", "/api/v1/tags/"},
		{"GET", "/api/v1/tags/1/"},
		{"DELETE", "/api/v1/tags/1/"},
		{"GET", "/api/v1/tags/1/articles"},
		{"GET", "/api/v1//tags"},
		{"GET", "/api/v1/Tags"},
		{"GET", "/api/v1/tags/1%2F2"},
		{"POST", "/internal/v1/tags"},
		{"GET", "/internal/v1"},
		{"GET", "/metrics"},
		{"GET", "/debug/pprof/"},
		{"GET", "/favicon.ico"},
		{"GET", "/api/v1/../../etc/passwd"},
	} {
		for _, language := range []string{"zh", "en", "zh_Hant_TW"} {
			t.Run(c.method+" "+c.path+" "+language, func(t *testing.T) {
				result := s.Do(t, apitest.Case{Method: c.method, Path: c.path, Header: in(language), Undescribed: true})
				requireProblem(t, result, errcode.NotFound, map[string]string{"zh": "找不到", "en": "not found", "zh_Hant_TW": "找不到"}[language], nil)
			})
		}
	}
	require.Equal(t, []string{"one"}, names(s.list(t, "").List))
}

func TestWrongMethods(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	s.create(t, fields{"name": "one"})
	collection, item, feed := []string{"GET", "HEAD", "POST"}, []string{"GET", "HEAD", "PUT", "PATCH", "DELETE"}, []string{"GET", "HEAD"}
	for path, allowed := range map[string][]string{
		tagsPath: collection, at(1): item, "/internal/v1/tag-changes": feed, "/internal/v1/tag-snapshot": feed,
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "PURGE"} {
			if slices.Contains(allowed, method) {
				continue
			}
			t.Run(method+" "+path, func(t *testing.T) {
				result := s.Do(t, apitest.Case{Method: method, Path: path, Undescribed: true})
				require.Equal(t, http.StatusMethodNotAllowed, result.Status)
				require.ElementsMatch(t, allowed, strings.Split(result.Header.Get("Allow"), ", "))
				if method == "HEAD" {
					require.Empty(t, result.Body)
					return
				}
				requireProblem(t, result, errcode.MethodNotAllowed, "不允许的请求方法", nil)
			})
		}
	}
	require.Equal(t, []string{"one"}, names(s.list(t, "").List))
}

func TestMediaTypes(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	s.create(t, fields{"name": "one"})
	const detail = "Content-Type 必须是 application/json 或 application/x-www-form-urlencoded, 字符集为 UTF-8"
	for i, c := range []struct {
		contentType string
		accepted    bool
	}{
		{"application/json", true},
		{"application/json; charset=utf-8", true},
		{"application/json;charset=UTF-8", true},
		{"Application/JSON", true},
		{"application/x-www-form-urlencoded; charset=utf-8", true},
		{"", false},
		{"text/plain", false},
		{"text/json", false},
		{"application/xml", false},
		{"application/json; charset=gbk", false},
		{"application/x-www-form-urlencoded; charset=iso-8859-1", false},
		{"multipart/form-data; boundary=x", false},
		{"application/jsonp", false},
		{"application/merge-patch+json", false},
		{"application/json, text/plain", false},
		{"*/*", false},
		{"nonsense", false},
	} {
		for method, path := range map[string]string{http.MethodPost: tagsPath, http.MethodPut: at(1)} {
			t.Run(method+" "+c.contentType, func(t *testing.T) {
				body := fmt.Sprintf(`{"name":"tag %d %s"}`, i, method)
				if strings.Contains(c.contentType, "urlencoded") {
					body = fmt.Sprintf(`name=tag+%d+%s`, i, method)
				}
				request := apitest.Case{Method: method, Path: path, ContentType: c.contentType, Body: []byte(body), Invalid: true}
				if c.accepted {
					require.Less(t, s.Do(t, request).Status, http.StatusMultipleChoices)
					return
				}
				s.requireError(t, request, errcode.UnsupportedMediaType, detail)
			})
		}
	}
}

func TestMediaTypeErrorIsTranslated(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	for language, want := range map[string][2]string{
		"en":         {"unsupported media type", "Content-Type must be application/json or application/x-www-form-urlencoded, in UTF-8"},
		"zh_Hant_TW": {"不支援的媒體類型", "Content-Type 必須是 application/json 或 application/x-www-form-urlencoded, 字元集為 UTF-8"},
	} {
		result := s.Do(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, Body: []byte("a"), ContentType: "text/plain", Header: in(language), Invalid: true})
		requireProblem(t, result, errcode.UnsupportedMediaType, want[0], []string{want[1]})
	}
}

// The bodies of a tag are small.
func TestBodyLimit(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	sized := func(size int) []byte {
		body := []byte(`{"name":"sized"}`)
		return append(body, bytes.Repeat([]byte(" "), size-len(body))...)
	}
	post := apitest.Case{Method: http.MethodPost, Path: tagsPath, ContentType: jsonType, Invalid: true}
	post.Body = sized(8<<10 + 1)
	s.requireError(t, post, errcode.TooLarge, "请求体不能超过8192字节")
	require.Empty(t, s.list(t, "").List)
	post.Body = sized(8 << 10)
	require.Equal(t, http.StatusCreated, s.Do(t, post).Status)
}

// The limit also applies to a body without a Content-Length.
func TestBodyLimitWithoutContentLength(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	server := httptest.NewServer(s.handler)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "POST /api/v1/tags HTTP/1.1\r\nHost: x\r\nAuthorization: "+s.token+"\r\nlocale: en\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
	require.NoError(t, err)
	go func() { // the server may respond and close before it has read the whole body
		chunk := fmt.Sprintf("%x\r\n%s\r\n", 16<<10, strings.Repeat(" ", 16<<10))
		for range 2 {
			_, _ = io.WriteString(conn, chunk)
		}
		_, _ = io.WriteString(conn, "0\r\n\r\n")
	}()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode)
	require.JSONEq(t, `{"code":10000010,"msg":"request body too large","details":["the body must be at most 8192 bytes"],"errors":[]}`, string(body))
}

func TestRequestIDs(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	for sent, valid := range map[string]bool{
		"abc-123_4.5":            true,
		strings.Repeat("x", 128): true,
		strings.Repeat("x", 129): false,
		"":                       false,
		"a b":                    false,
		"<script>":               false,
		"编号":                     false,
	} {
		for _, request := range []apitest.Case{
			{Path: at(99)}, {Path: "/nowhere", Undescribed: true},
			{Method: http.MethodPost, Path: tagsPath, JSON: fields{}, Invalid: true},
			{Method: http.MethodPatch, Path: tagsPath, Undescribed: true},
		} {
			request.Header = http.Header{"X-Request-Id": {sent}}
			id := s.Do(t, request).Header.Get("X-Request-ID")
			if valid {
				require.Equal(t, sent, id)
			} else {
				require.Regexp(t, `^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`, id)
			}
			lines := s.logs.FilterMessage("request").All()
			require.Equal(t, id, lines[len(lines)-1].ContextMap()["request_id"])
		}
	}
}

// The access log has one line per request, with the template of the route and
// without any value from the path, query, headers or body.
func TestAccessLogHasNoSecrets(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	const secret = "hunter2"
	s.create(t, fields{"name": secret})
	s.requireError(t, apitest.Case{Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": secret}}, errcode.TagNameExists, "name已被其他标签使用")
	s.list(t, "name="+secret)
	s.Do(t, apitest.Case{Path: tagsPath + "/" + secret, Invalid: true})
	s.Do(t, apitest.Case{Path: "/internal/v1/tag-changes", Header: http.Header{"Authorization": {"Bearer " + token}}})
	s.Do(t, apitest.Case{Path: "/internal/v1/tag-changes", Header: http.Header{"Authorization": {"Bearer " + secret}}})
	lines := s.logs.FilterMessage("request").All()
	require.Len(t, lines, 6)
	for _, line := range lines {
		logged := fmt.Sprint(line.Message, line.ContextMap())
		require.NotContains(t, logged, secret)
		require.NotContains(t, logged, token)
		require.Equal(t, zapcore.InfoLevel, line.Level)
	}
	require.Equal(t, "/api/v1/tags/:id", lines[3].ContextMap()["route"])
}

func TestResponseHeaders(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	for _, request := range []apitest.Case{
		{Path: at(99)}, {Path: "/nowhere", Undescribed: true}, {Method: http.MethodPost, Path: tagsPath, JSON: fields{"name": "a"}},
	} {
		result := s.Do(t, request)
		require.Equal(t, "application/json; charset=utf-8", result.Header.Get("Content-Type"))
		require.Equal(t, "nosniff", result.Header.Get("X-Content-Type-Options"))
		require.Equal(t, "no-store", result.Header.Get("Cache-Control"))
		require.Empty(t, result.Header.Get("Access-Control-Allow-Origin"))
	}
	read := s.anonymous.Do(t, apitest.Case{Path: tagsPath})
	require.Equal(t, "public, max-age=0, s-maxage=10", read.Header.Get("Cache-Control"))
}

func TestOpenAPIDocument(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	result := s.Do(t, apitest.Case{Path: "/swagger/tag/openapi.json", Undescribed: true})
	require.Equal(t, http.StatusOK, result.Status)
	require.Contains(t, string(result.Body), tagsPath)
	result = s.Do(t, apitest.Case{Path: "/swagger/tag/", Undescribed: true})
	require.Equal(t, http.StatusOK, result.Status)
	require.Contains(t, result.Header.Get("Content-Type"), "text/html")
}

func TestProblemDetails(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	apitest.RequireProblemDetails(t, s.Client, s.anonymous, tagsPath)
}

func TestProblemDetailsOfFailures(t *testing.T) {
	s := start(t, dbtest.SQLite(t))
	limited := func(o *options) { o.config.Limits.ReadPerSecond, o.config.Limits.ReadBurst = 1, 1 }
	late := func(o *options) { o.config.Server.RequestTimeout = time.Nanosecond }
	apitest.RequireFailureProblems(t, tagsPath, map[int]*apitest.Client{
		429: serve(t, s.db, limited).Client, 500: serve(t, dbtest.Open(t, dbtest.SQLite(t))).Client,
		503: serve(t, s.db.WithTimeout(time.Nanosecond)).Client, 504: serve(t, s.db, late).Client,
	})
}

func TestHeadWhereverGet(t *testing.T) { apitest.RequireHeads(t, start(t, dbtest.SQLite(t)).handler) }
