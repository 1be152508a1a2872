// Package runner runs the e2e test. It installs Achilles on a cluster, causes graceful
// disturbances and crashes under load, and checks the results. Clients repeat requests
// only in the crash run, with their Idempotency-Keys.
package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/builds"
	"github.com/achilles-blog/achilles/test/e2e/cluster"
	"github.com/achilles-blog/achilles/test/e2e/load"
	"github.com/achilles-blog/achilles/test/e2e/report"
	"github.com/achilles-blog/achilles/test/services"
)

// The versions to build: the source, a next release, and a build with fail points.
const (
	current = "e2e-current"
	newer   = "e2e-newer"
	failing = "e2e-failing"
)

// steadyFor is how long the load runs before the first graceful disturbance and after the
// last, which is what latencies are compared with.
const steadyFor = 20 * time.Second

// namespace is the namespace of the system under test.
const namespace = "achilles-e2e"

// Options configure a run.
type Options struct {
	// Mode is "short" or "soak", for the report.
	Mode string
	// Disturbances and Requests are the minimum numbers of the graceful run.
	Disturbances, Requests int
	// CrashRounds is the number of rounds of crashes.
	CrashRounds int
	// Parts to run: graceful, crashes, controls, bundled. All if empty.
	Parts []string
	// Only are words in the names of the graceful disturbances to cause. All if empty.
	Only []string
	// Root is the root directory of the repository, Out the directory for the report.
	Root, Out string
	// Think is the mean pause of each worker.
	Think time.Duration
	// Stdout receives the progress.
	Stdout io.Writer
}

// Runner is a run of the e2e test.
type Runner struct {
	options  Options
	cluster  *cluster.Cluster
	services []services.Service
	issuer   component // the service that issues the tokens
	chart    string
	folder   string
	began    time.Time
	agents   *agents
	mixes    mixes
	report   *report.Report
	// secret is the secret of the load's client, or empty if it was not added.
	secret    string
	rotations []rotation
	reloads   []*reload
	probes    int // requests of the runner itself, which the pods count too
}

// Run runs the e2e test and writes its report. It returns an error if the test could not
// run. The report says whether it passed.
func Run(ctx context.Context, c *cluster.Cluster, options Options) (*report.Report, error) {
	folder, err := os.MkdirTemp("", "achilles-e2e-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	all, err := services.Read(options.Root)
	if err != nil {
		return nil, err
	}
	for _, needed := range []component{tag, article} {
		if !slices.Contains(services.Names(all), string(needed)) {
			return nil, fmt.Errorf("the load of the e2e test writes tags and articles, and there is no service %s: keep the services tag and article, or write a load of your own in test/e2e", needed)
		}
	}
	r := &Runner{
		options: options, cluster: c, services: all, issuer: component(services.Issuer(all).Name), folder: folder, began: time.Now(), chart: filepath.Join(options.Root, "deploy", "helm", "achilles"),
		mixes: mixes{
			ingress: load.Mix{Reused: 6, Fresh: 3, Idle: 10, Silent: 4, Slow: 2, Slowest: 4, Resources: 2},
			node:    load.Mix{Reused: 4, Fresh: 2, Idle: 5, Silent: 10, Slow: 1, Slowest: 2, H2C: 2, H2CShared: 3, Resources: 1},
			think:   options.Think,
		},
		report: &report.Report{Mode: options.Mode, Started: time.Now().UTC()},
	}
	err = r.run(ctx)
	r.report.Finished = time.Now().UTC()
	return r.report, errors.Join(err, r.write())
}

// wants reports whether any of the parts is requested.
func (r *Runner) wants(parts ...string) bool {
	return len(r.options.Parts) == 0 || slices.ContainsFunc(parts, func(part string) bool { return slices.Contains(r.options.Parts, part) })
}

func (r *Runner) run(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	defer r.agents.stop()
	stopS3, err := r.storeFiles(ctx)
	if err != nil {
		return err
	}
	defer stopS3()
	s := newSystem(r.cluster, r.services, r.chart, r.folder, namespace, current)
	for _, part := range []struct {
		title  string
		wanted bool
		run    func(context.Context, *system) error
	}{
		{"helm install, loading articles, and helm test", r.wants("graceful", "crashes"), r.install},
		{"authentication, idempotency, versions, limits", r.wants("graceful"), r.accessRun},
		{"G1: graceful disturbances", r.wants("graceful"), r.gracefulRun},
		{"G1: read-only mode", r.wants("graceful"), r.readOnlyRun},
		{"G2: crashes", r.wants("crashes"), r.crashRun},
		{"negative controls, and the bundled MariaDB and Redis", r.wants("controls", "bundled"), r.runSeparately},
	} {
		if !part.wanted {
			continue
		}
		r.log("%s", part.title)
		if err := part.run(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", part.title, err)
		}
	}
	return r.cleanUp(ctx)
}

// cleanUp deletes the namespaces of the run without waiting.
func (r *Runner) cleanUp(ctx context.Context) error {
	_, err := r.cluster.Kubectl(ctx, "delete", "namespace", namespace, agentNamespace, "--ignore-not-found", "--wait=false")
	return err
}

// prepare builds and pushes all images and deploys the agents.
func (r *Runner) prepare(ctx context.Context) error {
	r.log("building")
	var all []builds.Build
	for _, service := range r.services {
		all = append(all, builds.Build{Service: service.Name, Version: current}, builds.Newer(service.Name, service.Resources[0].Name, newer))
	}
	if r.wants("controls") {
		all = append(all, builds.Build{Service: string(tag), Version: failing, FailPoints: true},
			builds.Build{Service: string(article), Version: failing, FailPoints: true})
	}
	for _, build := range all {
		program, err := build.Compile(ctx, r.options.Root, r.folder)
		if err != nil {
			return err
		}
		if err := r.push(ctx, program, build.Service, build.Version); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := r.push(ctx, self, "e2e", current); err != nil {
		return err
	}
	r.log("deploying an agent on every node")
	r.agents, err = deployAgents(ctx, r.cluster, r.cluster.Image("e2e:"+current))
	if err != nil {
		return err
	}
	return r.environment(ctx)
}

func (r *Runner) environment(ctx context.Context) error {
	version, err := r.cluster.Kubectl(ctx, "version")
	if err != nil {
		return err
	}
	helm, err := r.cluster.Helm(ctx, "version", "--short")
	if err != nil {
		return err
	}
	nodes, err := r.cluster.Nodes(ctx)
	if err != nil {
		return err
	}
	server, err := r.mysqlVersion(ctx)
	r.report.Environment = []report.Fact{
		{Name: "Kubernetes", Value: after(version, "Server Version: ")},
		{Name: "Helm", Value: strings.TrimSpace(helm)},
		{Name: "Nodes", Value: strings.Join(nodes, ", ")},
		{Name: "Local processors", Value: fmt.Sprint(runtime.NumCPU())},
		{Name: "Go", Value: runtime.Version()},
		{Name: "Database server", Value: server},
	}
	return err
}

func after(text, marker string) string {
	_, rest, _ := strings.Cut(text, marker)
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

func (r *Runner) mysqlVersion(ctx context.Context) (version string, err error) {
	db, err := (&system{cluster: r.cluster}).connect("")
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	return version, db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version)
}

func (r *Runner) install(ctx context.Context, s *system) error {
	if err := s.install(ctx); err != nil {
		return err
	}
	if err := s.rolledOut(ctx); err != nil {
		return err
	}
	if err := r.loadArticles(ctx, s); err != nil { // before anything else has the first ids
		return err
	}
	output, err := r.cluster.Helm(ctx, "test", release, "-n", s.namespace, "--timeout", rolloutTimeout.String())
	r.result("helm test passes", err == nil, "%s", lastLine(output, err))
	return nil
}

func lastLine(output string, err error) string {
	if err != nil {
		return err.Error()
	}
	return after(output, "Phase: ")
}

// gracefulRun causes all graceful disturbances under load.
func (r *Runner) gracefulRun(ctx context.Context, s *system) error {
	nodes, err := r.cluster.Nodes(ctx)
	if err != nil {
		return err
	}
	monitor, err := r.monitor(ctx, s)
	if err != nil {
		return err
	}
	defer monitor.stop()
	t, err := startTraffic(ctx, s, r.agents, "g1", r.mixes)
	if err != nil {
		return err
	}
	all := r.selected(append([]disturbance{{keyRotation, false, r.rotateKeys(t)}}, r.disturbances(s, nodes, newer)...))
	err = errors.Join(pause(ctx, steadyFor), r.disturb(ctx, s, t, all), pause(ctx, steadyFor))
	if err == nil {
		err = r.awaitRequests(ctx, t)
	}
	run, err := r.finish(ctx, s, t, err)
	if err != nil {
		return err
	}
	r.report.Graceful = run
	r.checkGraceful(run)
	if hasDisturbance(all, keyRotation) {
		r.checkRotations(run)
	}
	if hasDisturbance(all, liveReload) {
		r.checkReloads()
	}
	return monitor.check(ctx, run)
}

// disturb causes the disturbances in order, repeatedly until there were enough. Some
// depend on the previous one.
func (r *Runner) disturb(ctx context.Context, s *system, t *traffic, all []disturbance) error {
	if len(all) == 0 {
		return fmt.Errorf("no disturbance has one of %q in its name", r.options.Only)
	}
	for n := 0; n < max(r.options.Disturbances, len(all)); n++ {
		d := all[n%len(all)]
		if err := t.nudge(ctx); err != nil {
			return err
		}
		began := time.Now()
		err := t.during(report.Event{Name: d.name, Rollout: d.rollout}, func() error { return errors.Join(d.run(ctx, s), s.rolledOut(ctx)) })
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		count, err := t.count(ctx)
		if err != nil {
			return err
		}
		r.log("  %3d  %-28s %5.1f s   %8d requests, %d failed", n+1, d.name, time.Since(began).Seconds(), count.Requests, count.Failed)
		if err := pause(ctx, time.Second+rand.N(time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// awaitRequests waits until the loads have sent the minimum number of requests.
func (r *Runner) awaitRequests(ctx context.Context, t *traffic) error {
	for {
		count, err := t.count(ctx)
		if err != nil || count.Requests >= r.options.Requests {
			return err
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (r *Runner) checkGraceful(run *report.Run) {
	r.result("G1: no client notices a graceful event", run.Failed == 0,
		"%d requests, %d of them POST, during %d disturbances; %d failed, none was repeated", run.Requests, run.Posts, len(run.Events), run.Failed)
	l := run.Ledger
	r.result("G1: every acknowledged write is stored exactly once", l.Exact() && l.Acknowledged > 0,
		"%d acknowledged, %d lost, %d duplicated, %d altered, %d unexpected; the articles' tag read model differs in %d, their counters in %d, their feed of changes in %d",
		l.Acknowledged, l.Lost, l.Duplicated, l.Altered, l.Unexpected, l.ReadModelDiffers, l.CountersDiffer, l.FeedDiffers)
	r.result("G1: at least half of the requests are POST", 2*run.Posts >= run.Requests, "%d of %d", run.Posts, run.Requests)
	r.result("G1: the minimum numbers are reached", run.Requests >= r.options.Requests && len(run.Events) >= r.options.Disturbances,
		"%d requests of %d, %d disturbances of %d", run.Requests, r.options.Requests, len(run.Events), r.options.Disturbances)
}

// finish stops the loads and compares their ledgers with the databases. If err is not
// nil, it only stops the loads, and returns err.
func (r *Runner) finish(ctx context.Context, s *system, t *traffic, err error) (*report.Run, error) {
	results, stopErr := t.stop(context.WithoutCancel(ctx))
	if err = errors.Join(err, stopErr); err != nil {
		return nil, err
	}
	run := t.summarise(results)
	run.Ledger, err = r.compare(ctx, s, t.name, results)
	return run, err
}

// compare compares the ledgers of the loads with the databases, after the tag read model
// has caught up.
func (r *Runner) compare(ctx context.Context, s *system, run string, results []load.Result) (report.Ledger, error) {
	tags, err := s.open(tag)
	if err != nil {
		return report.Ledger{}, err
	}
	defer func() { _ = tags.Close() }()
	articles, err := s.open(article)
	if err != nil {
		return report.Ledger{}, err
	}
	defer func() { _ = articles.Close() }()
	s.results[run] = results
	for until := time.Now().Add(time.Minute); ; {
		c := newComparison(run, s.results, s.loaded)
		ledger, err := c.compare(ctx, tags, articles)
		if err == nil {
			ledger, err = r.compareResources(ctx, s, c)
		}
		if err != nil || ledger.ReadModelDiffers == 0 || time.Now().After(until) {
			return ledger, err
		}
		if err := pause(ctx, time.Second); err != nil {
			return ledger, err
		}
	}
}

// compareResources compares the ledgers of the resources with the databases of their services.
func (r *Runner) compareResources(ctx context.Context, s *system, c *comparison) (report.Ledger, error) {
	of := map[load.Endpoint]component{}
	for _, name := range s.components() {
		of[s.throughService(name)] = name
	}
	for _, resource := range s.resources(s.throughService) {
		db, err := s.open(of[resource.At])
		if err != nil {
			return c.result, err
		}
		err = errors.Join(c.compareResource(ctx, db, resource), db.Close())
		if err != nil {
			return c.result, err
		}
	}
	return c.result, nil
}

func (r *Runner) result(name string, passed bool, detail string, args ...any) {
	result := report.Result{Name: name, Passed: passed, Detail: fmt.Sprintf(detail, args...)}
	r.report.Results = append(r.report.Results, result)
	mark := "ok    "
	if !passed {
		mark = "FAILED"
	}
	r.log("%s %s: %s", mark, result.Name, result.Detail)
}

func (r *Runner) log(format string, args ...any) {
	_, _ = fmt.Fprintf(r.options.Stdout, "%6.1f s  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}
