package ratelimit_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// strict allows each client one request per class.
func strict() ratelimit.Config {
	cfg := ratelimit.Default()
	cfg.ReadPerSecond, cfg.ReadBurst, cfg.WritePerSecond, cfg.WriteBurst, cfg.AuthPerMinute, cfg.AuthBurst = 1, 1, 1, 1, 1, 1
	return cfg
}

// withReplica runs a test with a fake clock and a replica without Redis.
func withReplica(t *testing.T, cfg ratelimit.Config, test func(t *testing.T, r *replica)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newReplica(t, cfg, ratelimit.Deps{})) })
}

func TestHeaders(t *testing.T) {
	cfg := ratelimit.Default()
	cfg.AuthBurst = 2
	withReplica(t, cfg, func(t *testing.T, r *replica) {
		headers := func(answer *http.Response) []string {
			return []string{answer.Header.Get("RateLimit-Policy"), answer.Header.Get("RateLimit"), answer.Header.Get("Retry-After")}
		}
		require.Equal(t, []string{`"read";q=100;w=2`, `"read";r=99;t=1`, ""}, headers(r.do(direct, "GET", things)))
		require.Equal(t, []string{`"write";q=40;w=2`, `"write";r=39;t=1`, ""}, headers(r.do(direct, "POST", things)))
		require.Equal(t, []string{`"read";q=100;w=2`, `"read";r=98;t=1`, ""}, headers(r.do(direct, "GET", "/unknown")))
		require.Equal(t, []string{`"auth";q=2;w=12`, `"auth";r=1;t=6`, ""}, headers(r.do(direct, "POST", "/auth")))
		time.Sleep(900 * time.Millisecond)
		require.Equal(t, []string{`"auth";q=2;w=12`, `"auth";r=0;t=6`, ""}, headers(r.do(direct, "POST", "/auth")), "5.1 s, rounded up")
		rejected := r.do(direct, "POST", "/auth")
		require.Equal(t, http.StatusTooManyRequests, rejected.StatusCode)
		require.Equal(t, []string{`"auth";q=2;w=12`, `"auth";r=0;t=6`, "6"}, headers(rejected))
		time.Sleep(6 * time.Second)
		require.True(t, allowed(t, r.do(direct, "POST", "/auth")), "allowed after Retry-After")
	})
}

func TestRejection(t *testing.T) {
	withReplica(t, strict(), func(t *testing.T, r *replica) {
		for _, c := range []struct{ method, path, locale, msg, detail string }{
			{"GET", things, "zh", "请求过多", "读取请求过多, 请在 1 秒后重试"},
			{"GET", things, "en", "too many requests", "too many reads, try again in 1 s"},
			{"GET", things, "zh_Hant_TW", "請求過多", "讀取請求過多, 請在 1 秒後重試"},
			{"POST", things, "zh", "请求过多", "写入请求过多, 请在 1 秒后重试"},
			{"POST", things, "en", "too many requests", "too many writes, try again in 1 s"},
			{"POST", things, "zh_Hant_TW", "請求過多", "寫入請求過多, 請在 1 秒後重試"},
			{"POST", "/auth", "zh", "请求过多", "获取 Token 的请求过多, 请在 60 秒后重试"},
			{"POST", "/auth", "en", "too many requests", "too many requests for a token, try again in 60 s"},
			{"POST", "/auth", "zh_Hant_TW", "請求過多", "取得 Token 的請求過多, 請在 60 秒後重試"},
		} {
			r.do(direct, c.method, c.path)
			rejected := r.do(direct, c.method, c.path, "locale", c.locale)
			require.Equal(t, http.StatusTooManyRequests, rejected.StatusCode)
			got := problem(t, rejected)
			require.EqualValues(t, errcode.TooManyRequests, got.Code)
			require.Equal(t, c.msg, got.Msg)
			require.Equal(t, []string{c.detail}, got.Details)
			require.Contains(t, c.detail, " "+rejected.Header.Get("Retry-After")+" ", "the text and the header are equal")
		}
	})
}

// Reads, writes and token requests have separate limits.
func TestClasses(t *testing.T) {
	for class, requests := range map[string][][2]string{
		"read": {
			{"GET", things}, {"HEAD", things}, {"GET", things + "/1"}, {"GET", "/unknown"}, {"POST", "/unknown"}, {"PUT", things},
			{"GET", "/auth"}, {"OPTIONS", things}, {"BREW", things}, {"GET", "/API/v1/things"}, {"GET", things + "/"},
		},
		"write": {{"POST", things}, {"PUT", things + "/1"}, {"PATCH", things + "/1"}, {"DELETE", things + "/1"}},
		"auth":  {{"POST", "/auth"}, {"POST", "/auth?app_key=x"}},
	} {
		t.Run(class, func(t *testing.T) {
			for _, first := range requests {
				withReplica(t, strict(), func(t *testing.T, r *replica) {
					got, _, _ := state(t, r.do(direct, first[0], first[1]).Header)
					require.Equal(t, class, got, "%v", first)
					for _, second := range requests {
						require.Equal(t, http.StatusTooManyRequests, r.do(direct, second[0], second[1]).StatusCode, "%v after %v", second, first)
					}
					for _, other := range [][2]string{{"GET", things}, {"POST", things}, {"POST", "/auth"}} {
						if of, left, _ := state(t, r.do(direct, other[0], other[1]).Header); of != class {
							require.Zero(t, left)
							require.Equal(t, http.StatusTooManyRequests, r.do(direct, other[0], other[1]).StatusCode)
						}
					}
				})
			}
		})
	}
}

// The spelling of the request target doesn't matter: a request counts for the class of
// its route, or as a read if there is no route.
func TestRequestTargets(t *testing.T) {
	const plenty, times = 10_000, 20
	cfg := ratelimit.Config{
		Enabled: true, IPv6Prefix: 64, IPv6SiteFactor: 1, ReadPerSecond: 1, ReadBurst: plenty, SearchPerSecond: 1, SearchBurst: plenty, WritePerSecond: 1, WriteBurst: plenty, AuthPerMinute: 1, AuthBurst: plenty,
	}
	r := newReplica(t, cfg, ratelimit.Deps{})
	c, begin := r.listen(t)(), time.Now()
	left := map[string]int{"read": plenty, "write": plenty, "auth": plenty}
	for line, want := range map[string]string{
		"GET /api/v1/things":                          "read",
		"GET http://blog.example/api/v1/things":       "read",
		"GET http://other.example/api/v1/things":      "read",
		"GET HTTP://x:1/api/v1/things?a=/healthz":     "read",
		"GET http://x/healthz/../api/v1/things":       "read",
		"GET /api/v1/%74hings":                        "read",
		"GET /%61%70%69/v1/things":                    "read",
		"GET /api%2fv1%2Fthings":                      "read",
		"GET /API/V1/Things":                          "read",
		"GET //api/v1/things":                         "read",
		"GET /api//v1/things":                         "read",
		"GET /./api/v1/things":                        "read",
		"GET /healthz/../api/v1/things":               "read",
		"GET /api/v1/things/":                         "read",
		"get /api/v1/things":                          "read",
		"HEAD /api/v1/things":                         "read",
		"OPTIONS *":                                   "read",
		"POST /api/v1/things":                         "write",
		"POST http://other.example/api/v1/things":     "write",
		"POST /api/v1/%74hings":                       "write",
		"POST /API/v1/things":                         "read",
		"POST //api/v1/things":                        "read",
		"post /api/v1/things":                         "read",
		"DELETE http://other.example/api/v1/things/1": "write",
		"POST /auth":                                  "auth",
		"POST http://other.example/auth":              "auth",
		"POST /%61uth":                                "auth",
		"POST /AUTH":                                  "read",
		"POST //auth":                                 "read",
		"POST /auth/":                                 "read",
		"GET /auth":                                   "read",
	} {
		class, remaining := "", 0
		for range times {
			class, remaining, _ = state(t, c.send(t, line))
			require.Equal(t, want, class, line)
		}
		refilled := int(time.Since(begin).Seconds()) + 1
		require.LessOrEqual(t, remaining, left[want]-times+refilled, "%s is not counted", line)
		left[want] -= times
	}
}

// All spellings of an address are the same client.
func TestClients(t *testing.T) {
	type sender struct{ peer, forwarded string }
	via := func(forwarded string) sender { return sender{proxy + ":1000", forwarded} }
	for about, c := range map[string]struct{ same, others []sender }{
		"IPv4": {
			[]sender{{"203.0.113.1:1000", ""}, {"203.0.113.1:1001", ""}, {"[::ffff:203.0.113.1]:1", ""}, {"[::ffff:cb00:7101]:1", ""}},
			[]sender{{"203.0.113.2:1000", ""}},
		},
		"IPv6": {
			[]sender{{"[2001:db8::1]:1", ""}, {"[2001:DB8:0:0:0::1]:2", ""}, {"[2001:db8::ffff:ffff:ffff:ffff]:1", ""}},
			[]sender{{"[2001:db8:0:1::1]:1", ""}, {"[2001:db9::1]:1", ""}},
		},
		"zone": {
			[]sender{{"[fe80::1]:1", ""}, {"[fe80::1%eth0]:1", ""}, {"[fe80::2%eth1]:1", ""}},
			[]sender{{"[2001:db8::1%eth0]:1", ""}},
		},
		"untrusted proxy": {
			[]sender{{"203.0.113.1:1", ""}, {"203.0.113.1:1", "198.51.100.7"}, {"203.0.113.1:1", "198.51.100.8"}, {"203.0.113.1:1", proxy}, {"203.0.113.1:1", "::1"}},
			[]sender{{"198.51.100.7:1", ""}},
		},
		"behind a trusted proxy": {
			[]sender{
				via("203.0.113.1"), via("::ffff:203.0.113.1"), via("::ffff:cb00:7101"), {"203.0.113.1:1", ""},
				via("198.51.100.7, 203.0.113.1"), via("nonsense, 203.0.113.1"), via(" 203.0.113.1 "), via("203.0.113.1:4711"),
			},
			[]sender{via("203.0.113.2"), via("203.0.113.1, 203.0.113.3"), via("")},
		},
		"IPv6 behind a trusted proxy": {
			[]sender{via("2001:db8::1"), via("2001:0DB8:0000:0000:0000:0000:0000:0001"), via("198.51.100.7, 2001:db8::2"), via("[2001:db8::1]:4711"), {"[2001:db8::3]:1", ""}},
			[]sender{via("2001:db8:1::1"), via("203.0.113.1")},
		},
		"invalid address from a trusted proxy": {
			[]sender{via(""), via("nonsense"), via("203.0.113.1:99999"), via("[2001:db8::1"), via("2001:db8::1, unknown")},
			[]sender{via("203.0.113.1")},
		},
		"no address": {[]sender{{"@", ""}, {"", ""}}, []sender{{"203.0.113.1:1", ""}}},
	} {
		t.Run(about, func(t *testing.T) {
			withReplica(t, strict(), func(t *testing.T, r *replica) {
				send := func(from sender) bool {
					var headers []string
					if from.forwarded != "" {
						headers = []string{"X-Forwarded-For", from.forwarded}
					}
					return allowed(t, r.do(from.peer, "GET", things, headers...))
				}
				require.True(t, send(c.same[0]))
				for _, same := range c.same {
					require.False(t, send(same), "%+v and %+v are the same client", same, c.same[0])
				}
				for _, other := range c.others {
					require.True(t, send(other), "%+v and %+v are different clients", other, c.same[0])
				}
			})
		})
	}
}

// subnet returns an address in the n-th /64 of 2001:db8::/48.
func subnet(n int) string { return fmt.Sprintf("[2001:db8:0:%x::1]:1", n) }

// requireSites checks the limits of IPv6 addresses, where each address may send one
// request, and each /48 five.
func requireSites(t *testing.T, send func(from string) bool) {
	t.Helper()
	for n := range 5 {
		require.True(t, send(subnet(n)), "subnet %d", n)
		for range 10 {
			require.False(t, send(subnet(n)), "subnet %d has its own limit, and uses up nothing else", n)
		}
	}
	require.False(t, send(subnet(5)), "the site has used up its limit")
	require.True(t, send("[2001:db8:1::1]:1"), "another site")
	require.True(t, send("203.0.113.1:1"))
	require.True(t, send("[::ffff:203.0.113.2]:1"), "IPv4 addresses have no site")
	for n := range 20 {
		require.True(t, send(fmt.Sprintf("[::ffff:203.0.114.%d]:1", n)))
	}
}

func TestSites(t *testing.T) {
	cfg := strict()
	cfg.IPv6SiteFactor = 5
	withReplica(t, cfg, func(t *testing.T, r *replica) {
		requireSites(t, func(from string) bool { return allowed(t, r.do(from, "GET", things)) })
		requireSites(t, func(from string) bool { return allowed(t, r.do(from, "POST", "/auth")) })
		rejected := r.do(subnet(6), "POST", "/auth")
		require.Equal(t, "12", rejected.Header.Get("Retry-After"), "a fifth of a minute")
		require.Equal(t, `"auth";r=0;t=12`, rejected.Header.Get("RateLimit"))
		time.Sleep(12 * time.Second)
		require.True(t, allowed(t, r.do(subnet(6), "POST", "/auth")))
		require.True(t, allowed(t, r.do(subnet(7), "GET", things, appKey, "one")), "an app key has no site")
	})
}

// The header says what is left of the tighter limit.
func TestRemainingOfSites(t *testing.T) {
	cfg := ratelimit.Default()
	cfg.IPv6SiteFactor = 2
	withReplica(t, cfg, func(t *testing.T, r *replica) {
		remaining := func(from string) int {
			_, left, _ := state(t, r.do(from, "GET", things).Header)
			return left
		}
		require.Equal(t, 99, remaining(subnet(1)))
		for range 80 {
			remaining(subnet(2))
			remaining(subnet(3))
		}
		require.Equal(t, 38, remaining(subnet(4)))
	})
}

func TestIPv6Prefix(t *testing.T) {
	for bits, different := range map[int]string{
		48: "[2001:db8:1::]:1", 56: "[2001:db8:0:100::]:1", 64: "[2001:db8:0:1::]:1", 128: "[2001:db8::2]:1", 32: "[2001:db9::]:1",
	} {
		cfg := strict()
		cfg.IPv6Prefix = bits
		withReplica(t, cfg, func(t *testing.T, r *replica) {
			require.True(t, allowed(t, r.do("[2001:db8::1]:1", "GET", things)))
			require.False(t, allowed(t, r.do("[2001:db8::1]:2", "GET", things)))
			require.True(t, allowed(t, r.do(different, "GET", things)), "a prefix of %d bits", bits)
			if bits <= 48 {
				require.False(t, allowed(t, r.do("[2001:db8:0:ffff::1]:2", "GET", things)), "a prefix of %d bits", bits)
			}
		})
	}
}

func TestOtherHeadersAreIgnored(t *testing.T) {
	withReplica(t, strict(), func(t *testing.T, r *replica) {
		require.True(t, allowed(t, r.do(direct, "GET", things)))
		for _, name := range []string{"X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "X-Appengine-Remote-Addr"} {
			require.False(t, allowed(t, r.do(direct, "GET", things, name, "203.0.113.1")), name)
		}
		require.True(t, allowed(t, r.do(proxy+":1000", "GET", things)))
		for _, name := range []string{"X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP", "X-Appengine-Remote-Addr"} {
			for _, forwarded := range []string{"", "unknown", "203.0.113.7:x"} {
				require.False(t, allowed(t, r.do(proxy+":1000", "GET", things, name, "203.0.113.1", "X-Forwarded-For", forwarded)), "%s from a proxy", name)
			}
		}
	})
}

func TestAppKeys(t *testing.T) {
	withReplica(t, strict(), func(t *testing.T, r *replica) {
		const elsewhere = "203.0.113.1:1"
		send := func(from, app string) bool { return allowed(t, r.do(from, "GET", things, appKey, app)) }
		require.True(t, send(direct, "one"))
		require.False(t, send(elsewhere, "one"), "an app key has one limit for all addresses")
		require.True(t, send(direct, "two"))
		require.True(t, send(direct, ""), "the address has its own limit")
		require.False(t, send(direct, ""))
		for _, like := range []string{"203.0.113.1", "ip:203.0.113.1", "app:one", "x:ip:203.0.113.1"} {
			require.True(t, send(direct, like), "an app key that looks like another client")
		}
		require.True(t, send(elsewhere, ""))

		require.True(t, allowed(t, r.do(direct, "POST", "/auth", appKey, "one")))
		require.False(t, allowed(t, r.do(direct, "POST", "/auth", appKey, "two")), "token requests are limited by address")
	})
}

// Other limits identify clients as these do, also if these are disabled.
func TestClientOfOtherLimits(t *testing.T) {
	cfg := ratelimit.Default()
	cfg.Enabled = false
	limiter := ratelimit.New(ratelimit.Deps{Principal: func(c *gin.Context) string { return c.GetHeader(appKey) }}, settings.Fixed(cfg))
	client := func(from, app string) string {
		c := gin.CreateTestContextOnly(httptest.NewRecorder(), gin.New())
		c.Request = httptest.NewRequest(http.MethodGet, things, nil)
		c.Request.RemoteAddr = from
		c.Request.Header.Set(appKey, app)
		return limiter.Client(c)
	}
	require.Equal(t, client("[2001:db8::1]:1", ""), client("[2001:db8::ffff:2]:2", ""), "one /64")
	require.NotEqual(t, client("[2001:db8::1]:1", ""), client("[2001:db8:0:1::1]:1", ""))
	require.Equal(t, client("192.0.2.1:1", ""), client("[::ffff:192.0.2.1]:2", ""))
	require.NotEqual(t, client("192.0.2.1:1", ""), client("192.0.2.2:1", ""))
	require.Equal(t, client("192.0.2.1:1", "one"), client("[2001:db8::1]:1", "one"))
	require.NotEqual(t, client("192.0.2.1:1", "one"), client("192.0.2.1:1", "two"))
}

func TestNeverLimited(t *testing.T) {
	withReplica(t, strict(), func(t *testing.T, r *replica) {
		r.do(direct, "GET", things)
		require.False(t, allowed(t, r.do(direct, "GET", things)))
		for range 20 {
			for _, path := range []string{"/healthz", "/readyz", "/version", "/internal/v1/changes"} {
				answer := r.do(direct, "GET", path)
				require.Equal(t, http.StatusOK, answer.StatusCode, path)
				require.Empty(t, answer.Header.Get("RateLimit"))
				require.Empty(t, answer.Header.Get("RateLimit-Policy"))
			}
			require.Contains(t, r.exposition(), "go_goroutines")
		}
	})
}

func TestDisabled(t *testing.T) {
	cfg := strict()
	cfg.Enabled = false
	withReplica(t, cfg, func(t *testing.T, r *replica) {
		for range 50 {
			for _, request := range [][2]string{{"GET", things}, {"POST", things}, {"POST", "/auth"}} {
				answer := r.do(direct, request[0], request[1])
				require.True(t, allowed(t, answer))
				require.Empty(t, answer.Header.Get("RateLimit"))
			}
		}
		require.NotContains(t, r.exposition(), "achilles_rate_limit")
	})
}

func TestMetrics(t *testing.T) {
	withReplica(t, strict(), func(t *testing.T, r *replica) {
		require.Contains(t, r.exposition(), `achilles_rate_limit_total{class="auth",outcome="limited"} 0`+"\n")
		for range 3 {
			r.do(direct, "POST", things)
		}
		r.do(direct, "GET", "/unknown")
		text := r.exposition()
		for _, line := range []string{
			`achilles_rate_limit_total{class="write",outcome="allowed"} 1`,
			`achilles_rate_limit_total{class="write",outcome="limited"} 2`,
			`achilles_rate_limit_total{class="read",outcome="allowed"} 1`,
			`achilles_rate_limit_total{class="read",outcome="limited"} 0`,
			`achilles_rate_limit_local 1`,
		} {
			require.Contains(t, text, line+"\n")
		}
		problems, err := promlint.New(strings.NewReader(text)).Lint()
		require.NoError(t, err)
		require.Empty(t, problems)
	})
}

// Limits change for the next request. What clients have spent stays.
func TestLimitsChange(t *testing.T) {
	cfg := strict()
	live, update := settings.NewLive(cfg)
	registry := prometheus.NewRegistry()
	limiter := ratelimit.New(ratelimit.Deps{Service: "thing", Registerer: registry}, live)
	engine := gin.New()
	engine.POST(things, limiter.ByMethod(), func(c *gin.Context) { c.Status(http.StatusOK) })
	post := func() *http.Response {
		recorder := httptest.NewRecorder()
		request := httptest.NewRequest(http.MethodPost, things, nil)
		request.RemoteAddr = direct
		engine.ServeHTTP(recorder, request)
		return recorder.Result()
	}
	change := func() {
		_, err := update(cfg)
		require.NoError(t, err)
	}
	families := func() int {
		all, err := registry.Gather()
		require.NoError(t, err)
		return len(all)
	}
	require.True(t, allowed(t, post()))
	require.False(t, allowed(t, post()))
	require.Equal(t, 2, families())
	cfg.WriteBurst = 3
	change()
	for range 2 {
		require.True(t, allowed(t, post()))
	}
	answer := post()
	require.False(t, allowed(t, answer), "the first request still counts")
	require.Contains(t, answer.Header.Get("RateLimit-Policy"), `"write";q=3;`)
	cfg.Enabled = false
	change()
	require.True(t, allowed(t, post()))
	require.Zero(t, families(), "limits that are disabled have no metrics")
	cfg.Enabled, cfg.WriteBurst = true, 1
	change()
	require.False(t, allowed(t, post()))
	require.Equal(t, 2, families())
}
