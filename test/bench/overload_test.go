package bench_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/valyala/fasthttp"

	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/test/bench/corpus"
	"github.com/achilles-blog/achilles/test/bench/load"
	"github.com/achilles-blog/achilles/test/bench/report"
	"github.com/achilles-blog/achilles/test/process"
)

const (
	// overloadConnections is above the number of reads that run at once, and below
	// Server.MaxRequests and Server.MaxConnections.
	overloadConnections = 900
	// othersRate is the rate of all clients beside the hostile one. It is low, so that
	// what they wait for is the hostile one.
	othersRate, othersConnections = 200, 16
	// hostileConnections are those of the hostile client.
	hostileConnections = 16
)

// addresses returns n addresses of this machine, after the first ones. Each is a client of
// its own.
func addresses(after, n int) []net.IP {
	all := make([]net.IP, n)
	for i := range all {
		all[i] = net.IPv4(127, 0, 1, byte(after+i+1)) // #nosec G115 -- small
	}
	return all
}

// overload measures the goodput at the saturating load and at twice of it, from many
// clients, who don't wait for each other.
func (m *measurement) overload(t *testing.T) {
	t.Helper()
	for _, s := range []scenario{m.get(m.server), m.mixed()} {
		saturating := m.report.Find(m.articles, s.target, s.request, report.Saturation)
		require.NotNil(t, saturating)
		workers := s.workersFrom(t, overloadConnections, addresses(0, 60))
		m.report.Rows = append(m.report.Rows, m.measure(t, s, report.Full, workers, saturating.Rate),
			m.measure(t, s, report.Overload, workers, 2*saturating.Rate))
	}
}

// fairness measures the single reads of clients without and beside a client that does its
// worst within the default limits.
func (m *measurement) fairness(t *testing.T) {
	t.Helper()
	limits := ratelimit.Default()
	limited, _ := serve(t, m.article, m.settings.With(process.Settings{
		"Limits.ReadPerSecond": fmt.Sprint(limits.ReadPerSecond), "Limits.ReadBurst": fmt.Sprint(limits.ReadBurst),
		"Limits.SearchPerSecond": fmt.Sprint(limits.SearchPerSecond), "Limits.SearchBurst": fmt.Sprint(limits.SearchBurst),
	}))
	s := m.get(limited)
	s.request = report.Others
	others := s.workersFrom(t, othersConnections, addresses(0, othersConnections))
	rows := map[string][]report.Row{}
	for range *rounds {
		rows[report.Undisturbed] = append(rows[report.Undisturbed], m.measure(t, s, report.Undisturbed, others, othersRate))
		end := m.attack(t, limited, limits)
		rows[report.Hostile] = append(rows[report.Hostile], m.measure(t, s, report.Hostile, others, othersRate))
		end()
	}
	limited.stop(t)
	for _, phase := range []string{report.Undisturbed, report.Hostile} {
		m.report.Rows = append(m.report.Rows, report.Median(rows[phase], report.P99))
	}
}

// attack lets one client send as many requests as the limits allow, as many of them as
// allowed in the class of searches, until end is called.
func (m *measurement) attack(t *testing.T, on server, limits ratelimit.Config) (end func()) {
	t.Helper()
	worst := scenario{server: on, exchange: func() load.Exchange { return hostile(limits.SearchPerSecond, limits.ReadPerSecond) }}
	workers := worst.workersFrom(t, hostileConnections, addresses(100, 1))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan *load.Result, 1)
	go func() {
		result, _ := load.Open(ctx, workers, float64(limits.ReadPerSecond), process.Patience)
		done <- result
	}()
	return func() {
		cancel()
		result := <-done
		require.Positive(t, result.Requests)
		t.Logf("hostile client: %d answered, others by status: %v", result.Requests, result.Failed)
	}
}

// hostile sends the most expensive lists. Of total requests, as many as expensive says are
// searches without a hit or lists with content. The others are the deepest pages of the most
// used tag. No two share a query.
func hostile(expensive, total int) load.Exchange {
	return exchange{
		func(to []byte) []byte {
			path := fmt.Sprintf("/api/v1/articles?tag_id=%d&page=%d&page_size=100", corpus.TopTag, 100-rand.IntN(10)) // #nosec G404 -- no secret
			if rand.IntN(total) < expensive {                                                                         // #nosec G404 -- no secret
				path = fmt.Sprintf("/api/v1/articles?title=%s%d", corpus.NoTitle, rand.Int()) // #nosec G404 -- no secret
				if rand.IntN(2) == 0 {                                                        // #nosec G404 -- no secret
					path = fmt.Sprintf("/api/v1/articles?include=content&page_size=100&page=%d", 1+rand.IntN(100)) // #nosec G404 -- no secret
				}
			}
			return appendGet(to, path, "")
		},
		func(response *fasthttp.Response) error {
			if response.StatusCode() != http.StatusOK {
				return load.Status(response.StatusCode())
			}
			return nil
		},
	}
}
