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
	// controlRestarts is the maximum number of restarts to detect a fault.
	controlRestarts = 10
	// controlRequests is the minimum number of requests before the first restart,
	// so that all workers are busy. controlPosts is the minimum number of POSTs for
	// faults of writes, which affect one in ten articles.
	controlRequests = 500
	controlPosts    = 500
	// afterRestart is how long the load continues after a restart.
	afterRestart = 2 * time.Second
)

// control is a negative control: a system with a fault that the e2e test must detect.
type control struct {
	// name is part of a namespace; broken describes the fault.
	name, broken string
	component    component
	// points are the enabled fail points.
	points []failpoint.Point
	// patch is applied to the Deployment of the component, because the chart
	// rejects such values.
	patch string
	// writes means that the fault shows without a restart. repeat is
	// load.Config.Repeat; then only the ledger counts as detection.
	writes, repeat bool
	// busy means that the fault shows under busyMixes.
	busy bool
}

const noSleep = `{"spec":{"template":{"spec":{"containers":[{"name":"%s","lifecycle":null}]}}}}`

// controls returns the negative controls.
func controls() []control {
	return []control{
		{name: "exit-no-prestop", broken: "exits at SIGTERM, no preStop", component: tag, points: points(failpoint.ExitOnSignal), patch: noSleep},
		{name: "shutdown-no-prestop", broken: "http.Server.Shutdown without a drain, no preStop", component: tag, points: points(failpoint.SkipDrain), patch: noSleep},
		{name: "exit-after-prestop", broken: "exits at SIGTERM, after the preStop", component: tag, points: points(failpoint.ExitOnSignal)},
		{name: "keepalives-off", broken: "SetKeepAlivesEnabled(false) instead of Connection: close", component: tag, points: points(failpoint.DisableKeepAlives), busy: true},
		{name: "short-grace", broken: "a grace period shorter than the timeouts", component: article,
			patch: `{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":4,"containers":[{"name":"%s"}]}}}}`},
		{name: "ready-too-early", broken: "is ready before it serves", component: tag, points: points(failpoint.StartLate),
			patch: `{"spec":{"template":{"spec":{"containers":[{"name":"%s","startupProbe":null,"readinessProbe":null,"livenessProbe":null}]}}}}`},
		{name: "drops-writes", broken: "acknowledges some writes and drops them", component: article, points: points(failpoint.DropWrites), writes: true},
		{name: "writes-twice", broken: "writes some articles twice", component: article, points: points(failpoint.WriteTwice), writes: true},
		{name: "forgets-keys", broken: "loses some responses and ignores Idempotency-Keys", component: article,
			points: points(failpoint.LoseAnswers, failpoint.ForgetKeys), writes: true, repeat: true},
	}
}

func points(all ...failpoint.Point) []failpoint.Point { return all }

// controlMixes keep many connections busy. Errors caused by overload don't count as
// detection.
func controlMixes() mixes {
	return mixes{
		ingress: load.Mix{Reused: 4, Idle: 2, Slowest: 3},
		node:    load.Mix{Reused: 16, Fresh: 4, Idle: 4, Slowest: 3},
		think:   2 * time.Millisecond,
	}
}

// busyMixes keep a service so busy that there are always unread requests on connections
// that the service considers idle.
func busyMixes() mixes {
	return mixes{ingress: load.Mix{Reused: 1}, node: load.Mix{Busy: 24}}
}

// runSeparately runs the parts that install their own systems, two at a time.
func (r *Runner) runSeparately(ctx context.Context, _ *system) error {
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
		r.result("Negative control: "+c.Broken, c.Detected, "%s", c.How)
	}
	return nil
}

// inPairs runs the jobs in order, two at a time.
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
	result := report.Control{Name: c.name, Broken: c.broken}
	s := newSystem(r.cluster, r.services, r.chart, r.folder, "achilles-control-"+c.name, current)
	s.replicas = 1
	if len(c.points) > 0 {
		s.versions[c.component], s.points[c.component] = failing, c.points
	}
	err := r.detect(ctx, c, s, &result)
	result.Took = time.Since(began)
	r.log("  %-22s %s (%.0f s)", c.name, result.How, result.Took.Seconds())
	return result, errors.Join(err, s.uninstall(context.WithoutCancel(ctx)))
}

func (r *Runner) detect(ctx context.Context, c control, s *system, result *report.Control) error {
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
	run, err := r.finish(ctx, s, t, r.provoke(ctx, c, s, t))
	if err != nil {
		return err
	}
	result.Requests, result.Kinds = run.Requests, run.Kinds
	result.Detected = !run.Ledger.Exact() || !c.repeat && run.Failed > run.Overloaded
	result.How = detection(run, result.Detected)
	return nil
}

// provoke causes events until the fault shows, or until the maximum number of events.
func (r *Runner) provoke(ctx context.Context, c control, s *system, t *traffic) error {
	if c.writes {
		return r.await(ctx, t, func(count load.Count) bool { return count.Posts >= controlPosts && (!c.repeat || count.Repeats > 0) })
	}
	if err := r.await(ctx, t, func(count load.Count) bool { return count.Requests >= controlRequests }); err != nil {
		return err
	}
	for range controlRestarts {
		failed, err := r.provokeOnce(ctx, c, s, t)
		if failed || err != nil {
			return err
		}
	}
	return nil
}

// provokeOnce restarts the component, and reports whether a request failed until all its
// pods were replaced.
func (r *Runner) provokeOnce(ctx context.Context, c control, s *system, t *traffic) (failed bool, err error) {
	if err := errors.Join(t.nudge(ctx), s.restart(ctx, c.component)); err != nil {
		return false, err
	}
	waitCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	replaced := make(chan error, 1)
	go func() { replaced <- errors.Join(s.rolledOut(waitCtx), pause(waitCtx, afterRestart)) }()
	for {
		count, err := t.count(ctx)
		if failed := count.Failed > count.Overloaded; failed || err != nil {
			return failed, err
		}
		select {
		case err := <-replaced:
			return false, err
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// await waits until enough returns true, at most for rolloutTimeout.
func (r *Runner) await(ctx context.Context, t *traffic, enough func(load.Count) bool) error {
	for until := time.Now().Add(rolloutTimeout); time.Now().Before(until); {
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

// detection describes how a fault was detected.
func detection(run *report.Run, detected bool) string {
	if !detected {
		return fmt.Sprintf("NOT detected in %d requests", run.Requests)
	}
	var symptoms []string
	for _, kind := range slices.Sorted(maps.Keys(run.Kinds)) {
		symptoms = append(symptoms, fmt.Sprintf("%d × %s", run.Kinds[kind], kind))
	}
	if l := run.Ledger; !l.Exact() {
		symptoms = append(symptoms, fmt.Sprintf("%d acknowledged writes lost, %d duplicated, %d altered, %d unexpected", l.Lost, l.Duplicated, l.Altered, l.Unexpected))
	}
	return fmt.Sprintf("detected in %d requests: %s", run.Requests, strings.Join(symptoms, ", "))
}
