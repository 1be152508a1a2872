package server_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// edit returns the default list of middleware, without some and with others inserted.
func edit(change func(names []string) []string) server.Config {
	cfg := server.Default()
	cfg.Middleware = change(cfg.Middleware)
	return cfg
}

func without(dropped ...string) server.Config {
	return edit(func(names []string) []string {
		return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(dropped, name) })
	})
}

// swapped returns the list with two names in each other's place.
func swapped(a, b string) server.Config {
	return edit(func(names []string) []string {
		i, j := slices.Index(names, a), slices.Index(names, b)
		names[i], names[j] = names[j], names[i]
		return names
	})
}

func TestInvalidMiddleware(t *testing.T) {
	twice := edit(func(names []string) []string { return append(names, "cors") })
	ownFirst := edit(func(names []string) []string { return slices.Insert(names, 1, "own") })
	misspelt := edit(func(names []string) []string {
		names[slices.Index(names, server.ClientAddress)] = "client_adress"
		return names
	})
	none := server.Default()
	none.Middleware = nil
	for want, cfg := range map[string]server.Config{
		"Middleware: cors twice is not allowed; it must be a list that names each middleware once":                                                                   twice,
		"Middleware: client_adress is not allowed; it must be spelt client_address":                                                                                  misspelt,
		"Middleware: a list without recovery is not allowed; it must be one with recovery: without it a panic would end the connection without an answer":            without(server.Recovery),
		"Middleware: a list without request_id is not allowed":                                                                                                       without(server.RequestIDs),
		"Middleware: a list without client_address is not allowed":                                                                                                   without(server.ClientAddress),
		"Middleware: a list without security_headers is not allowed":                                                                                                 without(server.SecurityHeaders),
		"Middleware: a list without request_limit is not allowed; it must be one with request_limit: without it one client could take all memory":                    without(server.RequestLimit),
		"Middleware: a list without unread_body is not allowed":                                                                                                      without(server.UnreadBody),
		"Middleware: a list without timeout is not allowed; it must be one with timeout: without it a request could take for ever":                                   without(server.Timeout),
		"Middleware: request_id as the first is not allowed; it must be recovery first":                                                                              swapped(server.Recovery, server.RequestIDs),
		"Middleware: client_address as the second is not allowed; it must be request_id second":                                                                      swapped(server.RequestIDs, server.ClientAddress),
		"Middleware: own as the second is not allowed; it must be request_id second":                                                                                 ownFirst,
		"Middleware: tracing before client_address is not allowed; it must be client_address before tracing, which needs the address of the client":                  swapped(server.ClientAddress, server.Tracing),
		"Middleware: access_log before tracing is not allowed; it must be tracing before access_log, which logs the id of the trace":                                 swapped(server.Tracing, server.AccessLog),
		"Middleware: compression before access_log is not allowed; it must be access_log before compression, so that the bytes which are sent are logged":            swapped(server.AccessLog, server.Compression),
		"Middleware: request_limit before cors is not allowed; it must be cors before request_limit, so that pages of other origins can read its 503":                swapped(server.CORS, server.RequestLimit),
		"Middleware: cors before metrics is not allowed; it must be metrics before cors, so that requests which end there are counted":                               swapped(server.Metrics, server.CORS),
		"Middleware: cors before security_headers is not allowed; it must be security_headers before cors, so that responses which come from there have the headers": swapped(server.SecurityHeaders, server.CORS),
		"Middleware: a list without recovery is not allowed; it must be one with recovery:":                                                                          none,
	} {
		require.ErrorContains(t, settings.Validate(&cfg), want)
	}
}

// Every order that is allowed works: each middleware that can be left out, and each neighbours
// that may change places.
func TestValidMiddleware(t *testing.T) {
	names := server.Default().Middleware
	valid := map[string]server.Config{"default": server.Default(), "least": without(
		server.Tracing, server.AccessLog, server.Metrics, server.ServedBy, server.Compression, server.CORS, server.Caching)}
	for i := range names {
		valid["without "+names[i]] = without(names[i])
		if i > 0 {
			valid[names[i]+" before "+names[i-1]] = swapped(names[i], names[i-1])
		}
	}
	works := 0
	for name, cfg := range valid {
		if settings.Validate(&cfg) != nil {
			continue
		}
		works++
		t.Run(name, func(t *testing.T) {
			cfg.CORSAllowedOrigins = []string{"*"}
			f := start(t, cfg, func(engine *gin.Engine) {
				engine.GET("/text", func(c *gin.Context) { c.String(http.StatusOK, strings.Repeat("x", 5000)) })
				engine.GET("/panic", func(*gin.Context) { panic("odd") })
			})
			for _, encoding := range []string{"identity", "gzip", "zstd"} {
				answer := f.do(http.MethodGet, "/text", "", "Accept-Encoding", encoding, "Origin", "https://blog.example")
				require.Equal(t, http.StatusOK, answer.StatusCode)
				require.NotEmpty(t, answer.Header.Get("X-Request-Id"))
			}
			answer := f.do(http.MethodGet, "/panic", "")
			require.Equal(t, http.StatusInternalServerError, answer.StatusCode)
			require.EqualValues(t, 10000000, answer.problem(t).Code)
			require.Equal(t, http.StatusNotFound, f.do(http.MethodGet, "/nowhere", "").StatusCode)
		})
	}
	require.Equal(t, 17, works, "7 that can be left out, 8 pairs of neighbours, and two lists")
}

func TestUnknownMiddleware(t *testing.T) {
	cfg := edit(func(names []string) []string { return append(names, "trcing") })
	_, err := server.NewEngine(settings.Fixed(cfg), server.Deps{Health: health.New(health.Default(), nil, zap.NewNop(), nil)})
	require.ErrorContains(t, err, "Server.Middleware: trcing is not allowed; it must be tracing, or another one of recovery, request_id, ")
	cfg = edit(func(names []string) []string { return append(names, "something") })
	require.ErrorContains(t, server.CheckMiddleware(cfg, "own"), "Server.Middleware: something is not allowed; it must be one of recovery, ")
	require.ErrorContains(t, server.CheckMiddleware(cfg, "own"), ", timeout, own")
	require.NoError(t, server.CheckMiddleware(cfg, "own", "something"))
	require.ErrorContains(t, server.CheckMiddleware(cfg, "something", "cors"), "own middleware cors has the name of a standard one")
}

// Middleware that is left out doesn't run, and that which is named in another place runs there.
func TestOrderOfMiddleware(t *testing.T) {
	var seen []string
	note := func(name string) gin.HandlerFunc {
		return func(c *gin.Context) {
			seen = append(seen, name+" "+c.Writer.Header().Get("X-Content-Type-Options")+" "+server.RequestID(c))
		}
	}
	cfg := edit(func(names []string) []string {
		names = slices.DeleteFunc(names, func(name string) bool { return name == server.AccessLog })
		return append(slices.Insert(names, 2, "early"), "late")
	})
	m := metrics.New(buildinfo.Info{})
	engine, err := server.NewEngine(settings.Fixed(cfg), server.Deps{
		Log: zap.NewNop(), Metrics: m, Health: health.New(health.Default(), nil, zap.NewNop(), nil),
		Own: map[string]gin.HandlerFunc{"early": note("early"), "late": note("late"), "unused": note("unused")},
	})
	require.NoError(t, err)
	request := httptest.NewRequest(http.MethodGet, "/version", nil)
	request.Header.Set("X-Request-Id", "7")
	engine.ServeHTTP(httptest.NewRecorder(), request)
	require.Equal(t, []string{"early  7", "late nosniff 7"}, seen)
	seen = nil
	engine.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/healthz", nil))
	require.Empty(t, seen, "probes have no middleware")
}

// The settings of middleware take effect at the next request, and a request that has begun
// keeps those that it has.
func TestMiddlewareFollowsItsSettings(t *testing.T) {
	cfg := server.Default()
	cfg.CORSAllowedOrigins = []string{"https://one.example"}
	live, update := settings.NewLive(cfg)
	engine, err := server.NewEngine(live, server.Deps{
		Log: zap.NewNop(), Metrics: metrics.New(buildinfo.Info{}), Health: health.New(health.Default(), nil, zap.NewNop(), nil),
	})
	require.NoError(t, err)
	changing := false
	engine.GET("/text", func(c *gin.Context) {
		if changing {
			cfg.CORSAllowedOrigins, cfg.Compression = []string{"https://two.example"}, []string{"gzip"}
			_, err := update(cfg)
			require.NoError(t, err)
		}
		c.String(http.StatusOK, strings.Repeat("x", 5000))
	})
	get := func() http.Header {
		request := httptest.NewRequest(http.MethodGet, "/text", nil)
		request.Header.Set("Origin", "https://two.example")
		request.Header.Set("Accept-Encoding", "gzip, zstd")
		recorder := httptest.NewRecorder()
		engine.ServeHTTP(recorder, request)
		return recorder.Header()
	}
	changing = true
	header := get()
	require.Equal(t, "zstd", header.Get("Content-Encoding"))
	require.Empty(t, header.Get("Access-Control-Allow-Origin"))
	changing = false
	header = get()
	require.Equal(t, "gzip", header.Get("Content-Encoding"))
	require.Equal(t, "https://two.example", header.Get("Access-Control-Allow-Origin"))

	cfg.TrustedProxies = []string{"nowhere"}
	_, err = update(cfg)
	require.ErrorContains(t, err, "TrustedProxies: nowhere")
	require.Equal(t, "gzip", get().Get("Content-Encoding"))
}

// A live setting costs a request no allocation.
func TestLiveMiddlewareAllocatesNothing(t *testing.T) {
	cfg := settings.Fixed(server.Default())
	handler, err := server.Live(cfg, func(server.Config) (gin.HandlerFunc, error) { return func(*gin.Context) {}, nil })
	require.NoError(t, err)
	c := gin.CreateTestContextOnly(httptest.NewRecorder(), gin.New())
	c.Request = httptest.NewRequest(http.MethodGet, "/", nil)
	require.Zero(t, testing.AllocsPerRun(100, func() { handler(c) }))
}
