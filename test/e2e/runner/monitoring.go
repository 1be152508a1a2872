package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/report"
	"github.com/achilles-blog/achilles/test/observability"
)

// scraping is the interval between two scrapes: a drain lasts seconds.
const scraping = time.Second

// monitor is a real Prometheus that finds the pods by the chart's annotations,
// as the example configuration in deploy/observability tells it to.
type monitor struct {
	runner *Runner
	system *system
	cmd    *exec.Cmd
	forget context.CancelFunc // ends the discovery
	addr   string
	began  time.Time
	// before is what the pods have counted before any load.
	before float64
}

// monitor starts Prometheus; nil without the program.
func (r *Runner) monitor(ctx context.Context, s *system) (*monitor, error) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		r.say("left out: what Prometheus sees (Debian: prometheus)")
		return nil, nil
	}
	folder := filepath.Join(r.folder, "prometheus")
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return nil, err
	}
	config, targets := filepath.Join(folder, "prometheus.yaml"), filepath.Join(folder, "pods.json")
	if err := r.scrapeConfig(targets, config); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(folder, "log")) // #nosec G304 -- our own folder
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+addr) // #nosec G204 -- Prometheus
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	following, forget := context.WithCancel(ctx)
	m := &monitor{runner: r, system: s, cmd: cmd, forget: forget, addr: addr, began: time.Now()}
	go m.follow(following, targets)
	return m, m.awaitTargets(ctx, filepath.Join(folder, "log"))
}

// scrapeConfig is the example with the way to this cluster, and a pace that
// suits a short run.
func (r *Runner) scrapeConfig(targets, file string) error {
	source := filepath.Join(r.options.Root, "deploy", "observability")
	rules, err := filepath.Abs(filepath.Join(source, "alerts.yaml"))
	if err != nil {
		return err
	}
	config, err := observability.Config(filepath.Join(source, "prometheus.yaml"),
		observability.Scraping{Targets: targets, Rules: rules, Interval: scraping})
	if err != nil {
		return err
	}
	return os.WriteFile(file, config, 0o600)
}

// follow writes the pods of the system to a file of targets, until ctx ends.
func (m *monitor) follow(ctx context.Context, file string) {
	for ctx.Err() == nil {
		_ = m.writeTargets(ctx, file) // else the next time
		_ = pause(ctx, scraping)
	}
}

func (m *monitor) writeTargets(ctx context.Context, file string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.runner.agents.proxy+"/api/v1/namespaces/"+m.system.namespace+"/pods", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	pods, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	targets, err := observability.Targets(pods)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("list the pods: status %d: %w", response.StatusCode, err)
	}
	if err := os.WriteFile(file+".new", targets, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

func (m *monitor) stop() {
	if m != nil {
		m.forget()
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait() // killed
	}
}

// awaitTargets waits until every pod is scraped.
func (m *monitor) awaitTargets(ctx context.Context, log string) error {
	for until := time.Now().Add(patience); time.Now().Before(until); {
		if up, err := m.value(ctx, "count(up == 1)"); err == nil && up >= 4 {
			m.before, err = m.value(ctx, m.since(countedRequests+" or vector(0)"))
			return err
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	said, _ := os.ReadFile(log) // #nosec G304 -- our own file
	return fmt.Errorf("prometheus did not find the pods: %.2000s", said)
}

// judge compares what Prometheus saw with what the clients know.
func (m *monitor) judge(ctx context.Context, run *report.Run) error {
	if m == nil {
		return nil
	}
	if err := pause(ctx, 3*time.Second); err != nil { // the last scrapes
		return err
	}
	m.runner.report.Monitoring = &report.Monitoring{}
	return errors.Join(m.judgeTargets(ctx), m.judgeCounters(ctx, run), m.judgeDrains(ctx, run), m.judgeAlerts(ctx), m.judgeDashboard(ctx))
}

func (m *monitor) judgeTargets(ctx context.Context) error {
	for until := time.Now().Add(time.Minute); ; {
		pods, err := m.runner.cluster.Pods(ctx, m.system.namespace, services)
		if err != nil {
			return err
		}
		up, err := m.value(ctx, "count(up == 1) or vector(0)")
		if err != nil {
			return err
		}
		// One scrape that takes longer than a second makes a target count as down.
		if every := int(up) == len(pods); every || time.Now().After(until) {
			m.runner.result("Prometheus scrapes every pod", every, "%.0f targets up, %d pods", up, len(pods))
			return nil
		}
		if err := pause(ctx, scraping); err != nil {
			return err
		}
	}
}

// countedRequests are those of the API, by the pods' own counters.
const countedRequests = `sum(max_over_time(achilles_http_requests_total{route=~"/api/.*"}[%s]))`

// judgeCounters counts the requests of the API by the pods' own counters. What
// a pod counted after its last scrape is gone with it; there is little of it,
// because a pod that ends has few requests, and is scraped until it ends.
func (m *monitor) judgeCounters(ctx context.Context, run *report.Run) error {
	counted, err := m.value(ctx, m.since(countedRequests))
	if err != nil {
		return err
	}
	counted -= m.before + float64(m.runner.probes)
	share := counted / float64(run.Requests)
	m.fact("Requests counted by the clients", strconv.Itoa(run.Requests))
	m.fact("Requests counted by the pods", fmt.Sprintf("%.0f (%.2f %%)", counted, 100*share))
	m.runner.result("No counter is lost", share > 0.99 && share <= 1.0001,
		"the pods, most of which are gone, have told Prometheus of %.0f requests; the clients made %d", counted, run.Requests)
	return nil
}

// judgeDrains looks for every pod that is gone in the series of draining pods.
func (m *monitor) judgeDrains(ctx context.Context, run *report.Run) error {
	drained, err := m.vector(ctx, m.since(`max by (pod) (max_over_time(achilles_draining[%s])) == 1`))
	if err != nil {
		return err
	}
	there, err := m.runner.cluster.Pods(ctx, m.system.namespace, services)
	if err != nil {
		return err
	}
	alive := map[string]bool{}
	for _, p := range there {
		alive[p.Name] = true
	}
	gone, unseen := 0, []string{}
	for _, p := range run.Pods {
		if alive[p.Name] {
			continue
		}
		gone++
		if _, seen := drained[p.Name]; !seen {
			unseen = append(unseen, p.Name)
		}
	}
	m.fact("Pods that came and went", strconv.Itoa(gone))
	m.runner.result("Every drain is visible", gone > 0 && len(unseen) == 0, "%d pods went, the drain of %d of them was not seen %s", gone, len(unseen), strings.Join(unseen, " "))
	return nil
}

// judgeAlerts: none may have fired during what no client noticed.
func (m *monitor) judgeAlerts(ctx context.Context) error {
	fired, err := m.vector(ctx, m.since(`max by (alertname) (max_over_time(ALERTS{alertstate="firing"}[%s]))`))
	if err != nil {
		return err
	}
	var names []string
	for name := range fired {
		names = append(names, name)
	}
	m.runner.result("No alert fires in graceful events", len(names) == 0, "%d alerts %s", len(names), strings.Join(names, " "))
	return nil
}

func (m *monitor) judgeDashboard(ctx context.Context) error {
	queries, err := observability.Queries(filepath.Join(m.runner.options.Root, "deploy", "observability", "dashboard.json"), m.system.namespace, scraping)
	if err != nil {
		return err
	}
	empty := 0
	for _, q := range queries {
		found := report.Query{Panel: q.Panel, Expr: q.Expr}
		series, err := m.vector(ctx, q.Expr)
		if err != nil {
			found.Error = err.Error()
		}
		found.Series = len(series)
		if len(series) == 0 {
			empty++
		}
		m.runner.report.Monitoring.Queries = append(m.runner.report.Monitoring.Queries, found)
	}
	m.runner.result("Every query of the dashboard has data", empty == 0 && len(queries) > 0, "%d queries, %d without data", len(queries), empty)
	return nil
}

func (m *monitor) fact(name, value string) {
	m.runner.report.Monitoring.Facts = append(m.runner.report.Monitoring.Facts, report.Fact{Name: name, Value: value})
}

// since fills in the time since the monitor began.
func (m *monitor) since(query string) string {
	return fmt.Sprintf(query, fmt.Sprintf("%ds", int(time.Since(m.began).Seconds())+5))
}

func (m *monitor) value(ctx context.Context, query string) (float64, error) {
	found, err := m.vector(ctx, query)
	if err != nil {
		return 0, err
	}
	for _, value := range found {
		return value, nil
	}
	return 0, fmt.Errorf("%s: no data", query)
}

// vector returns the values of a query by pod, by the name of an alert, or by
// all labels.
func (m *monitor) vector(ctx context.Context, query string) (map[string]float64, error) {
	samples, err := observability.Ask(ctx, m.addr, query)
	found := map[string]float64{}
	for _, sample := range samples {
		key := fmt.Sprint(sample.Labels)
		if len(sample.Labels) == 1 {
			key = sample.Labels["pod"] + sample.Labels["alertname"]
		}
		found[key] = sample.Value
	}
	return found, err
}
