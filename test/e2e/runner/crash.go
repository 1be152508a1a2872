package runner

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/load"
	"github.com/achilles-blog/achilles/test/e2e/report"
)

// afterCrash is the time between crashes.
const afterCrash = 6 * time.Second

// The system has recovered when minRecovered consecutive requests, over at least
// recoveredFor, have succeeded. recoveryLimit is the maximum time until then.
const (
	minRecovered  = 100
	recoveredFor  = 5 * time.Second
	recoveryLimit = time.Minute
)

// crash is an event in which requests may fail, but no acknowledged write may be lost.
type crash struct {
	name string
	run  func(ctx context.Context) error
}

// crashes returns rounds of kill -9 of pods, of the database server and of Redis.
func (r *Runner) crashes(s *system, rounds int) []crash {
	var all []crash
	for range rounds {
		for _, c := range s.components() {
			all = append(all, crash{"kill -9 a pod of " + string(c), r.killPod(s, c)})
		}
		if r.cluster.CrashMySQL != "" {
			all = append(all, crash{"kill -9 the database server", shell(r.cluster.CrashMySQL)})
		}
		if r.cluster.CrashRedis != "" {
			all = append(all, crash{"kill -9 Redis", shell(r.cluster.CrashRedis)})
		}
	}
	return all
}

func (r *Runner) killPod(s *system, c component) func(context.Context) error {
	return func(ctx context.Context) error {
		pods, err := r.cluster.Pods(ctx, s.namespace, "app.kubernetes.io/component="+string(c))
		if err != nil {
			return err
		}
		if len(pods) == 0 {
			return fmt.Errorf("no pod of %s to kill", c)
		}
		victim := pods[rand.IntN(len(pods))]
		killer := r.agents.clients[victim.Node]
		if killer == nil {
			return fmt.Errorf("no agent on %s to kill %s", victim.Node, victim.Name)
		}
		return killer.Kill(ctx, victim.UID)
	}
}

func shell(command string) func(context.Context) error {
	return func(ctx context.Context) error {
		output, err := exec.CommandContext(ctx, "sh", "-c", command).CombinedOutput() // #nosec G204 -- a command of the operator
		if err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, output)
		}
		return nil
	}
}

// crashRun causes crashes under load.
func (r *Runner) crashRun(ctx context.Context, s *system) error {
	mixes := r.mixes
	mixes.repeat = true
	t, err := startTraffic(ctx, s, r.agents, "g2", mixes)
	if err != nil {
		return err
	}
	err = pause(ctx, 3*time.Second)
	for _, c := range r.crashes(s, r.options.CrashRounds) {
		if err != nil {
			break
		}
		r.log("  %s", c.name)
		err = t.during(report.Event{Name: c.name, Crash: true}, func() error {
			return errors.Join(c.run(ctx), pause(ctx, afterCrash))
		})
	}
	if err == nil {
		err = s.rolledOut(ctx) // every container runs again
	}
	restored := time.Now()
	recovers := false
	if err == nil {
		recovers, err = r.awaitRecovery(ctx, t)
	}
	took := time.Since(restored)
	run, err := r.finish(ctx, s, t, err)
	if err != nil {
		return err
	}
	r.report.Crashes = run
	l := run.Ledger
	r.result("G2: no acknowledged write is lost or duplicated by a crash", l.Exact() && l.Acknowledged > 0,
		"%d crashes during %d requests, of which %d failed and %d were repeated with their Idempotency-Key (%d had been applied before); "+
			"of %d acknowledged writes %d were lost, %d duplicated, %d altered; %d were applied but not acknowledged",
		len(run.Events), run.Requests, run.Failed, run.Repeats, run.Replayed, l.Acknowledged, l.Lost, l.Duplicated, l.Altered, l.Applied)
	r.result("G2: every write with a key is eventually acknowledged", l.Unanswered+l.Applied == 0 && run.Repeats > 0,
		"of %d writes %d were not acknowledged, %d were applied but not acknowledged", l.Sent, l.Unanswered, l.Applied)
	r.result("G2: the system recovers by itself", recovers, "%.1f s after all containers ran again no request had failed for %s (limit: %s)",
		took.Seconds(), recoveredFor, recoveryLimit+recoveredFor)
	return nil
}

// awaitRecovery reports whether the system recovers in time.
func (r *Runner) awaitRecovery(ctx context.Context, t *traffic) (bool, error) {
	var before load.Count
	since := time.Now()
	for until := since.Add(recoveryLimit + recoveredFor); time.Now().Before(until); {
		count, err := t.count(ctx)
		if err != nil {
			return false, err
		}
		if before.Requests == 0 || count.Failed > before.Failed {
			before, since = count, time.Now()
		}
		if time.Since(since) >= recoveredFor && count.Requests-before.Requests >= minRecovered {
			return true, nil
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return false, err
		}
	}
	return false, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
