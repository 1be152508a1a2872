package observability_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/dbtest"
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
}

func start(t *testing.T) (tags, articles *process.Process) {
	t.Helper()
	window := process.Settings{"Server.DrainDelay": "1h"} // until it has been seen
	tags = process.Ready(t, process.Service(t, "tag"), process.On(dbtest.SQLite(t)).With(window))
	articles = process.Ready(t, process.Service(t, "article"), process.Follow(dbtest.SQLite(t), tags.Addr(t)).With(window))
	return tags, articles
}

// scrape starts Prometheus with the example configuration and returns its
// address.
func scrape(t *testing.T, program string, services map[string]*process.Process) string {
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
	p := process.Start(t, program, nil, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0", "--log.format=json")
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
	exported := map[string]bool{"up": true}
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
