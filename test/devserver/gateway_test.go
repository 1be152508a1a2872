package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/achilles-blog/achilles/test/services"
)

// backend answers with its name and what it was asked.
func backend(t *testing.T, name string) *url.URL {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Location", "/somewhere")
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]string{
			"from": name, "method": r.Method, "uri": r.RequestURI, "body": string(body), "host": r.Host,
			"forwarded": r.Header.Get("X-Forwarded-For"), "locale": r.Header.Get("locale"), "prefix": r.Header.Get("X-Forwarded-Prefix"),
			"real": r.Header.Get("X-Real-Ip"), "proto": r.Header.Get("X-Forwarded-Proto"), "upgrade": r.Header.Get("Upgrade"),
		})
	}))
	t.Cleanup(srv.Close)
	target, err := url.Parse(srv.URL)
	require.NoError(t, err)
	return target
}

// listedServices returns the services of the tests, at the addresses.
func listedServices(t *testing.T, address func(name string) *url.URL) []*service {
	t.Helper()
	all, err := services.Read(listed(t))
	require.NoError(t, err)
	var made []*service
	for _, entry := range all {
		made = append(made, &service{Service: entry, url: address(entry.Name)})
	}
	return made
}

// closedGateway returns a gateway before open is called.
func closedGateway(t *testing.T) *gateway {
	t.Helper()
	return newGateway(listedServices(t, func(name string) *url.URL { return backend(t, name) }), log.New(io.Discard, "", 0))
}

func openGateway(t *testing.T) *gateway {
	t.Helper()
	g := closedGateway(t)
	g.open()
	return g
}

func ask(h http.Handler, method, target, body string, header http.Header) (*http.Response, map[string]any) {
	recorder := httptest.NewRecorder()
	request := httptest.NewRequest(method, target, strings.NewReader(body))
	for key, values := range header {
		request.Header[key] = values
	}
	h.ServeHTTP(recorder, request)
	var answer map[string]any
	_ = json.Unmarshal(recorder.Body.Bytes(), &answer)
	return recorder.Result(), answer
}

func TestGatewayRoutes(t *testing.T) {
	g := openGateway(t)
	for target, from := range map[string]string{
		"/api/v1/tags":                      "tag",
		"/api/v1/tags/":                     "tag",
		"/api/v1/tags/7":                    "tag",
		"/api/v1/tags?name=%E4%BD%A0&x=%zz": "tag",
		"/swagger/tag":                      "tag",
		"/swagger/tag/openapi.json":         "tag",
		"/api/v1/articles":                  "article",
		"/api/v1/comments/7":                "comment",
		"/swagger/comment/openapi.json":     "comment",
		"/api/v1/articles/7/state":          "article",
		"/swagger/article/":                 "article",
		"/auth":                             "article",
	} {
		response, answer := ask(g, http.MethodPost, "http://blog.test"+target, "你好", http.Header{
			"Locale": {"en"}, "X-Forwarded-For": {"6.6.6.6"}, "X-Forwarded-Prefix": {"/evil"}, "X-Real-Ip": {"6.6.6.6"}, "X-Forwarded-Proto": {"https"},
			"Connection": {"X-Forwarded-For, Upgrade"}, "Upgrade": {"h2c"},
		})
		require.Equal(t, http.StatusCreated, response.StatusCode, target)
		require.Equal(t, "/somewhere", response.Header.Get("Location"))
		require.Equal(t, map[string]any{
			"from": from, "method": http.MethodPost, "uri": target, "body": "你好", "host": "blog.test", "forwarded": "192.0.2.1", "locale": "en",
			"prefix": "", "real": "", "proto": "http", "upgrade": "",
		}, answer)
	}
}

func TestGatewayRoutesNothingElse(t *testing.T) {
	g := openGateway(t)
	for _, target := range []string{
		"/internal/v1/tag-changes", "/metrics", "/healthz", "/readyz", "/version", "/debug/pprof/",
		"/api/v1", "/api/v1/", "/api/v1/tagsx", "/api/v1/Tags", "/swaggers", "/index.html", "/authority", "/Auth", "/api/v1/auth",
		"/api/v1/tags/../../../internal/v1/tag-changes", "/api/v1/tags/%2e%2e/%2e%2e/%2e%2e/internal/v1/tag-changes",
		"/api/v1/tags//7", "//api/v1/tags", "/api/v1/tags/.",
		"http://other.test/internal/v1/tag-changes",
	} {
		response, answer := ask(g, http.MethodGet, target, "", http.Header{"Accept-Language": {"en"}})
		require.Equal(t, http.StatusNotFound, response.StatusCode, target)
		require.Equal(t, map[string]any{"code": 10000002.0, "msg": "not found", "details": []any{}, "errors": []any{}}, answer, target)
		require.Equal(t, "application/json; charset=utf-8", response.Header.Get("Content-Type"))
	}
}

func TestGatewaySpeaksThreeLanguages(t *testing.T) {
	g := openGateway(t)
	for locale, want := range map[string]string{"": "找不到", "en": "not found", "zh_Hant_TW": "找不到"} {
		_, answer := ask(g, http.MethodGet, "/nowhere", "", http.Header{"Locale": {locale}})
		require.Equal(t, want, answer["msg"])
	}
}

func TestGatewayIndex(t *testing.T) {
	g := openGateway(t)
	recorder := httptest.NewRecorder()
	g.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, http.StatusOK, recorder.Code)
	for _, address := range []string{"/api/v1/tags", "/api/v1/articles", "/api/v1/comments", "/swagger/"} {
		require.Contains(t, recorder.Body.String(), `href="`+address+`"`)
	}
	response, answer := ask(g, http.MethodPost, "/", "", nil)
	require.Equal(t, http.StatusMethodNotAllowed, response.StatusCode)
	require.Equal(t, "GET, HEAD", response.Header.Get("Allow"))
	require.InDelta(t, 10000012, answer["code"], 0)
}

func TestGatewayShowsAllDescriptions(t *testing.T) {
	g := openGateway(t)
	response, _ := ask(g, http.MethodGet, "/swagger", "", nil)
	require.Equal(t, http.StatusMovedPermanently, response.StatusCode)
	require.Equal(t, "swagger/", response.Header.Get("Location"))
	for target, want := range map[string]string{
		"/swagger/":                  "swagger-ui-standalone-preset.js",
		"/swagger/descriptions.json": `[{"name":"tag","url":"tag/openapi.json"},{"name":"article","url":"article/openapi.json"},{"name":"comment","url":"comment/openapi.json"}]`,
	} {
		response, _ := ask(g, http.MethodGet, target, "", nil)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Contains(t, string(body), want)
	}
	response, _ = ask(g, http.MethodGet, "/swagger/other", "", nil)
	require.Equal(t, http.StatusNotFound, response.StatusCode)
}

func TestGatewayIsClosedAtFirst(t *testing.T) {
	g := closedGateway(t)
	for _, target := range []string{"/", "/api/v1/tags"} {
		response, answer := ask(g, http.MethodGet, target, "", nil)
		require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
		require.Equal(t, "1", response.Header.Get("Retry-After"))
		require.InDelta(t, 10000014, answer["code"], 0)
	}
}

func TestGatewayToAServiceThatIsNotThere(t *testing.T) {
	var logged strings.Builder
	nowhere := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	g := newGateway(listedServices(t, func(string) *url.URL { return nowhere }), log.New(&logged, "", 0))
	g.open()
	response, answer := ask(g, http.MethodGet, "/api/v1/tags?name=private", "", nil)
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.Equal(t, []any{}, answer["details"])
	require.Contains(t, logged.String(), "/api/v1/tags")
	require.NotContains(t, logged.String(), "private")
}

func TestGatewaySpeaksCleartextHTTP2(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil)
	srv.Config = newGatewayServer(openGateway(t), nil)
	srv.Start()
	defer srv.Close()
	for _, version := range []int{1, 2} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(version == 1)
		protocols.SetUnencryptedHTTP2(version == 2)
		transport := &http.Transport{Protocols: protocols}
		response, err := (&http.Client{Transport: transport}).Get(srv.URL + "/api/v1/tags")
		require.NoError(t, err)
		_ = response.Body.Close()
		require.Equal(t, version, response.ProtoMajor)
		require.Equal(t, http.StatusCreated, response.StatusCode)
		transport.CloseIdleConnections()
	}
}

// An invalid body is an error of the client, and never a 503, after which it would
// try again.
func TestGatewayTellsWhoseFaultABodyIs(t *testing.T) {
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > 1<<20 {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer refusing.Close()
	target, err := url.Parse(refusing.URL)
	require.NoError(t, err)
	g := newGateway(listedServices(t, func(string) *url.URL { return target }), log.New(io.Discard, "", 0))
	g.open()
	front := httptest.NewServer(g)
	defer front.Close()
	cases := map[string]struct {
		request string
		status  string
	}{
		"fits":                {"Content-Length: 2\r\n\r\n{}", "200"},
		"a service's limit":   {"Content-Length: 4194304\r\n\r\n" + strings.Repeat("x", 4<<20), "413"},
		"the gateway's limit": {"Content-Length: 1000000000\r\n\r\n", "413"},
		"a broken chunk":      {"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
		"a broken upload":     {"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\nzz\r\n", "400"},
		"chunks over a limit": {"Transfer-Encoding: chunked\r\n\r\n200000\r\n" + strings.Repeat("x", 2<<20) + "\r\n0\r\n\r\n", "413"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			for range 5 {
				conn, err := net.Dial("tcp", front.Listener.Addr().String())
				require.NoError(t, err)
				// The answer may come, and the connection close, before all is sent.
				path := "/api/v1/articles"
				if strings.Contains(name, "upload") {
					path = uploadPath
				}
				_, _ = io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+c.request)
				answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
				require.NoError(t, err)
				require.Equal(t, c.status, answer.Status[:3])
				_ = answer.Body.Close()
				_ = conn.Close()
			}
		})
	}
}

// A path or header of a client begins no other line of the log.
func TestGatewayLogsOneLine(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	system := &system{log: zap.New(core)}
	nowhere := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	g := newGateway(listedServices(t, func(string) *url.URL { return nowhere }), system.errorLog())
	g.open()
	response, _ := ask(g, http.MethodGet, "/api/v1/tags/%0a12:00:00.000%09ERROR%09forged%1b[31m%C2%85", "", nil)
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	system.errorLog().Print("first\nsecond")
	require.Len(t, logs.All(), 2)
	for _, entry := range logs.All() {
		require.False(t, strings.ContainsFunc(entry.Message, unicode.IsControl), "%q", entry.Message)
	}
	require.Contains(t, logs.All()[0].Message, `forged`)
}

func TestGatewayRefusesWhatItDoesNotSupport(t *testing.T) {
	g := openGateway(t)
	for name, c := range map[string]struct {
		header http.Header
		status int
		detail string
	}{
		"WebSocket":         {http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"}}, 501, "the gateway does not switch protocols, remove the header Upgrade"},
		"not a protocol":    {http.Header{"Connection": {"upgrade"}, "Upgrade": {"a\x7fb"}}, 501, "the gateway does not switch protocols, remove the header Upgrade"},
		"several protocols": {http.Header{"Connection": {"upgrade"}, "Upgrade": {"h2c", "websocket"}}, 501, "the gateway does not switch protocols, remove the header Upgrade"},
		"another Expect":    {http.Header{"Expect": {"x"}}, 417, "the header Expect must be 100-continue, or be removed"},
		"HTTP/2":            {http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {"h2c"}, "Http2-Settings": {"AAMAAABk"}}, 201, ""},
		"no switch":         {http.Header{"Upgrade": {"websocket"}}, 201, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.header.Set("Locale", "en")
			response, answer := ask(g, http.MethodPost, "/api/v1/tags", "{}", c.header)
			require.Equal(t, c.status, response.StatusCode)
			if c.detail != "" {
				require.Equal(t, map[string]any{"code": 10000001.0, "msg": "invalid parameters", "details": []any{c.detail}, "errors": []any{}}, answer)
			}
		})
	}
	front := httptest.NewServer(g)
	defer front.Close()
	conn, err := net.Dial("tcp", front.Listener.Addr().String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET /api/v1/tags HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /api/v1/tags HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	require.NoError(t, err)
	reader := bufio.NewReader(conn)
	for _, status := range []int{http.StatusNotImplemented, http.StatusCreated} { // the connection goes on
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		_, err = io.ReadAll(response.Body)
		require.NoError(t, err)
		require.Equal(t, status, response.StatusCode)
	}
}

// The gateway holds a bounded number of bytes of bodies; what comes beyond is answered
// at once, and requests without a body go on.
func TestGatewayBoundsBodies(t *testing.T) {
	front := httptest.NewServer(openGateway(t))
	defer front.Close()
	var held []net.Conn
	defer func() {
		for _, conn := range held {
			_ = conn.Close()
		}
	}()
	hold := func() {
		conn, err := net.Dial("tcp", front.Listener.Addr().String())
		require.NoError(t, err)
		held = append(held, conn)
		_, err = fmt.Fprintf(conn, "POST /api/v1/tags HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nx", maxBody)
		require.NoError(t, err)
	}
	post := func() int {
		response, err := http.Post(front.URL+"/api/v1/tags", "application/json", strings.NewReader("{}"))
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	for began := time.Now(); post() != http.StatusServiceUnavailable; hold() { // one may have been refused for a post
		require.Less(t, time.Since(began), time.Minute)
	}
	require.GreaterOrEqual(t, len(held), maxBodies/maxBody)
	response, err := http.Get(front.URL + "/api/v1/tags")
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusCreated, response.StatusCode)
	for _, conn := range held {
		require.NoError(t, conn.Close())
	}
	require.Eventually(t, func() bool { return post() == http.StatusCreated }, time.Minute, 10*time.Millisecond)
}

// An upload is passed on while it is being received, and may be larger than other bodies.
func TestGatewayPassesOnUploads(t *testing.T) {
	const size = maxBody + 1
	began, received := make(chan struct{}), make(chan int64, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadFull(r.Body, make([]byte, 1))
		close(began)
		n, _ := io.Copy(io.Discard, r.Body)
		received <- n + 1
	}))
	defer backend.Close()
	target, err := url.Parse(backend.URL)
	require.NoError(t, err)
	g := newGateway(listedServices(t, func(string) *url.URL { return target }), log.New(io.Discard, "", 0))
	g.open()
	front := httptest.NewServer(g)
	defer front.Close()
	body, sender := io.Pipe()
	go func() {
		_, _ = sender.Write([]byte("x"))
		<-began
		_, _ = sender.Write(make([]byte, size-1))
		_ = sender.Close()
	}()
	request, err := http.NewRequestWithContext(within(t), http.MethodPost, front.URL+uploadPath, body)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.EqualValues(t, size, <-received)

	_, answer := ask(g, http.MethodPost, "/api/v1/articles", strings.Repeat("x", size), http.Header{"Locale": {"en"}})
	require.Equal(t, []any{"the gateway accepts at most 16777216 bytes"}, answer["details"])
}

// A client that doesn't wait for 100 Continue gets none.
func TestGatewaySendsOnlyFinalAnswers(t *testing.T) {
	front := httptest.NewServer(openGateway(t))
	defer front.Close()
	for _, version := range []string{"1.0", "1.1"} {
		conn, err := net.Dial("tcp", front.Listener.Addr().String())
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "POST /api/v1/tags HTTP/%s\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", version, 2*waitForConsent, strings.Repeat("x", 2*waitForConsent))
		require.NoError(t, err)
		line, err := bufio.NewReader(conn).ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, " 201 ")
		require.NoError(t, conn.Close())
	}
}
