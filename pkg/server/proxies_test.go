package server_test

import (
	"net/http"
	"net/http/httptest"
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
	"github.com/achilles-blog/achilles/pkg/tracetest"
	"github.com/achilles-blog/achilles/pkg/tracing"
)

// The proxies are 10.1.0.0/16 and fd00::1. Other private addresses are clients.
func TestClientAddress(t *testing.T) {
	for about, c := range map[string]struct {
		peer      string
		forwarded []string // one for each header line
		hops      int
		want      string
	}{
		"no proxy":                           {"192.0.2.1:99", nil, 1, "192.0.2.1"},
		"untrusted peer":                     {"192.0.2.1:99", []string{"203.0.113.1"}, 1, "192.0.2.1"},
		"untrusted private peer":             {"10.2.0.1:99", []string{"203.0.113.1"}, 1, "10.2.0.1"},
		"IPv6 peer":                          {"[2001:db8::1]:99", []string{"203.0.113.1"}, 1, "2001:db8::1"},
		"mapped peer":                        {"[::ffff:192.0.2.1]:99", nil, 1, "192.0.2.1"},
		"a proxy":                            {"10.1.0.1:99", []string{"203.0.113.1"}, 1, "203.0.113.1"},
		"a mapped proxy":                     {"[::ffff:10.1.0.1]:99", []string{"203.0.113.1"}, 1, "203.0.113.1"},
		"a proxy with a zone":                {"[fd00::1%eth0]:99", []string{"203.0.113.1"}, 1, "203.0.113.1"},
		"a proxy without a header":           {"10.1.0.1:99", nil, 1, "10.1.0.1"},
		"a forged address":                   {"10.1.0.1:99", []string{"198.51.100.7, 203.0.113.1"}, 16, "203.0.113.1"},
		"a forged header line":               {"10.1.0.1:99", []string{"198.51.100.7", "203.0.113.1"}, 16, "203.0.113.1"},
		"forged by a client of the intranet": {"10.1.0.1:99", []string{"198.51.100.7, 10.2.0.9"}, 16, "10.2.0.9"},
		"forged in a trusted network":        {"10.1.0.1:99", []string{"198.51.100.7, 10.1.0.9"}, 1, "10.1.0.9"},
		"two proxies":                        {"10.1.0.1:99", []string{"198.51.100.7, 203.0.113.1, 10.1.0.2"}, 2, "203.0.113.1"},
		"two proxies and two lines":          {"10.1.0.1:99", []string{"198.51.100.7, 203.0.113.1", "10.1.0.2"}, 2, "203.0.113.1"},
		"two proxies, one is trusted":        {"10.1.0.1:99", []string{"203.0.113.1, 10.1.0.2"}, 1, "10.1.0.2"},
		"only proxies":                       {"10.1.0.1:99", []string{"10.1.0.3, 10.1.0.2"}, 16, "10.1.0.3"},
		"a long chain":                       {"10.1.0.1:99", []string{strings.Repeat("203.0.113.1,", 5) + strings.Repeat("10.1.0.2,", 20) + "10.1.0.3"}, 16, "10.1.0.2"},
		"IPv4 with a port":                   {"10.1.0.1:99", []string{"203.0.113.1:567"}, 1, "203.0.113.1"},
		"IPv6 with a port":                   {"10.1.0.1:99", []string{"[2001:db8::1]:5"}, 1, "2001:db8::1"},
		"IPv6 in brackets":                   {"10.1.0.1:99", []string{"[2001:db8::1]"}, 1, "2001:db8::1"},
		"a proxy with a port":                {"10.1.0.1:99", []string{"203.0.113.1:1, 10.1.0.2:80"}, 2, "203.0.113.1"},
		"a proxy of IPv6 with a port":        {"[fd00::1]:99", []string{"203.0.113.1:1, [FD00:0::1]:80"}, 2, "203.0.113.1"},
		"mapped":                             {"10.1.0.1:99", []string{"::ffff:cb00:7101"}, 1, "203.0.113.1"},
		"with a zone":                        {"10.1.0.1:99", []string{"fe80::1%\neth0"}, 1, "fe80::1"},
		"tabs and spaces":                    {"10.1.0.1:99", []string{"x,\t 203.0.113.1 \t"}, 1, "203.0.113.1"},
		"empty":                              {"10.1.0.1:99", []string{""}, 16, "10.1.0.1"},
		"empty at the end":                   {"10.1.0.1:99", []string{"203.0.113.1, "}, 16, "10.1.0.1"},
		"not an address":                     {"10.1.0.1:99", []string{"203.0.113.1, unknown"}, 16, "10.1.0.1"},
		"not an address behind a proxy":      {"10.1.0.1:99", []string{"203.0.113.1, _hidden, 10.1.0.2"}, 16, "10.1.0.2"},
		"brackets":                           {"10.1.0.1:99", []string{"203.0.113.1, [2001:db8::1"}, 16, "10.1.0.1"},
		"a port that is too high":            {"10.1.0.1:99", []string{"203.0.113.1:99999"}, 16, "10.1.0.1"},
		"a leading zero":                     {"10.1.0.1:99", []string{"203.0.113.01"}, 16, "10.1.0.1"},
		"a Unix socket":                      {"@", []string{"203.0.113.1"}, 16, ""},
	} {
		t.Run(about, func(t *testing.T) {
			cfg := server.Default()
			cfg.TrustedProxies, cfg.TrustedHops = []string{"10.1.0.0/16", "fd00::1"}, c.hops
			f := start(t, cfg, func(e *gin.Engine) {
				e.GET("/address", func(c *gin.Context) { c.String(http.StatusOK, c.ClientIP()) })
			})
			request := httptest.NewRequest(http.MethodGet, "/address", nil)
			request.RemoteAddr, request.Header["X-Forwarded-For"] = c.peer, c.forwarded
			recorder := httptest.NewRecorder()
			f.ServeHTTP(recorder, request)
			require.Equal(t, c.want, recorder.Body.String())
			_, fields := f.access(t)
			require.Equal(t, c.want, fields["client"])
		})
	}
}

// Networks may be written in every form.
func TestTrustedNetworks(t *testing.T) {
	for _, network := range []string{"10.1.2.3", "10.1.2.3/32", "10.1.9.9/16", "::ffff:10.1.2.3", "::ffff:10.1.0.0/112", "0.0.0.0/0"} {
		cfg := server.Default()
		cfg.TrustedProxies = []string{network}
		f := start(t, cfg, nil)
		request := httptest.NewRequest(http.MethodGet, "/version", nil)
		request.RemoteAddr, request.Header["X-Forwarded-For"] = "10.1.2.3:80", []string{"203.0.113.1"}
		f.ServeHTTP(httptest.NewRecorder(), request)
		_, fields := f.access(t)
		require.Equal(t, "203.0.113.1", fields["client"], network)
	}
}

// Spans have the address that the log has.
func TestClientAddressOfSpans(t *testing.T) {
	collector := tracetest.New(t)
	traces := tracing.New(settings.Fixed(tracing.Config{Endpoint: collector.URL, SampleRatio: 1}), "achilles-test", "v0", zap.NewNop())
	cfg := server.Default()
	cfg.TrustedProxies = []string{"192.0.2.0/24"}
	engine, err := server.NewEngine(settings.Fixed(cfg), server.Deps{
		Log: zap.NewNop(), Metrics: metrics.New(buildinfo.Get()), Health: health.New(health.Default(), nil, zap.NewNop(), nil), Tracer: traces.Tracer(),
	})
	require.NoError(t, err)
	request := httptest.NewRequest(http.MethodGet, "/version", nil)
	request.Header.Set("X-Forwarded-For", "6.6.6.6, 203.0.113.9:4711")
	engine.ServeHTTP(httptest.NewRecorder(), request)
	require.NoError(t, traces.Close(t.Context()))
	require.Equal(t, "203.0.113.9", collector.Spans()[0].Attributes["client.address"])
	collector.CloseClientConnections()
}
