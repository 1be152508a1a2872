package runner

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/e2e/cluster"
	"github.com/achilles-blog/achilles/test/services"
)

const (
	root  = "../../.."
	chart = root + "/deploy/helm/achilles"
)

// listed returns the services of the repository.
func listed() []services.Service {
	all, err := services.Read(root)
	if err != nil {
		panic(err)
	}
	return all
}

// Each live setting of each service is changed under load.
func TestEveryLiveSettingIsChanged(t *testing.T) {
	live, err := liveSettings(chart)
	require.NoError(t, err)
	require.Contains(t, live, tag)
	require.Contains(t, live, article)
	changed := append(slices.Collect(maps.Keys(others())), readOnlyKey)
	for service, keys := range live {
		require.ElementsMatch(t, keys, changed, "a live setting of %s needs another value, which the load's clients don't notice", service)
	}
}

func TestSectionsRestore(t *testing.T) {
	first := sections{"Server": {"TrustedHops": 2}}
	now := sections{"Server": {"TrustedHops": 3, "PathPrefix": "/blog"}, "App": {"MaxOffset": 9}}
	for _, key := range []string{"Server.TrustedHops", "Server.PathPrefix", "App.MaxOffset", "Log.Level"} {
		now.restore(key, first)
	}
	require.Equal(t, sections{"Server": {"TrustedHops": 2}, "App": {}}, now)
	require.Equal(t, map[string]any{"config": map[string]any{"Server": map[string]any{"TrustedHops": 2}}}, first.config())
}

// Changes are kept by upgrades, but are not changed by those that are not.
func TestKeptChanges(t *testing.T) {
	s := newSystem(&cluster.Cluster{}, listed(), "", "", "achilles-e2e", current)
	kept := sections{"Upgrade": {"Signal": "SIGHUP"}}
	s.changes = map[component]map[string]any{tag: kept.config()}
	config := func(changes map[component]map[string]any) map[string]any {
		return s.values(changes)["services"].(map[string]any)["tag"].(map[string]any)["config"].(map[string]any)
	}
	changed := config(map[component]map[string]any{tag: sections{"Upgrade": {"Timeout": "2m"}, "Log": {"Level": "debug"}}.config()})
	require.Equal(t, map[string]any{"Signal": "SIGHUP", "Timeout": "2m"}, changed["Upgrade"])
	require.Equal(t, map[string]any{"Level": "debug"}, changed["Log"])
	require.Equal(t, map[string]any{"Signal": "SIGHUP"}, config(nil)["Upgrade"])
	require.NotContains(t, config(nil), "Log")
}

// Pods that are replaced or restarted have other identities.
func TestIdentities(t *testing.T) {
	pods := []cluster.Pod{{Name: "a"}, {Name: "b", Restarts: 1}, {Name: "c", Terminating: true}}
	require.Equal(t, map[string]int{"a": 0, "b": 1}, identities(pods))
}

// Options.Only selects disturbances by words in their names.
func TestSelected(t *testing.T) {
	s := newSystem(&cluster.Cluster{}, listed(), "", "", "achilles-e2e", current)
	names := func(only ...string) (names []string) {
		r := &Runner{options: Options{Only: only}}
		for _, d := range r.selected(r.disturbances(s, []string{"node1"}, newer)) {
			names = append(names, d.name)
		}
		return names
	}
	all := names()
	require.Subset(t, all, []string{"restart tag", "restart article", "restart all", "drain node1", "SIGHUP to every pod", liveReload})
	require.Equal(t, []string{"SIGHUP to every pod", liveReload}, names("SIGHUP", "live"))
	require.Empty(t, names("nothing of that name"))
}
