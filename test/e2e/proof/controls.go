package proof

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/builds"
	"github.com/achilles-blog/achilles/test/e2e/load"
	"github.com/achilles-blog/achilles/test/e2e/report"
)

// controlRestarts is how often a control is restarted before it counts as not
// noticed.
const controlRestarts = 5

// control is a system that is broken on purpose. A proof that does not notice
// proves nothing.
type control struct {
	// name is short: it becomes part of a namespace.
	name, broken string
	component    component
	edits        []builds.Edit
	// patch is applied to the component's Deployment past the chart, which
	// refuses such values.
	patch string
	// writes says that no restart is needed: the service itself is wrong. repeat
	// is load.Config's; then the ledger alone has to notice.
	writes, repeat bool
	// busy says that the fault shows under busyMixes.
	busy bool
}

const (
	lifecycle = "pkg/lifecycle/process.go"
	domain    = "services/article/internal/article/service.go"
	create    = "	return s.write(ctx, draft, func(draft Draft) (Article, error) { return s.store.Create(ctx, draft) })\n"
)

var (
	exitAtOnce = builds.Edit{
		File: lifecycle,
		Old:  "		p.log.Info(\"stopping\", zap.Stringer(\"signal\", sig))\n",
		New:  "		p.log.Info(\"stopping\", zap.Stringer(\"signal\", sig))\n		os.Exit(0)\n",
	}
	noDrain = builds.Edit{File: lifecycle, Old: "time.After(p.cfg.DrainDelay)", New: "time.After(0)"}
	noSleep = `{"spec":{"template":{"spec":{"containers":[{"name":"%s","lifecycle":null}]}}}}`
)

// controls are everything that has to be noticed.
func controls() []control {
	return []control{
		{name: "exit-no-prestop", broken: "exits at SIGTERM, no preStop", component: tag, edits: []builds.Edit{exitAtOnce}, patch: noSleep},
		{name: "shutdown-no-prestop", broken: "http.Server.Shutdown at once, no preStop", component: tag, edits: []builds.Edit{noDrain}, patch: noSleep},
		{name: "exit-behind-prestop", broken: "exits at SIGTERM, behind the preStop", component: tag, edits: []builds.Edit{exitAtOnce}},
		{name: "keepalives-off", broken: "SetKeepAlivesEnabled(false) in place of the header", component: tag, busy: true, edits: []builds.Edit{
			{File: lifecycle, Old: "	p.drain()\n", New: "	for _, s := range p.servers {\n		s.srv.SetKeepAlivesEnabled(false)\n	}\n	p.drain()\n"},
			{File: "pkg/lifecycle/drain.go", Old: "		w.Header().Set(\"Connection\", \"close\")\n", New: ""},
		}},
		{name: "short-grace", broken: "a grace period shorter than the windows", component: article,
			patch: `{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":4,"containers":[{"name":"%s"}]}}}}`},
		{name: "ready-too-early", broken: "counts as ready before it serves", component: tag,
			edits: []builds.Edit{{File: "services/tag/main.go", Old: "	os.Exit(", New: "	time.Sleep(6 * time.Second)\n	os.Exit("},
				{File: "services/tag/main.go", Old: "	\"os\"\n", New: "	\"os\"\n	\"time\"\n"}},
			patch: `{"spec":{"template":{"spec":{"containers":[{"name":"%s","startupProbe":null,"readinessProbe":null,"livenessProbe":null}]}}}}`},
		{name: "drops-writes", broken: "acknowledges some writes and drops them", component: article, writes: true, edits: []builds.Edit{{File: domain, Old: create, New: `	created, err := s.write(ctx, draft, func(draft Draft) (Article, error) { return s.store.Create(ctx, draft) })
	if err == nil && created.ID%10 == 0 {
		_ = s.store.Delete(ctx, created.ID, draft.By, nil)
	}
	return created, err
`}}},
		{name: "writes-twice", broken: "writes some articles twice", component: article, writes: true, edits: []builds.Edit{{File: domain, Old: create, New: `	created, err := s.write(ctx, draft, func(draft Draft) (Article, error) { return s.store.Create(ctx, draft) })
	if err == nil && created.ID%10 == 0 {
		_, err = s.store.Create(ctx, draft)
	}
	return created, err
`}}},
		{name: "forgets-keys", broken: "loses some answers, and does again what is repeated under its key", component: article, writes: true, repeat: true,
			edits: []builds.Edit{{File: domain, Old: create, New: `	created, err := s.write(ctx, draft, func(draft Draft) (Article, error) { return s.store.Create(ctx, draft) })
	if err == nil && created.ID%10 == 0 {
		err = errors.New("the answer is lost")
	}
	return created, err
`}, {File: "pkg/responses/created.go", Old: "	if keyed {\n", New: "	if keyed = false; keyed {\n"}}},
	}
}

func (c control) version() string { return "control-" + c.name }

// build is the broken program; false when the control is a matter of values.
func (c control) build() (builds.Build, bool) {
	return builds.Build{Service: string(c.component), Version: c.version(), Edits: c.edits}, len(c.edits) > 0
}

// controlMixes keep many connections busy on few processors. A service that is
// overloaded by them says so, which is not what a control is noticed by.
func controlMixes() mixes {
	return mixes{
		ingress: load.Mix{Reused: 4, Idle: 2, Slowest: 3},
		node:    load.Mix{Reused: 16, Fresh: 4, Idle: 4, Slowest: 3},
		think:   2 * time.Millisecond,
	}
}

// busyMixes keep a service so busy that at any moment some connections have a
// request on them that it has not read yet: to it they are idle.
func busyMixes() mixes {
	return mixes{ingress: load.Mix{Reused: 1}, node: load.Mix{Busy: 24}}
}

// apart runs what has a system of its own, two at a time, because it is short
// of nothing but time.
func (p *Proof) apart(ctx context.Context, _ *system) error {
	var jobs []func(context.Context) error
	if p.wants("bundled") {
		jobs = append(jobs, p.bundledRun)
	}
	if p.wants("controls") {
		all := controls()
		p.report.Controls = make([]report.Control, len(all))
		for i, c := range all {
			jobs = append(jobs, func(ctx context.Context) (err error) {
				p.report.Controls[i], err = p.controlRun(ctx, c)
				return err
			})
		}
	}
	if err := inPairs(ctx, jobs); err != nil {
		return err
	}
	for _, c := range p.report.Controls {
		p.verdict("Control: "+c.Broken, c.Noticed, "%s", c.How)
	}
	return nil
}

// inPairs does all jobs in their order, two at a time.
func inPairs(ctx context.Context, jobs []func(context.Context) error) error {
	queue := make(chan func(context.Context) error, len(jobs))
	for _, job := range jobs {
		queue <- job
	}
	close(queue)
	errs := make([]error, 2)
	var both sync.WaitGroup
	for i := range errs {
		both.Go(func() {
			for job := range queue {
				errs[i] = errors.Join(errs[i], job(ctx))
			}
		})
	}
	both.Wait()
	return errors.Join(errs...)
}

func (p *Proof) controlRun(ctx context.Context, c control) (report.Control, error) {
	began := time.Now()
	found := report.Control{Name: c.name, Broken: c.broken}
	s := newSystem(p.cluster, p.chart, p.folder, "achilles-control-"+c.name, current)
	s.replicas = 1
	if _, built := c.build(); built {
		s.versions[c.component] = c.version()
	}
	err := p.controlled(ctx, c, s, &found)
	found.Took = time.Since(began)
	p.say("  %-22s %s (%.0f s)", c.name, found.How, found.Took.Seconds())
	return found, errors.Join(err, s.uninstall(context.WithoutCancel(ctx)))
}

func (p *Proof) controlled(ctx context.Context, c control, s *system, found *report.Control) error {
	if err := s.install(ctx); err != nil {
		return fmt.Errorf("control %s: %w", c.name, err)
	}
	if c.patch != "" {
		if _, err := p.cluster.Kubectl(ctx, "patch", "-n", s.namespace, c.component.deployment(), "-p", fmt.Sprintf(c.patch, c.component)); err != nil {
			return err
		}
	}
	if err := s.rolledOut(ctx); err != nil {
		return err
	}
	m := controlMixes()
	if c.busy {
		m = busyMixes()
	}
	m.repeat = c.repeat
	t, err := startTraffic(ctx, s, p.agents, c.name, m)
	if err != nil {
		return err
	}
	err = p.provoke(ctx, c, s, t)
	results, stopErr := t.stop(context.WithoutCancel(ctx))
	if err = errors.Join(err, stopErr); err != nil {
		return err
	}
	run := t.summarise(results)
	found.Requests, found.Kinds = run.Requests, run.Kinds
	ledger, err := p.compare(ctx, s, t.name, results)
	found.Noticed = !ledger.Exact() || !c.repeat && run.Failed > run.Overloaded
	found.How = noticed(run, ledger, found.Noticed)
	return err
}

// provoke gives the fault its chance: until something fails, or for a while.
func (p *Proof) provoke(ctx context.Context, c control, s *system, t *traffic) error {
	if c.writes {
		return pause(ctx, 4*time.Second)
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return err
	}
	for range controlRestarts {
		if err := errors.Join(t.nudge(ctx), s.restart(ctx, c.component)); err != nil {
			return err
		}
		for until := time.Now().Add(25 * time.Second); time.Now().Before(until); {
			count, err := t.count(ctx)
			if err != nil || count.Failed > count.Overloaded {
				return err
			}
			if err := pause(ctx, 500*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

func noticed(run *report.Run, ledger report.Ledger, was bool) string {
	var said []string
	for _, kind := range slices.Sorted(maps.Keys(run.Kinds)) {
		said = append(said, fmt.Sprintf("%d × %s", run.Kinds[kind], kind))
	}
	if !ledger.Exact() {
		said = append(said, fmt.Sprintf("%d acknowledged writes lost, %d doubled, %d altered, %d strange", ledger.Lost, ledger.Doubled, ledger.Wrong, ledger.Strange))
	}
	if !was {
		return fmt.Sprintf("NOT noticed in %d requests", run.Requests)
	}
	return fmt.Sprintf("noticed in %d requests: %s", run.Requests, strings.Join(said, ", "))
}
