package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/achilles-blog/achilles/pkg/failpoint"
	"github.com/achilles-blog/achilles/test/e2e/load"
	"github.com/achilles-blog/achilles/test/e2e/report"
)

const (
	// controlRestarts is how often a control is restarted before it counts as not
	// noticed.
	controlRestarts = 10
	// controlRequests have been made before the first restart: each worker is at
	// work. Of controlPosts more than half create articles, each tenth of which
	// is a wrong one.
	controlRequests = 500
	controlPosts    = 500
	// afterRestart is how long a control is watched after it has been replaced.
	afterRestart = 2 * time.Second
)

// control is a negative control: a system that is broken on purpose. An e2e test
// that does not notice it proves nothing.
type control struct {
	// name is short: it becomes part of a namespace.
	name, broken string
	component    component
	// points are the fail points that are enabled.
	points []failpoint.Point
	// patch is applied to the component's Deployment past the chart, which
	// refuses such values.
	patch string
	// writes says that no restart is needed: the service itself is wrong. repeat
	// is load.Config's; then the ledger alone has to notice.
	writes, repeat bool
	// busy says that the fault shows under busyMixes.
	busy bool
}

const noSleep = `{"spec":{"template":{"spec":{"containers":[{"name":"%s","lifecycle":null}]}}}}`

// controls are everything that has to be noticed.
func controls() []control {
	return []control{
		{name: "exit-no-prestop", broken: "exits at SIGTERM, no preStop", component: tag, points: points(failpoint.ExitOnSignal), patch: noSleep},
		{name: "shutdown-no-prestop", broken: "http.Server.Shutdown at once, no preStop", component: tag, points: points(failpoint.SkipDrain), patch: noSleep},
		{name: "exit-behind-prestop", broken: "exits at SIGTERM, behind the preStop", component: tag, points: points(failpoint.ExitOnSignal)},
		{name: "keepalives-off", broken: "SetKeepAlivesEnabled(false) in place of the header", component: tag, points: points(failpoint.DisableKeepAlives), busy: true},
		{name: "short-grace", broken: "a grace period shorter than the timeouts", component: article,
			patch: `{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":4,"containers":[{"name":"%s"}]}}}}`},
		{name: "ready-too-early", broken: "counts as ready before it serves", component: tag, points: points(failpoint.StartLate),
			patch: `{"spec":{"template":{"spec":{"containers":[{"name":"%s","startupProbe":null,"readinessProbe":null,"livenessProbe":null}]}}}}`},
		{name: "drops-writes", broken: "acknowledges some writes and drops them", component: article, points: points(failpoint.DropWrites), writes: true},
		{name: "writes-twice", broken: "writes some articles twice", component: article, points: points(failpoint.WriteTwice), writes: true},
		{name: "forgets-keys", broken: "loses some answers, and does again what is repeated under its key", component: article,
			points: points(failpoint.LoseAnswers, failpoint.ForgetKeys), writes: true, repeat: true},
	}
}

func points(all ...failpoint.Point) []failpoint.Point { return all }

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
func (r *Runner) apart(ctx context.Context, _ *system) error {
	var jobs []func(context.Context) error
	if r.wants("bundled") {
		jobs = append(jobs, r.bundledRun)
	}
	if r.wants("controls") {
		all := controls()
		r.report.Controls = make([]report.Control, len(all))
		for i, c := range all {
			jobs = append(jobs, func(ctx context.Context) (err error) {
				r.report.Controls[i], err = r.controlRun(ctx, c)
				return err
			})
		}
	}
	if err := inPairs(ctx, jobs); err != nil {
		return err
	}
	for _, c := range r.report.Controls {
		r.result("Negative control: "+c.Broken, c.Noticed, "%s", c.How)
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

func (r *Runner) controlRun(ctx context.Context, c control) (report.Control, error) {
	began := time.Now()
	found := report.Control{Name: c.name, Broken: c.broken}
	s := newSystem(r.cluster, r.chart, r.folder, "achilles-control-"+c.name, current)
	s.replicas = 1
	if len(c.points) > 0 {
		s.versions[c.component], s.points[c.component] = failing, c.points
	}
	err := r.controlled(ctx, c, s, &found)
	found.Took = time.Since(began)
	r.say("  %-22s %s (%.0f s)", c.name, found.How, found.Took.Seconds())
	return found, errors.Join(err, s.uninstall(context.WithoutCancel(ctx)))
}

func (r *Runner) controlled(ctx context.Context, c control, s *system, found *report.Control) error {
	if err := s.install(ctx); err != nil {
		return fmt.Errorf("control %s: %w", c.name, err)
	}
	if c.patch != "" {
		if _, err := r.cluster.Kubectl(ctx, "patch", "-n", s.namespace, c.component.deployment(), "-p", fmt.Sprintf(c.patch, c.component)); err != nil {
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
	t, err := startTraffic(ctx, s, r.agents, c.name, m)
	if err != nil {
		return err
	}
	err = r.provoke(ctx, c, s, t)
	results, stopErr := t.stop(context.WithoutCancel(ctx))
	if err = errors.Join(err, stopErr); err != nil {
		return err
	}
	run := t.summarise(results)
	found.Requests, found.Kinds = run.Requests, run.Kinds
	ledger, err := r.compare(ctx, s, t.name, results)
	found.Noticed = !ledger.Exact() || !c.repeat && run.Failed > run.Overloaded
	found.How = noticed(run, ledger, found.Noticed)
	return err
}

// provoke gives the fault its chance: until it shows, or often enough.
func (r *Runner) provoke(ctx context.Context, c control, s *system, t *traffic) error {
	if c.writes {
		return r.await(ctx, t, func(count load.Count) bool { return count.Posts >= controlPosts && (!c.repeat || count.Repeats > 0) })
	}
	if err := r.await(ctx, t, func(count load.Count) bool { return count.Requests >= controlRequests }); err != nil {
		return err
	}
	for range controlRestarts {
		shown, err := r.provokeOnce(ctx, c, s, t)
		if shown || err != nil {
			return err
		}
	}
	return nil
}

// provokeOnce restarts the control, and reports whether something has failed by
// the time at which all of it has been replaced.
func (r *Runner) provokeOnce(ctx context.Context, c control, s *system, t *traffic) (shown bool, err error) {
	if err := errors.Join(t.nudge(ctx), s.restart(ctx, c.component)); err != nil {
		return false, err
	}
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	replaced := make(chan error, 1)
	go func() { replaced <- errors.Join(s.rolledOut(watching), pause(watching, afterRestart)) }()
	for {
		count, err := t.count(ctx)
		if shown := count.Failed > count.Overloaded; shown || err != nil {
			return shown, err
		}
		select {
		case err := <-replaced:
			return false, err
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// await waits until the loads have seen enough, or for as long as there is
// patience: what they have seen by then is judged.
func (r *Runner) await(ctx context.Context, t *traffic, enough func(load.Count) bool) error {
	for until := time.Now().Add(patience); time.Now().Before(until); {
		count, err := t.count(ctx)
		if err != nil || enough(count) {
			return err
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
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
