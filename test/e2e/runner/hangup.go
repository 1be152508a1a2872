package runner

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/test/e2e/cluster"
)

// What a pod logs when it receives SIGHUP with Upgrade.Signal: SIGHUP.
const (
	upgradeRefused = "upgrade refused: this process serves on"
	isProcessOne   = "this is process 1, with which its container ends: replace the container"
)

// hangUp sends SIGHUP to the service in every pod, which must refuse to be upgraded in place
// and serve on. The pods have Upgrade.Signal: SIGHUP; see changeConfiguration.
func (r *Runner) hangUp(ctx context.Context, s *system) error {
	pods, err := r.cluster.Pods(ctx, s.namespace, services)
	if err != nil {
		return err
	}
	began, silent := time.Now(), []string{}
	for _, pod := range pods {
		agent := r.agents.clients[pod.Node]
		if agent == nil {
			return fmt.Errorf("no agent on %s to send SIGHUP to %s", pod.Node, pod.Name)
		}
		if err := agent.Hangup(ctx, pod.UID); err != nil {
			return err
		}
	}
	for _, pod := range pods {
		refused, err := r.awaitRefusal(ctx, s, pod, began)
		if err != nil {
			return err
		}
		if !refused {
			silent = append(silent, pod.Name)
		}
	}
	l := &reload{runner: r, system: s, pods: pods}
	if err := l.samePods(ctx); err != nil {
		return err
	}
	r.result("G1: a pod refuses SIGHUP and serves on", len(pods) > 0 && len(silent) == 0 && l.wrong == "",
		"%d pods of %d have logged that they are process 1 of their containers; none was replaced or restarted %s %s",
		len(pods)-len(silent), len(pods), strings.Join(silent, " "), l.wrong)
	return nil
}

// awaitRefusal waits until a pod has logged that it refuses, and reports whether it has.
func (r *Runner) awaitRefusal(ctx context.Context, s *system, pod cluster.Pod, since time.Time) (bool, error) {
	for until := time.Now().Add(rolloutTimeout); ; {
		log, err := r.cluster.Kubectl(ctx, "logs", pod.Name, "-n", s.namespace, "--since-time", since.Add(-time.Second).UTC().Format(time.RFC3339))
		if err != nil {
			return false, err
		}
		for line := range strings.Lines(log) {
			if strings.Contains(line, upgradeRefused) && strings.Contains(line, isProcessOne) {
				return true, nil
			}
		}
		if time.Now().After(until) {
			return false, nil
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return false, err
		}
	}
}
