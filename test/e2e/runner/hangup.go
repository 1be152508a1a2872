package runner

import (
	"context"
	"fmt"
	"regexp"

	"github.com/achilles-blog/achilles/test/e2e/cluster"
)

// hangUp sends SIGHUP to the service in every pod, which must refuse to be upgraded in place
// and serve on. The pods have Upgrade.Signal: SIGHUP; see changeConfiguration. What a service
// logs then is tested by test/process.
func (r *Runner) hangUp(ctx context.Context, s *system) error {
	pods, err := r.cluster.Pods(ctx, s.namespace, s.selector())
	if err != nil {
		return err
	}
	l := &reload{runner: r, system: s, pods: pods}
	before := map[string]string{}
	for _, pod := range pods {
		if before[pod.Name], err = r.refusals(ctx, s, pod); err != nil {
			return err
		}
		agent := r.agents.clients[pod.Node]
		if agent == nil {
			return fmt.Errorf("no agent on %s to send SIGHUP to %s", pod.Node, pod.Name)
		}
		if err := agent.Hangup(ctx, pod.UID); err != nil {
			return err
		}
	}
	refused, err := l.await(ctx, "the refusal of SIGHUP", func(ctx context.Context, pod cluster.Pod) string {
		if now, err := r.refusals(ctx, s, pod); err != nil || now == before[pod.Name] {
			return "no more upgrades are refused than before"
		}
		return ""
	})
	if err != nil {
		return err
	}
	if err := l.samePods(ctx); err != nil {
		return err
	}
	r.result("G1: a pod refuses SIGHUP and serves on", len(pods) > 0 && refused && l.wrong == "",
		"SIGHUP to %d pods, of which each must count a refusal and none may be replaced or restarted %s", len(pods), l.wrong)
	return nil
}

// refusals returns the number of upgrades that a pod has refused, as its metrics show it.
func (r *Runner) refusals(ctx context.Context, s *system, pod cluster.Pod) (string, error) {
	exposition, err := r.admin(ctx, s, pod, "/metrics")
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?m)^achilles_upgrade_failures_total\{reason="refused"\} (\S+)$`).FindSubmatch(exposition)
	if found == nil {
		return "", fmt.Errorf("%s has no metric of refused upgrades: is Upgrade.Signal SIGHUP?", pod.Name)
	}
	return string(found[1]), nil
}
