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

// scrapeInterval is short because a drain lasts seconds.
const scrapeInterval = time.Second

// monitor is a real Prometheus with the example configuration in deploy/observability,
// which discovers the pods by the annotations of the chart.
type monitor struct {
	runner *Runner
	system *system
	cmd    *exec.Cmd
	cancel context.CancelFunc // stops the discovery
	addr   string
	began  time.Time
	// before is the number of requests that the pods have counted before the load.
	before float64
}

// monitor starts Prometheus. It returns nil if Prometheus is not installed.
func (r *Runner) monitor(ctx context.Context, s *system) (*monitor, error) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		r.log("skipped: monitoring (install Prometheus; Debian: prometheus)")
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
	log, err := os.Create(filepath.Join(folder, "log")) // #nosec G304 -- a temporary directory
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+addr) // #nosec G204 -- Prometheus
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	followCtx, cancel := context.WithCancel(ctx)
	m := &monitor{runner: r, system: s, cmd: cmd, cancel: cancel, addr: addr, began: time.Now()}
	go m.follow(followCtx, targets)
	return m, m.awaitTargets(ctx, filepath.Join(folder, "log"))
}

// scrapeConfig writes the example configuration, adapted to this cluster and to a short
// run.
func (r *Runner) scrapeConfig(targets, file string) error {
	source := filepath.Join(r.options.Root, "deploy", "observability")
	rules, err := filepath.Abs(filepath.Join(source, "alerts.yaml"))
	if err != nil {
		return err
	}
	config, err := observability.Config(filepath.Join(source, "prometheus.yaml"),
		observability.Scraping{Targets: targets, Rules: rules, Interval: scrapeInterval})
	if err != nil {
		return err
	}
	return os.WriteFile(file, config, 0o600)
}

// follow updates the file of scrape targets until ctx ends.
func (m *monitor) follow(ctx context.Context, file string) {
	for ctx.Err() == nil {
		_ = m.writeTargets(ctx, file) // retried
		_ = pause(ctx, scrapeInterval)
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
		m.cancel()
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait() // killed
	}
}

// awaitTargets waits until every pod is scraped.
func (m *monitor) awaitTargets(ctx context.Context, log string) error {
	for until := time.Now().Add(rolloutTimeout); time.Now().Before(until); {
		if up, err := m.value(ctx, "count(up == 1)"); err == nil && int(up) >= 2*len(m.system.services) {
			m.before, err = m.value(ctx, m.since(countedRequests+" or vector(0)"))
			return err
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	output, _ := os.ReadFile(log) // #nosec G304 -- a temporary file
	return fmt.Errorf("prometheus did not find the pods: %.2000s", output)
}

// check compares the data of Prometheus with the results of the load.
func (m *monitor) check(ctx context.Context, run *report.Run) error {
	if m == nil {
		return nil
	}
	if err := pause(ctx, 3*time.Second); err != nil { // the last scrapes
		return err
	}
	m.runner.report.Monitoring = &report.Monitoring{}
	return errors.Join(m.checkTargets(ctx), m.checkCounters(ctx, run), m.checkDrains(ctx, run), m.checkAlerts(ctx), m.checkDashboard(ctx))
}

func (m *monitor) checkTargets(ctx context.Context) error {
	for until := time.Now().Add(time.Minute); ; {
		pods, err := m.runner.cluster.Pods(ctx, m.system.namespace, m.system.selector())
		if err != nil {
			return err
		}
		up, err := m.value(ctx, "count(up == 1) or vector(0)")
		if err != nil {
			return err
		}
		// A target is down after a single scrape that takes longer than a second.
		if every := int(up) == len(pods); every || time.Now().After(until) {
			m.runner.result("Prometheus scrapes every pod", every, "%.0f targets up, %d pods", up, len(pods))
			return nil
		}
		if err := pause(ctx, scrapeInterval); err != nil {
			return err
		}
	}
}

// countedRequests is the number of API requests according to the pods.
const countedRequests = `sum(max_over_time(achilles_http_requests_total{route=~"/api/.*"}[%s]))`

// checkCounters compares the counters of the pods with those of the load. Requests after
// the last scrape of a pod are lost, but there are few at the end of a drain.
func (m *monitor) checkCounters(ctx context.Context, run *report.Run) error {
	counted, err := m.value(ctx, m.since(countedRequests))
	if err != nil {
		return err
	}
	counted -= m.before + float64(m.runner.probes)
	share := counted / float64(run.Requests)
	m.fact("Requests counted by the clients", strconv.Itoa(run.Requests))
	m.fact("Requests counted by the pods", fmt.Sprintf("%.0f (%.2f %%)", counted, 100*share))
	m.runner.result("No counter is lost", share > 0.99 && share <= 1.0001,
		"the pods counted %.0f requests, the clients sent %d", counted, run.Requests)
	return nil
}

// checkDrains checks that Prometheus has seen every deleted pod drain.
func (m *monitor) checkDrains(ctx context.Context, run *report.Run) error {
	drained, err := m.vector(ctx, m.since(`max by (pod) (max_over_time(achilles_draining[%s])) == 1`))
	if err != nil {
		return err
	}
	existing, err := m.runner.cluster.Pods(ctx, m.system.namespace, m.system.selector())
	if err != nil {
		return err
	}
	alive := map[string]bool{}
	for _, p := range existing {
		alive[p.Name] = true
	}
	deleted, unseen := 0, []string{}
	for _, p := range run.Pods {
		if alive[p.Name] {
			continue
		}
		deleted++
		if _, seen := drained[p.Name]; !seen {
			unseen = append(unseen, p.Name)
		}
	}
	m.fact("Deleted pods", strconv.Itoa(deleted))
	m.runner.result("Every drain is visible", deleted > 0 && len(unseen) == 0, "%d pods were deleted, the drain of %d of them was not seen %s", deleted, len(unseen), strings.Join(unseen, " "))
	return nil
}

// checkAlerts checks that no alert fired during graceful disturbances. That latency is high may be said: the test takes all
// processors of a small machine, and the report has its latencies.
func (m *monitor) checkAlerts(ctx context.Context) error {
	fired, err := m.vector(ctx, m.since(`max by (alertname) (max_over_time(ALERTS{alertstate="firing",alertname!="AchillesLatencyHigh"}[%s]))`))
	if err != nil {
		return err
	}
	var names []string
	for name := range fired {
		names = append(names, name)
	}
	m.runner.result("No alert fires during graceful events", len(names) == 0, "%d alerts %s", len(names), strings.Join(names, " "))
	return nil
}

// rarelyWithData reports whether a panel has data only off Kubernetes, or if a pod is scraped in the
// last moment of its stop.
func rarelyWithData(panel string) bool { return panel == "Stops" || panel == "Upgrades in place" }

// checkDashboard checks that the queries of all panels that can have data have some.
func (m *monitor) checkDashboard(ctx context.Context) error {
	queries, err := observability.Queries(filepath.Join(m.runner.options.Root, "deploy", "observability", "dashboard.json"), m.system.namespace, scrapeInterval)
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
		if len(series) == 0 && !rarelyWithData(q.Panel) {
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

// since inserts the time since the start of the monitor into a query.
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

// vector returns the values of a query by pod, by alert name, or by all labels.
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
