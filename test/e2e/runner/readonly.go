package runner

import (
	"context"
	"errors"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/report"
)

// Times of the load around read-only mode.
const (
	aroundReadOnly = 5 * time.Second
	readOnlyFor    = 5 * time.Second
)

// readOnlyRun switches read-only mode on and off under load: it rejects writes and nothing
// else. It is a run of its own because writes fail in it, which is against the objective that
// alerts watch.
func (r *Runner) readOnlyRun(ctx context.Context, s *system) error {
	l, err := r.newReload(ctx, s)
	if err != nil {
		return err
	}
	t, err := startTraffic(ctx, s, r.agents, "readonly", r.mixes)
	if err != nil {
		return err
	}
	err = pause(ctx, aroundReadOnly)
	if err == nil {
		err = t.during(report.Event{Name: "read-only mode"}, func() error { return r.readOnlyMode(ctx, s, t, l) })
	}
	err = errors.Join(err, pause(ctx, aroundReadOnly))
	run, err := r.finish(ctx, s, t, err)
	if err != nil {
		return err
	}
	if err := l.samePods(ctx); err != nil {
		return err
	}
	r.report.ReadOnly = run
	ledger := run.Ledger
	r.result("G1: read-only mode rejects writes, and nothing else fails", run.Failed == 0 && run.Rejected > 0 && l.wrong == "",
		"%d requests, of which %d writes were rejected with 503 and Retry-After; %d others failed %s", run.Requests, run.Rejected, run.Failed, l.wrong)
	r.result("G1: read-only mode stores nothing that it has rejected", ledger.Exact() && ledger.Applied == 0 && ledger.Acknowledged > 0,
		"%d writes acknowledged, %d lost, %d duplicated, %d altered; of %d that were not acknowledged %d are stored",
		ledger.Acknowledged, ledger.Lost, ledger.Duplicated, ledger.Altered, ledger.Unanswered+ledger.Applied, ledger.Applied)
	return nil
}

// readOnlyMode switches read-only mode on and off by the chart.
func (r *Runner) readOnlyMode(ctx context.Context, s *system, t *traffic, l *reload) error {
	if err := t.setReadOnly(ctx, true); err != nil {
		return err
	}
	for _, on := range []bool{true, false} {
		s.readOnly = on
		if err := s.upgrade(ctx, nil); err != nil {
			return err
		}
		if ok, err := l.await(ctx, "read-only mode", l.shown(readOnlyKey, on)); !ok || err != nil {
			return err
		}
		if on {
			if err := errors.Join(t.nudge(ctx), pause(ctx, readOnlyFor)); err != nil {
				return err
			}
		}
	}
	return t.setReadOnly(ctx, false)
}
