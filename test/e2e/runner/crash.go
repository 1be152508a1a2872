package runner

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/load"
)

// afterCrash is how long a crash is watched before the next one.
const afterCrash = 6 * time.Second

// The system has recovered when recovered requests in a row, over recoveredFor
// at least, have not failed; recoveryLimit after everything is back it has to.
const (
	recovered     = 100
	recoveredFor  = 5 * time.Second
	recoveryLimit = time.Minute
)

// crash is an event that clients notice; what was acknowledged has to survive
// it all the same.
type crash struct {
	name string
	run  func(ctx context.Context) error
}

// crashes are rounds of kill -9: of pods, of the database server and of Redis.
func (r *Runner) crashes(s *system, rounds int) []crash {
	var all []crash
	for range rounds {
		all = append(all,
			crash{"kill -9 a tag pod", r.killPod(s, tag)},
			crash{"kill -9 an article pod", r.killPod(s, article)},
		)
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
			return fmt.Errorf("there is no pod of %s to kill", c)
		}
		victim := pods[rand.IntN(len(pods))]
		killer := r.agents.clients[victim.Node]
		if killer == nil {
			return fmt.Errorf("there is no agent on %s to kill %s", victim.Node, victim.Name)
		}
		return killer.Kill(ctx, victim.UID)
	}
}

func shell(command string) func(context.Context) error {
	return func(ctx context.Context) error {
		output, err := exec.CommandContext(ctx, "sh", "-c", command).CombinedOutput() // #nosec G204 -- the operator's own
		if err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, output)
		}
		return nil
	}
}

// crashRun kills what can be killed under load.
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
		r.say("  %s", c.name)
		err = t.during(c.name, true, func() error {
			return errors.Join(c.run(ctx), pause(ctx, afterCrash))
		})
	}
	if err == nil {
		err = s.rolledOut(ctx) // every container is back
	}
	back := time.Now()
	recovers := false
	if err == nil {
		recovers, err = r.awaitRecovery(ctx, t)
	}
	took := time.Since(back)
	results, stopErr := t.stop(context.WithoutCancel(ctx))
	if err = errors.Join(err, stopErr); err != nil {
		return err
	}
	run := t.summarise(results)
	if run.Ledger, err = r.compare(ctx, s, t.name, results); err != nil {
		return err
	}
	r.report.Crashes = run
	l := run.Ledger
	r.result("G2: no acknowledged write is lost or doubled by a crash", l.Exact() && l.Acknowledged > 0,
		"%d crashes by kill -9 under %d requests, of which %d failed and %d were sent again under their Idempotency-Key (%d had been done the first time); "+
			"of %d acknowledged writes %d were lost, %d doubled, %d altered; %d were applied without having been acknowledged",
		len(run.Events), run.Requests, run.Failed, run.Repeats, run.Replayed, l.Acknowledged, l.Lost, l.Doubled, l.Wrong, l.Applied)
	r.result("G2: with its key every write is acknowledged in the end", l.Unanswered+l.Applied == 0 && run.Repeats > 0,
		"of %d writes %d were given up; %d of these are there all the same", l.Sent, l.Unanswered, l.Applied)
	r.result("G2: the system recovers by itself", recovers, "%.1f s after everything was back no request had failed for %s (allowed: %s)",
		took.Seconds(), recoveredFor, recoveryLimit+recoveredFor)
	return nil
}

// awaitRecovery reports whether requests stop to fail in time.
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
		if time.Since(since) >= recoveredFor && count.Requests-before.Requests >= recovered {
			return true, nil
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return false, err
		}
	}
	return false, nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
