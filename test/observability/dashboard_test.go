package observability_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/achilles-blog/achilles/test/observability"
	"github.com/achilles-blog/achilles/test/process"
)

func TestDashboardIsInOrder(t *testing.T) {
	d, err := observability.ReadDashboard(dashboard)
	require.NoError(t, err)
	require.Equal(t, "achilles", d.UID)
	var variables, rows []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
	}
	require.Equal(t, []string{"datasource", "namespace", "service", "pod"}, variables)

	ids, titles, taken := map[int]bool{}, map[string]bool{}, map[[2]int]string{}
	for _, panel := range d.Panels {
		require.False(t, ids[panel.ID], "two panels have the id %d", panel.ID)
		ids[panel.ID] = true
		for x := range panel.GridPos.W {
			for y := range panel.GridPos.H {
				cell := [2]int{panel.GridPos.X + x, panel.GridPos.Y + y}
				require.Empty(t, taken[cell], "%s lies on another panel", panel.Title)
				require.Less(t, cell[0], 24, "%s reaches beyond the page", panel.Title)
				taken[cell] = panel.Title
			}
		}
		if panel.Type == "row" {
			rows = append(rows, panel.Title)
			continue
		}
		require.False(t, titles[panel.Title], "two panels are called %s", panel.Title)
		titles[panel.Title] = true
		require.NotEmpty(t, panel.Description, panel.Title)
		require.NotEmpty(t, panel.FieldConfig.Defaults.Unit, panel.Title)
		require.NotEmpty(t, panel.Targets, panel.Title)
	}
	require.Equal(t, []string{
		"Requests", "Errors", "Latency by route", "Saturation", "Database and cache", "Tag feed", "Rollouts and drains",
	}, rows)
}

// Every query selects the chosen namespace and pods.
func TestEveryQueryHeedsTheChoice(t *testing.T) {
	d, err := observability.ReadDashboard(dashboard)
	require.NoError(t, err)
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			require.Contains(t, target.Expr, `namespace="$namespace"`, panel.Title)
			require.Contains(t, target.Expr, `pod=~"$pod"`, panel.Title)
		}
	}
}

func TestEveryQueryParses(t *testing.T) {
	queries, err := observability.Queries(dashboard, "blog", 15*time.Second)
	require.NoError(t, err)
	d, err := observability.ReadDashboard(dashboard)
	require.NoError(t, err)
	require.NotEmpty(t, d.Annotations.List)
	for _, annotation := range d.Annotations.List {
		queries = append(queries, observability.Query{Panel: annotation.Name, Expr: annotation.Expr})
	}
	type rule struct{ Record, Expr string }
	var all []rule
	for i, query := range queries {
		all = append(all, rule{"query:number:" + strconv.Itoa(i), query.Expr})
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": all}}})
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "queries.yaml"), text, 0o600))
	process.Tool(t, dir, nil, "promtool", "check", "rules", "queries.yaml")
}

func TestQueriesRefuseAnUnknownVariable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dashboard.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"panels": [{"title": "x", "targets": [{"expr": "up{zone=\"$zone\"}"}]}]}`), 0o600))
	_, err := observability.Queries(file, "blog", time.Second)
	require.ErrorContains(t, err, "$zone")
}
