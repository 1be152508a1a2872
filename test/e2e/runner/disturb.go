package runner

import (
	"context"
	"fmt"
	"time"
)

// disturbance is a graceful event during which no request may fail.
type disturbance struct {
	name    string
	rollout bool // replaces all pods of a service
	run     func(ctx context.Context, s *system) error
}

// disturbances returns the graceful events of a platform. After the last the system is
// in its initial state.
func disturbances(nodes []string, newer string) []disturbance {
	all := []disturbance{
		{"restart tag", true, restart(tag)},
		{"restart article", true, restart(article)},
		{"restart both", true, restart(tag, article)},
		{"restart during a restart", true, restartTwice},
		{"helm upgrade: configuration", true, changeConfiguration},
		{"scale up to 4", false, scaleTo(4, tag, article)},
		{"scale down to 2", false, scaleTo(2, tag, article)},
		{"helm upgrade: new schema", true, newSchema(newer)},
		{"helm rollback", true, func(ctx context.Context, s *system) error { return s.rollback(ctx) }},
	}
	for _, node := range nodes {
		all = append(all, disturbance{"drain " + node, false, drain(node)})
	}
	return append(all,
		disturbance{"scale down to 1", false, scaleTo(1, tag, article)},
		disturbance{"restart of single replicas", true, restart(tag, article)},
		disturbance{"scale up to 2", false, scaleTo(2, tag, article)},
	)
}

func restart(components ...component) func(context.Context, *system) error {
	return func(ctx context.Context, s *system) error { return s.restart(ctx, components...) }
}

func restartTwice(ctx context.Context, s *system) error {
	if err := s.restart(ctx, tag, article); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(4 * time.Second): // until the first pods are replaced
	}
	return s.restart(ctx, tag, article)
}

// changeConfiguration changes a setting that requires a restart of the pods.
func changeConfiguration(ctx context.Context, s *system) error {
	size := 10 + time.Now().Second()%50
	changes := map[string]any{"config": map[string]any{"App": map[string]any{"DefaultPageSize": size}}}
	return s.upgrade(ctx, map[component]map[string]any{tag: changes, article: changes})
}

// newSchema upgrades to a release with a new migration. The old pods serve with the new
// schema until they are replaced.
func newSchema(version string) func(context.Context, *system) error {
	return func(ctx context.Context, s *system) error {
		old := s.versions
		s.versions = map[component]string{tag: version, article: version}
		err := s.upgrade(ctx, nil)
		s.versions = old // the next disturbance is a rollback
		return err
	}
}

func scaleTo(replicas int, components ...component) func(context.Context, *system) error {
	return func(ctx context.Context, s *system) error { return s.scale(ctx, replicas, components...) }
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
