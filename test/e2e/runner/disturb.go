package runner

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// disturbance is a graceful event during which no request may fail.
type disturbance struct {
	name    string
	rollout bool // replaces all pods of a service
	run     func(ctx context.Context, s *system) error
}

// Names of disturbances with checks of their own.
const (
	keyRotation = "rotate the key of tokens"
	liveReload  = "reload of live settings"
)

// selected returns the disturbances of Options.Only.
func (r *Runner) selected(all []disturbance) []disturbance {
	if len(r.options.Only) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(d disturbance) bool {
		return !slices.ContainsFunc(r.options.Only, func(word string) bool { return strings.Contains(d.name, word) })
	})
}

func hasDisturbance(all []disturbance, name string) bool {
	return slices.ContainsFunc(all, func(d disturbance) bool { return d.name == name })
}

// disturbances returns the graceful events of a platform. After the last the system is
// in its initial state.
func (r *Runner) disturbances(s *system, nodes []string, newer string) []disturbance {
	var all []disturbance
	for _, c := range s.components() {
		all = append(all, disturbance{"restart " + string(c), true, restart(c)})
	}
	all = append(all, []disturbance{
		{"restart all", true, restart()},
		{"restart during a restart", true, restartTwice},
		{"scale up to 4", false, scaleTo(4)},
		{"scale down to 2", false, scaleTo(2)},
		{"helm upgrade: new schema", true, newSchema(newer)},
		{"helm rollback", true, func(ctx context.Context, s *system) error { return s.rollback(ctx) }},
	}...)
	for _, node := range nodes {
		all = append(all, disturbance{"drain " + node, false, drain(node)})
	}
	return append(all,
		disturbance{"scale down to 1", false, scaleTo(1)},
		disturbance{"restart of single replicas", true, restart()},
		disturbance{"scale up to 2", false, scaleTo(2)},
		disturbance{"helm upgrade: configuration", true, changeConfiguration},
		disturbance{"SIGHUP to every pod", false, r.hangUp},
		disturbance{liveReload, false, r.reloadSettings},
		disturbance{"helm upgrade: configuration again", true, restoreConfiguration},
	)
}

func restart(components ...component) func(context.Context, *system) error {
	return func(ctx context.Context, s *system) error { return s.restart(ctx, components...) }
}

func restartTwice(ctx context.Context, s *system) error {
	if err := s.restart(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(4 * time.Second): // until the first pods are replaced
	}
	return s.restart(ctx)
}

// changeConfiguration changes settings that require a restart of the pods. One of them is
// that SIGHUP upgrades the process, which no pod can do; see hangUp.
func changeConfiguration(ctx context.Context, s *system) error {
	changes := sections{"Database": {"MaxIdleConns": 11}, "Upgrade": {"Signal": "SIGHUP"}}.config()
	s.changes = map[component]map[string]any{}
	for _, c := range s.components() {
		s.changes[c] = changes
	}
	return s.replaceAll(ctx)
}

func restoreConfiguration(ctx context.Context, s *system) error {
	s.changes = nil
	return s.replaceAll(ctx)
}

// replaceAll upgrades the release, which must replace all pods.
func (s *system) replaceAll(ctx context.Context) error {
	before, err := s.cluster.Pods(ctx, s.namespace, s.selector())
	if err != nil {
		return err
	}
	if err := s.upgrade(ctx, nil); err != nil {
		return err
	}
	after, err := s.cluster.Pods(ctx, s.namespace, s.selector())
	if err != nil {
		return err
	}
	now := identities(after)
	for _, pod := range before {
		if _, is := now[pod.Name]; is {
			return fmt.Errorf("the pod %s was not replaced by an upgrade with other settings", pod.Name)
		}
	}
	return nil
}

// newSchema upgrades to a release with a new migration. The old pods serve with the new
// schema until they are replaced.
func newSchema(version string) func(context.Context, *system) error {
	return func(ctx context.Context, s *system) error {
		old := s.versions
		s.versions = s.allOf(version)
		err := s.upgrade(ctx, nil)
		s.versions = old // the next disturbance is a rollback
		return err
	}
}

func scaleTo(replicas int) func(context.Context, *system) error {
	return func(ctx context.Context, s *system) error { return s.scale(ctx, replicas) }
}

func drain(node string) func(context.Context, *system) error {
	return func(ctx context.Context, s *system) error {
		_, err := s.cluster.Kubectl(ctx, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout", rolloutTimeout.String(),
			"--pod-selector", "app.kubernetes.io/instance="+release)
		if _, uncordon := s.cluster.Kubectl(ctx, "uncordon", node); uncordon != nil {
			return fmt.Errorf("uncordon node %s: %w", node, uncordon)
		}
		return err
	}
}
