package observability_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/tracetest"
	"github.com/achilles-blog/achilles/test/observability"
	"github.com/achilles-blog/achilles/test/process"
)

const (
	namespace = "blog"
	scraping  = time.Second
)

// The services are under traffic, and a real Prometheus scrapes them as it does in
// a cluster.
func TestOnARealPrometheus(t *testing.T) {
	prometheus := process.Installed(t, "prometheus")
	tags, articles := start(t)
	addr := scrape(t, prometheus, map[string]*process.Process{"tag": tags, "article": articles})
	traffic(t, tags, articles)

	requireTargets(t, addr)
	requireData(t, addr)
	requireExported(t, tags, articles)
	requireSilence(t, addr)

	articles.Signal(t, syscall.SIGTERM)
	process.Await(t, "the drain to be seen", func() bool {
		return len(ask(t, addr, `achilles_draining{namespace="blog", service="article", pod="article-1"} == 1`)) == 1
	})
	process.Await(t, "how long it takes to be seen", func() bool {
		return len(ask(t, addr, duringStop+`{namespace="blog", service="article", pod="article-1", phase="drain"} > 0`)) == 1
	})
}

// duringStop is the metric that services export only while they stop.
const duringStop = "achilles_stop_seconds"

func start(t *testing.T) (tags, articles *process.Process) {
	t.Helper()
	window := process.Settings{
		"Server.DrainDelay": "1h", // until it has been seen
		"Upgrade.Signal":    "SIGUSR2",
	}
	tags = process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)).With(window))
	articles = process.Ready(t, process.Service(t, "article"), process.Follow(dbtest.SQLite(t), tags.Addr(t)).With(window))
	return tags, articles
}

// Prometheus, as it is configured, finds the trace of a slow request by an exemplar of the
// latencies, or scrapes them as a native histogram.
func TestExemplarsAndNativeHistograms(t *testing.T) {
	prometheus := process.Installed(t, "prometheus")
	collector := tracetest.New(t)
	tags := process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)).With(process.Settings{"Tracing.Endpoint": collector.URL}))
	services := map[string]*process.Process{"tag": tags}
	answer, err := process.Ask("GET", tags.URL(t, "/api/v1/tags"), nil)
	require.NoError(t, err)
	require.Equal(t, 200, answer.Status)

	addr := scrape(t, prometheus, services, "--enable-feature=exemplar-storage")
	trace := ""
	process.Await(t, "an exemplar", func() bool {
		var found []struct {
			Exemplars []struct{ Labels map[string]string }
		}
		require.NoError(t, observability.Get(t.Context(), addr, "query_exemplars?start="+fmt.Sprint(time.Now().Unix()-600)+"&end="+fmt.Sprint(time.Now().Unix()+1)+
			"&query="+url.QueryEscape(`achilles_http_request_duration_seconds_bucket{route="/api/v1/tags"}`), &found))
		if len(found) > 0 {
			trace = found[0].Exemplars[0].Labels["trace_id"]
		}
		return trace != ""
	})
	process.Await(t, "the trace", func() bool {
		return slices.ContainsFunc(collector.Spans(), func(span tracetest.Span) bool { return span.TraceID == trace && span.Name == "GET /api/v1/tags" })
	})

	addr = scrape(t, prometheus, services, "--enable-feature=native-histograms")
	process.Await(t, "a native histogram", func() bool {
		samples := ask(t, addr, `histogram_quantile(0.99, achilles_http_request_duration_seconds{route="/api/v1/tags"})`)
		return len(samples) == 1 && samples[0].Value > 0 && samples[0].Value < process.Patience.Seconds()
	})
}

// scrape starts Prometheus with the example configuration and returns its
// address.
func scrape(t *testing.T, program string, services map[string]*process.Process, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	targets, err := observability.Targets(pods(t, services))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "targets.json"), targets, 0o600))
	config, err := observability.Config(folder+"/prometheus.yaml", observability.Scraping{
		Targets: filepath.Join(dir, "targets.json"), Rules: absolute(t, alerts), Interval: scraping,
	})
	require.NoError(t, err)
	file := filepath.Join(dir, "prometheus.yaml")
	require.NoError(t, os.WriteFile(file, config, 0o600))
	p := process.Start(t, program, nil, append(flags, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0", "--log.format=json")...)
	listening := regexp.MustCompile(`"address":"([^"]+)".*"msg":"Listening on"`)
	process.Await(t, "Prometheus to be ready", func() bool {
		return strings.Contains(p.Stderr(), "Server is ready to receive web requests") || p.Ended()
	})
	found := listening.FindStringSubmatch(p.Stderr())
	require.NotNil(t, found, p.Stderr())
	return found[1]
}

type object = map[string]any

// pods lists the services as kubectl does, among pods without metrics.
func pods(t *testing.T, services map[string]*process.Process) []byte {
	t.Helper()
	var items []object
	for name, p := range services {
		host, port, err := net.SplitHostPort(p.AdminAddr(t))
		require.NoError(t, err)
		items = append(items,
			pod(name+"-1", name, "Running", host, port),
			pod(name+"-starting", name, "Pending", host, port),
			pod(name+"-ended", name, "Succeeded", host, port))
	}
	bystander := pod("mariadb-0", "mariadb", "Running", "127.0.0.1", "1")
	bystander["metadata"].(object)["annotations"] = object{}
	unborn := pod("tag-unborn", "tag", "Pending", "", "1")
	list, err := json.Marshal(object{"items": append(items, bystander, unborn)})
	require.NoError(t, err)
	return list
}

func pod(name, component, phase, ip, port string) object {
	return object{
		"metadata": object{
			"namespace": namespace, "name": name,
			"labels":      object{"app.kubernetes.io/name": "achilles", "app.kubernetes.io/component": component},
			"annotations": object{"prometheus.io/scrape": "true", "prometheus.io/port": port, "prometheus.io/path": "/metrics"},
		},
		"spec": object{
			"initContainers": []object{{"name": "migrate"}},
			"containers": []object{{"name": component, "ports": []object{
				{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9090},
			}}},
		},
		"status": object{"phase": phase, "podIP": ip},
	}
}

// traffic reads and writes until the end of the test, mostly with success.
func traffic(t *testing.T, tags, articles *process.Process) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	tagURL, articleURL := tags.URL(t, "/api/v1/tags"), articles.URL(t, "/api/v1/articles")
	go func() {
		defer close(done)
		for n := 1; ctx.Err() == nil; n++ {
			time.Sleep(5 * time.Millisecond)
			tag, err := process.Ask("POST", tagURL, object{"name": fmt.Sprintf("tag %d", n)})
			if err != nil {
				continue // one of the services has ended, as the test wants it
			}
			_, _ = process.Ask("GET", tagURL+"?page_size=1", nil)
			_, _ = process.Ask("POST", articleURL, object{"title": "title", "tag_ids": []uint64{tag.ID()}})
			_, _ = process.Ask("GET", articleURL+"?page_size=1", nil)
			_, _ = process.Ask("GET", articleURL+"/4711", nil)
		}
	}()
	t.Cleanup(func() { stop(); <-done })
}

func ask(t *testing.T, addr, expr string) []observability.Sample {
	t.Helper()
	samples, err := observability.Ask(t.Context(), addr, expr)
	require.NoError(t, err)
	return samples
}

// requireTargets checks that each pod with metrics is scraped once, under its name,
// and no other pod.
func requireTargets(t *testing.T, addr string) {
	t.Helper()
	var found struct {
		ActiveTargets []struct{ Labels map[string]string }
	}
	process.Await(t, "targets that are up", func() bool { return len(ask(t, addr, "up == 1")) == 2 })
	require.NoError(t, observability.Get(t.Context(), addr, "targets?state=active", &found))
	names := map[string]string{}
	for _, target := range found.ActiveTargets {
		require.Equal(t, namespace, target.Labels["namespace"])
		names[target.Labels["pod"]] = target.Labels["service"]
	}
	require.Len(t, found.ActiveTargets, 2)
	require.Equal(t, map[string]string{"tag-1": "tag", "article-1": "article"}, names)
}

// requireData waits until every query of the dashboard has an answer that can
// be drawn.
func requireData(t *testing.T, addr string) {
	t.Helper()
	queries, err := observability.Queries(dashboard, namespace, scraping)
	require.NoError(t, err)
	require.NotEmpty(t, queries)
	for _, query := range queries {
		if strings.Contains(query.Expr, duringStop) {
			continue
		}
		process.Await(t, "data for "+query.Panel+": "+query.Expr, func() bool {
			for _, sample := range ask(t, addr, query.Expr) {
				if !math.IsNaN(sample.Value) && !math.IsInf(sample.Value, 0) {
					return true
				}
			}
			return false
		})
	}
}

// requireExported checks that the services export every metric of the rules and
// panels, with the labels that they select.
func requireExported(t *testing.T, services ...*process.Process) {
	t.Helper()
	exported := map[string]bool{"up": true, duringStop: true}
	for _, service := range services {
		answer, err := process.Ask("GET", "http://"+service.AdminAddr(t)+"/metrics", nil)
		require.NoError(t, err)
		for _, series := range regexp.MustCompile(`(?m)^\w+`).FindAllString(string(answer.Body), -1) {
			exported[series] = true
		}
	}
	used := 0
	for _, expr := range expressions(t) {
		for _, name := range metrics(expr) {
			used++
			require.True(t, exported[name], "no service exports %s, which is used in: %s", name, expr)
		}
	}
	require.Greater(t, used, 50)
}

func expressions(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, rule := range rules(t) {
		all = append(all, rule.Expr)
	}
	d, err := observability.ReadDashboard(dashboard)
	require.NoError(t, err)
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			all = append(all, target.Expr)
		}
	}
	for _, annotation := range d.Annotations.List {
		all = append(all, annotation.Expr)
	}
	for _, variable := range d.Templating.List {
		if query, ok := variable.Query.(map[string]any); ok {
			all = append(all, fmt.Sprint(query["query"]))
		}
	}
	return all
}

// metrics are the names of metrics in an expression. Names with a colon are
// those of recording rules.
func metrics(expr string) []string {
	var names []string
	for _, name := range regexp.MustCompile(`[\w:]+`).FindAllString(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(expr, ""), -1) {
		if name == "up" || !strings.Contains(name, ":") && regexp.MustCompile(`^(achilles|go|process)_`).MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}

// requireSilence checks that all rules can be evaluated, and that no alert
// fires, or is pending, on a healthy system.
func requireSilence(t *testing.T, addr string) {
	t.Helper()
	var found struct {
		Groups []struct {
			Rules []struct{ Name, Type, Health, LastError, State string }
		}
	}
	process.Await(t, "the rules to be evaluated", func() bool {
		require.NoError(t, observability.Get(t.Context(), addr, "rules", &found))
		for _, group := range found.Groups {
			for _, rule := range group.Rules {
				if rule.Health == "unknown" {
					return false
				}
			}
		}
		return true
	})
	count := 0
	for _, group := range found.Groups {
		for _, rule := range group.Rules {
			count++
			require.Equal(t, "ok", rule.Health, "%s: %s", rule.Name, rule.LastError)
			require.NotEqual(t, "firing", rule.State, rule.Name)
		}
	}
	require.Len(t, rules(t), count, "rules are missing: "+strconv.Itoa(count))
	// What a request takes is up to this machine.
	process.Await(t, "no alert to be pending", func() bool { return len(ask(t, addr, `ALERTS{alertname!="AchillesLatencyHigh"}`)) == 0 })
}
