package runner

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/failpoint"
	"github.com/achilles-blog/achilles/test/e2e/cluster"
)

// Each control has a fault, and each fail point is used.
func TestControls(t *testing.T) {
	unused := failpoint.All()
	for _, c := range controls() {
		require.NotZero(t, len(c.points)+len(c.patch), "%s has no fault", c.name)
		unused = slices.DeleteFunc(unused, func(p failpoint.Point) bool { return slices.Contains(c.points, p) })
	}
	require.Empty(t, unused, "unused fail points")
}

// Fail points are only enabled in the given service.
func TestFailPointsInEnvironment(t *testing.T) {
	s := newSystem(&cluster.Cluster{}, listed(), "", "", "achilles-control", current)
	s.points[article] = points(failpoint.LoseAnswers, failpoint.ForgetKeys)
	services := s.values(nil)["services"].(map[string]any)
	enabled := map[string]any{"name": "ACHILLES_FAILPOINTS", "value": "lose-answers,forget-keys"}
	require.Contains(t, services["article"].(map[string]any)["extraEnv"], enabled)
	require.Len(t, services["tag"].(map[string]any)["extraEnv"], 1)
}
