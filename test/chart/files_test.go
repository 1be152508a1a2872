package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/achilles-blog/achilles/test/manifest"
)

// The generated files are up to date.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	files, err := generate(root)
	require.NoError(t, err)
	require.Len(t, files, 5)
	for path, content := range files {
		old, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, old), "%s is stale: run make chart", path)
	}
}

// The schema has exactly the values, with their types.
func TestSchemaAgreesWithTheValues(t *testing.T) {
	var values, schema map[string]any
	text, err := os.ReadFile(chart + "/values.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &values))
	text, err = os.ReadFile(chart + "/values.schema.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &schema))
	agree(t, "values", values, schema)
	closed(t, "schema", schema)
}

func agree(t *testing.T, path string, value any, schema map[string]any) {
	properties, _ := schema["properties"].(map[string]any)
	if path == "values.services" { // empty by default
		require.ElementsMatch(t, serviceNames(t), slices.Collect(maps.Keys(properties)))
		return
	}
	if values, ok := value.(map[string]any); ok && properties != nil {
		require.Equal(t, slices.Sorted(maps.Keys(values)), slices.Sorted(maps.Keys(properties)), path)
		for key, value := range values {
			agree(t, path+"."+key, value, properties[key].(map[string]any))
		}
		return
	}
	if schema["$ref"] != nil {
		return
	}
	require.NotEmpty(t, schema["description"], path)
	kinds, several := schema["type"].([]any)
	if !several {
		kinds = []any{schema["type"]}
	}
	require.True(t, slices.ContainsFunc(kinds, func(kind any) bool { return isOf(value, kind) }), "%s is %v, and should be %v", path, value, kinds)
}

func isOf(value, kind any) bool {
	switch value := value.(type) {
	case nil:
		return kind == "null"
	case bool:
		return kind == "boolean"
	case float64:
		return kind == "integer" && value == float64(int(value))
	case string:
		return kind == "string"
	case []any:
		return kind == "array"
	}
	return kind == "object"
}

// closed checks that no map with fixed keys accepts others.
func closed(t *testing.T, path string, schema map[string]any) {
	if schema["type"] == "object" && schema["properties"] != nil {
		require.Equal(t, false, schema["additionalProperties"], path)
	}
	for key, value := range schema {
		if inner, ok := value.(map[string]any); ok {
			closed(t, path+"."+key, inner)
		}
	}
}

func TestUnknownValuesAreRejected(t *testing.T) {
	for _, values := range []string{
		`replicas: 2`, `services: {tag: {replica: 2}}`, `services: {tag: {image: {name: x}}}`, `rollout: {drain: 3}`, `mariadb: {persistence: {enable: true}}`,
		`ingress: {host: x}`, `monitoring: {serviceMonitor: {enabled: true}}`, `networkPolicy: {egress: {cidrs: []}}`,
		`services: {tag: {config: {Server: {Drain: 1s}}}}`, `services: {tag: {config: {Servers: {}}}}`, `services: {article: {config: {Limits: {PerSecond: 1}}}}`, `services: {tag: {config: {Auth: {Keys: x}}}}`, `auth: {secret: x}`, `services: {tag: {config: {server: {}}}}`, `services: {article: {config: {Idempotency: {Retention: a day}}}}`, `services: {tag: {config: {Limits: {Enabled: "no"}}}}`,
		`services: {tag: {resources: {limit: {}}}}`, `services: {tag: {autoscaling: {behavior: {down: {}}}}}`, `networkPolicy: {extraFrom: [{podSelectors: {}}]}`,
		`gateway: {parentRefs: [{names: x}]}`, `ingress: {tls: [{secret: x}]}`, `services: {tag: {topologySpread: [{topologyKey: x, whenUnsatisfiable: y}]}}`,
		`services: {tag: {replicas: "2"}}`, `services: {tag: {image: {tag: 1.0}}}`, `logLevel: loud`, `commonLabels: {a: 1}`, `rollout: {drainSeconds: 1.5}`,
		`services: {tag: {image: {pullPolicy: never}}}`, `database: {tls: true}`, "database: {username: \"a'b\"}", "services: {tag: {database: {name: \"a`b\"}}}",
		`services: {tag: {autoscaling: null}}`, `services: {tag: {extraVolumes: [{emptyDir: {}}]}}`, `services: {tag: {extraVolumeMounts: [{name: ca, path: /ca}]}}`, `enabled: "yes"`,
	} {
		t.Run(values, func(t *testing.T) {
			got := rejection(t, values)
			require.Contains(t, got, "schema")
		})
	}
	render(t, `{enabled: true, global: {anything: true}}`)
}

func TestMonitoring(t *testing.T) {
	for _, key := range []string{"PodMonitor achilles", "PrometheusRule achilles", "ConfigMap achilles-dashboard"} {
		require.NotContains(t, render(t, ``), key)
	}
	all := render(t, matrix(t)["monitoring"])

	dashboard := manifest.Get[corev1.ConfigMap](t, all, "achilles-dashboard")
	require.Equal(t, "1", dashboard.Labels["grafana_dashboard"])
	require.Equal(t, "Blog", dashboard.Annotations["grafana_folder"])
	source, err := os.ReadFile(filepath.Join(root, "deploy/observability/dashboard.json"))
	require.NoError(t, err)
	require.JSONEq(t, string(source), dashboard.Data["achilles.json"])

	var rules map[string]any
	source, err = os.ReadFile(filepath.Join(root, "deploy/observability/alerts.yaml"))
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(source, &rules))
	rule := all["PrometheusRule achilles"].(*unstructured.Unstructured).Object
	require.Equal(t, rules, rule["spec"])
	require.Equal(t, "prometheus", rule["metadata"].(map[string]any)["labels"].(map[string]any)["release"])

	monitor := all["PodMonitor achilles"].(*unstructured.Unstructured).Object["spec"].(map[string]any)
	endpoint := monitor["podMetricsEndpoints"].([]any)[0].(map[string]any)
	require.Equal(t, "admin", endpoint["port"])
	require.Equal(t, "15s", endpoint["interval"])
	require.Equal(t, "service", endpoint["relabelings"].([]any)[0].(map[string]any)["targetLabel"])
}

// The alert on stops that take too long has the timeouts of the chart, and pods are scraped often enough to see a drain.
func TestMonitoringFollowsTheTimeouts(t *testing.T) {
	const on = `monitoring: {podMonitor: {enabled: true}, prometheusRule: {enabled: true}}`
	rules := func(all manifest.Objects) string { return marshal(t, all["PrometheusRule achilles"]) }
	all := render(t, `{`+on+`}`)
	require.Contains(t, rules(all), "vector(25)")
	require.Contains(t, marshal(t, all["PodMonitor achilles"]), `"interval":"5s"`)
	other := rules(render(t, `{rollout: {drainSeconds: 10, shutdownSeconds: 40}, `+on+`}`))
	require.Contains(t, other, "vector(50)")
	require.NotContains(t, other, "vector(25)")
	require.NotContains(t, marshal(t, render(t, `monitoring: {podMonitor: {enabled: true, interval: ""}}`)["PodMonitor achilles"]), "interval")
}

// Annotations are for a Prometheus without the operator.
func TestScrapeAnnotations(t *testing.T) {
	with, without := render(t, ``), render(t, `monitoring: {podAnnotations: false}`)
	for _, service := range serviceNames(t) {
		annotations := podAnnotations(t, with, service)
		require.Equal(t, []string{"true", "9090", "/metrics"},
			[]string{annotations["prometheus.io/scrape"], annotations["prometheus.io/port"], annotations["prometheus.io/path"]})
		require.NotContains(t, podAnnotations(t, without, service), "prometheus.io/scrape")
	}
}
