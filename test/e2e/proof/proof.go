// Package proof installs Achilles on a cluster, disturbs and breaks it under
// the load of clients that repeat a request after crashes only, and then under
// its key, and counts what they noticed.
package proof

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
)

// The versions that are built: the source as it is, a next release, and one with
// fail points.
const (
	current = "e2e-current"
	newer   = "e2e-newer"
	failing = "e2e-failing"
)

// namespace is where the system is installed that the guarantees are tried on.
const namespace = "achilles-e2e"

// Options say how long and what.
type Options struct {
	// Mode is "short" or "soak", for the report.
	Mode string
	// Disturbances and Requests are the least numbers of the graceful run.
	Disturbances, Requests int
	// CrashRounds is how often each crash happens.
	CrashRounds int
	// Parts to run: graceful, crashes, controls, bundled. All if empty.
	Parts []string
	// Root is the repository, Out the folder for the report.
	Root, Out string
	// Think is the mean pause of each worker.
	Think time.Duration
	// Stdout gets what a person reads meanwhile.
	Stdout io.Writer
}

// Proof is one run.
type Proof struct {
	options Options
	cluster *cluster.Cluster
	chart   string
	folder  string
	began   time.Time
	agents  *agents
	mixes   mixes
	report  *report.Report
	// secret is that of the load's app, empty where nobody could add it.
	secret    string
	rotations []rotation
	probes    int // requests of the proof itself that pods have counted
}

// Run runs the proof and writes its report. The error is about what kept it
// from running; whether it passed is in the report.
func Run(ctx context.Context, c *cluster.Cluster, options Options) (*report.Report, error) {
	folder, err := os.MkdirTemp("", "achilles-e2e-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	p := &Proof{
		options: options, cluster: c, folder: folder, began: time.Now(), chart: filepath.Join(options.Root, "deploy", "helm", "achilles"),
		mixes: mixes{
			ingress: load.Mix{Reused: 6, Fresh: 3, Idle: 10, Slow: 2, Slowest: 4},
			node:    load.Mix{Reused: 4, Fresh: 2, Idle: 5, Slow: 1, Slowest: 2, H2C: 2, H2CShared: 3},
			think:   options.Think,
		},
		report: &report.Report{Mode: options.Mode, Started: time.Now().UTC()},
	}
	err = p.run(ctx)
	p.report.Finished = time.Now().UTC()
	return p.report, errors.Join(err, p.write())
}

// wants tells whether any of the parts was asked for.
func (p *Proof) wants(parts ...string) bool {
	return len(p.options.Parts) == 0 || slices.ContainsFunc(parts, func(part string) bool { return slices.Contains(p.options.Parts, part) })
}

func (p *Proof) run(ctx context.Context) error {
	if err := p.prepare(ctx); err != nil {
		return err
	}
	defer p.agents.stop()
	s := newSystem(p.cluster, p.chart, p.folder, namespace, current)
	for _, part := range []struct {
		title  string
		wanted bool
		run    func(context.Context, *system) error
	}{
		{"helm install and helm test", p.wants("graceful", "crashes"), p.install},
		{"tokens, limits, repeats", p.wants("graceful"), p.accessRun},
		{"G1: graceful disturbances", p.wants("graceful"), p.gracefulRun},
		{"G2: crashes", p.wants("crashes"), p.crashRun},
		{"controls, which must be noticed, and the bundled MariaDB and Redis", p.wants("controls", "bundled"), p.apart},
	} {
		if !part.wanted {
			continue
		}
		p.say("%s", part.title)
		if err := part.run(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", part.title, err)
		}
	}
	return p.cleanUp(ctx)
}

// cleanUp removes what the run has installed; it does not wait.
func (p *Proof) cleanUp(ctx context.Context) error {
	_, err := p.cluster.Kubectl(ctx, "delete", "namespace", namespace, agentNamespace, "--ignore-not-found", "--wait=false")
	return err
}

// prepare builds and pushes all images and puts the agents in place.
func (p *Proof) prepare(ctx context.Context) error {
	p.say("building")
	all := []builds.Build{
		{Service: string(tag), Version: current}, {Service: string(article), Version: current},
		builds.Newer(string(tag), newer), builds.Newer(string(article), newer),
	}
	if p.wants("controls") {
		all = append(all, builds.Build{Service: string(tag), Version: failing, FailPoints: true},
			builds.Build{Service: string(article), Version: failing, FailPoints: true})
	}
	for _, build := range all {
		program, err := build.Compile(ctx, p.options.Root, p.folder)
		if err != nil {
			return err
		}
		if err := p.push(ctx, program, build.Service, build.Version); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := p.push(ctx, self, "e2e", current); err != nil {
		return err
	}
	p.say("placing an agent on every node")
	p.agents, err = deployAgents(ctx, p.cluster, p.cluster.Image("e2e:"+current))
	if err != nil {
		return err
	}
	return p.environment(ctx)
}

func (p *Proof) environment(ctx context.Context) error {
	version, err := p.cluster.Kubectl(ctx, "version")
	if err != nil {
		return err
	}
	helm, err := p.cluster.Helm(ctx, "version", "--short")
	if err != nil {
		return err
	}
	nodes, err := p.cluster.Nodes(ctx)
	if err != nil {
		return err
	}
	server, err := p.mysqlVersion(ctx)
	p.report.Environment = []report.Fact{
		{Name: "Kubernetes", Value: after(version, "Server Version: ")},
		{Name: "Helm", Value: strings.TrimSpace(helm)},
		{Name: "Nodes", Value: strings.Join(nodes, ", ")},
		{Name: "Processors here", Value: fmt.Sprint(runtime.NumCPU())},
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

func (p *Proof) mysqlVersion(ctx context.Context) (version string, err error) {
	db, err := (&system{cluster: p.cluster}).connect("")
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	return version, db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version)
}

func (p *Proof) install(ctx context.Context, s *system) error {
	if err := s.install(ctx); err != nil {
		return err
	}
	if err := s.rolledOut(ctx); err != nil {
		return err
	}
	output, err := p.cluster.Helm(ctx, "test", release, "-n", s.namespace, "--timeout", patience.String())
	p.verdict("helm test passes", err == nil, "%s", lastLine(output, err))
	return nil
}

func lastLine(output string, err error) string {
	if err != nil {
		return err.Error()
	}
	return after(output, "Phase: ")
}

// gracefulRun does all that a platform does, under load.
func (p *Proof) gracefulRun(ctx context.Context, s *system) error {
	nodes, err := p.cluster.Nodes(ctx)
	if err != nil {
		return err
	}
	monitor, err := p.monitor(ctx, s)
	if err != nil {
		return err
	}
	defer monitor.stop()
	t, err := startTraffic(ctx, s, p.agents, "g1", p.mixes)
	if err != nil {
		return err
	}
	all := append([]disturbance{{"rotate the key of tokens", p.rotateKeys(t)}}, disturbances(nodes, newer)...)
	err = errors.Join(pause(ctx, 6*time.Second), p.disturb(ctx, s, t, all))
	if err == nil {
		err = p.enough(ctx, t)
	}
	results, stopErr := t.stop(context.WithoutCancel(ctx))
	if err = errors.Join(err, stopErr); err != nil {
		return err
	}
	run := t.summarise(results)
	if run.Ledger, err = p.compare(ctx, s, t.name, results); err != nil {
		return err
	}
	p.report.Graceful = run
	p.judge(run)
	p.judgeRotations(run)
	return monitor.judge(ctx, run)
}

// disturb goes through all disturbances, again and again, until there were
// enough. Their order stands, because some set up the next.
func (p *Proof) disturb(ctx context.Context, s *system, t *traffic, all []disturbance) error {
	for n := 0; n < max(p.options.Disturbances, len(all)); n++ {
		d := all[n%len(all)]
		if err := t.nudge(ctx); err != nil {
			return err
		}
		began := time.Now()
		err := t.during(d.name, false, func() error { return errors.Join(d.run(ctx, s), s.rolledOut(ctx)) })
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		count, err := t.count(ctx)
		if err != nil {
			return err
		}
		p.say("  %3d  %-28s %5.1f s   %8d requests, %d failed", n+1, d.name, time.Since(began).Seconds(), count.Requests, count.Failed)
		if err := pause(ctx, time.Second+rand.N(time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// enough waits until the loads have made as many requests as was asked for.
func (p *Proof) enough(ctx context.Context, t *traffic) error {
	for {
		count, err := t.count(ctx)
		if err != nil || count.Requests >= p.options.Requests {
			return err
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (p *Proof) judge(run *report.Run) {
	p.verdict("G1: no client notices a graceful event", run.Failed == 0,
		"%d requests, %d of them POST, through %d disturbances; %d failed, and none was repeated by anybody", run.Requests, run.Posts, len(run.Events), run.Failed)
	l := run.Ledger
	p.verdict("G1: every acknowledged write is there exactly once", l.Exact() && l.Acknowledged > 0,
		"%d acknowledged, %d lost, %d doubled, %d altered, %d strange; the articles' copy of the tags differs in %d",
		l.Acknowledged, l.Lost, l.Doubled, l.Wrong, l.Strange, l.CopyDiffers)
	p.verdict("G1: at least half of the requests are POST", 2*run.Posts >= run.Requests, "%d of %d", run.Posts, run.Requests)
	p.verdict("G1: enough was tried", run.Requests >= p.options.Requests && len(run.Events) >= p.options.Disturbances,
		"%d requests of %d, %d disturbances of %d", run.Requests, p.options.Requests, len(run.Events), p.options.Disturbances)
}

// compare holds the ledgers of the loads against the databases, once the feed
// of tags has come to rest.
func (p *Proof) compare(ctx context.Context, s *system, run string, results []load.Result) (report.Ledger, error) {
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
	s.wrote[run] = results
	for until := time.Now().Add(time.Minute); ; {
		ledger, err := newBooks(run, s.wrote).compare(ctx, tags, articles)
		if err != nil || ledger.CopyDiffers == 0 || time.Now().After(until) {
			return ledger, err
		}
		if err := pause(ctx, time.Second); err != nil {
			return ledger, err
		}
	}
}

func (p *Proof) verdict(name string, passed bool, why string, args ...any) {
	v := report.Result{Name: name, Passed: passed, Why: fmt.Sprintf(why, args...)}
	p.report.Results = append(p.report.Results, v)
	sign := "ok    "
	if !passed {
		sign = "FAILED"
	}
	p.say("%s %s: %s", sign, v.Name, v.Why)
}

func (p *Proof) say(format string, args ...any) {
	_, _ = fmt.Fprintf(p.options.Stdout, "%6.1f s  %s\n", time.Since(p.began).Seconds(), fmt.Sprintf(format, args...))
}
