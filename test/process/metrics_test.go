package process_test

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/process"
)

// scrape returns the metrics of a service.
func scrape(t testing.TB, p *process.Process) string {
	t.Helper()
	answer, err := process.Ask("GET", "http://"+p.AdminAddr(t)+"/metrics", nil)
	require.NoError(t, err)
	require.Equal(t, 200, answer.Status)
	return string(answer.Body)
}

// metric returns the value of a series, or -1 if it does not exist.
func metric(t testing.TB, p *process.Process, series string) float64 {
	t.Helper()
	for line := range strings.Lines(scrape(t, p)) {
		if text, ok := strings.CutPrefix(line, series+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			require.NoError(t, err)
			return value
		}
	}
	return -1
}

// followed reports whether a replica has seen the feed up to the last offset.
func followed(t testing.TB, article *process.Process, last float64) bool {
	t.Helper()
	return metric(t, article, "achilles_tag_feed_offset") == last && metric(t, article, "achilles_tag_feed_lag_changes") == 0
}

// containsText reports whether the text of a value contains all the parts.
func containsText(value any, parts ...string) bool {
	text := fmt.Sprint(value)
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

func TestMetrics(t *testing.T) {
	p := newPair(t, sqlite, nil)
	tagID := create(t, p.tag, "/api/v1/tags", newTag("measured"))
	articleID := create(t, p.article, "/api/v1/articles", newArticle("measured", tagID))
	for server, path := range map[*process.Process]string{
		p.tag: "/api/v1/tags/" + id(tagID), p.article: "/api/v1/articles/" + id(articleID),
	} {
		require.Equal(t, 200, ask(t, server, "GET", path, nil).Status)
		for n := range 5 {
			require.Equal(t, 404, ask(t, server, "GET", fmt.Sprintf("/unknown/path-%d", n), nil).Status)
			require.Equal(t, 405, ask(t, server, fmt.Sprintf("ODDMETHOD%d", n), path, nil).Status)
			require.Equal(t, 404, ask(t, server, fmt.Sprintf("ODDMETHOD%d", n), "/unknown", nil).Status)
		}
	}

	t.Run("families", func(t *testing.T) {
		both := []string{
			"achilles_http_requests_total", "achilles_http_request_duration_seconds", "achilles_http_requests_in_flight",
			"achilles_http_panics_total", "achilles_database_query_duration_seconds", "achilles_dependency_up", "achilles_draining",
			"achilles_rate_limit_total", "achilles_rate_limit_local",
			"achilles_memory_reserved_bytes", "achilles_memory_limit_bytes", "achilles_memory_refused_total", "achilles_memory_cut_total",
			"achilles_feed_waiting_readers", "achilles_feed_rejected_readers_total",
			"achilles_build_info", "go_goroutines", "go_sql_open_connections", "go_sql_max_open_connections", "process_resident_memory_bytes",
		}
		requireFamilies(t, scrape(t, p.tag), both...)
		requireFamilies(t, scrape(t, p.article), append(both,
			"achilles_tag_feed_offset", "achilles_tag_feed_lag_changes", "achilles_tag_feed_last_sync_timestamp_seconds",
			"achilles_tag_feed_failures_total")...)
		require.InDelta(t, 1, metric(t, p.tag, `achilles_http_requests_total{method="POST",route="/api/v1/tags",status="201"}`), 0)
		require.InDelta(t, 1, metric(t, p.article, `achilles_http_requests_total{method="GET",route="/api/v1/articles/:id",status="200"}`), 0)
		for use, servers := range map[string][]*process.Process{"responses": {p.tag, p.article}, "request_bodies": {p.article}} {
			for _, server := range servers {
				require.Greater(t, metric(t, server, `achilles_memory_limit_bytes{use="`+use+`"}`), float64(32<<20))
			}
		}
		process.Await(t, "the metrics to show a complete read model", func() bool { return followed(t, p.article, 1) })
		require.InDelta(t, 0, metric(t, p.tag, "achilles_draining"), 0)
	})

	t.Run("labels", func(t *testing.T) {
		routes := regexp.MustCompile(`route="([^"]*)"`)
		methods := regexp.MustCompile(`method="([^"]*)"`)
		for server, object := range map[*process.Process]string{p.tag: "tags", p.article: "articles"} {
			text := scrape(t, server)
			require.NotContains(t, text, "ODDMETHOD")
			require.NotContains(t, text, "/unknown")
			for _, found := range routes.FindAllStringSubmatch(text, -1) {
				require.Contains(t, []string{
					"unmatched", "/version", "/api/v1/" + object, "/api/v1/" + object + "/:id",
					"/internal/v1/tag-changes", "/internal/v1/tag-snapshot",
				}, found[1])
			}
			for _, found := range methods.FindAllStringSubmatch(text, -1) {
				require.Contains(t, []string{"GET", "POST", "other"}, found[1])
			}
		}
	})

	t.Run("public port", func(t *testing.T) {
		for _, server := range []*process.Process{p.tag, p.article} {
			for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars"} {
				require.Equal(t, 404, ask(t, server, "GET", path, nil).Status, path)
			}
			for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine", "/version"} {
				answer, err := process.Ask("GET", "http://"+server.AdminAddr(t)+path, nil)
				require.NoError(t, err)
				require.Equal(t, 200, answer.Status, path)
			}
		}
	})

	t.Run("promtool", func(t *testing.T) {
		promtool := process.Installed(t, "promtool")
		for _, server := range []*process.Process{p.tag, p.article} {
			command := exec.Command(promtool, "check", "metrics") // #nosec G204 -- an installed program
			command.Stdin = strings.NewReader(scrape(t, server))
			output, err := command.CombinedOutput()
			require.NoError(t, err, string(output))
			require.Empty(t, string(output))
		}
	})
}

func requireFamilies(t *testing.T, text string, names ...string) {
	t.Helper()
	for _, name := range names {
		require.Contains(t, text, "# TYPE "+name+" ")
		require.Contains(t, text, "# HELP "+name+" ")
	}
}
