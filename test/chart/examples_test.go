package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/achilles-blog/achilles/test/manifest"
)

// example returns the objects in a file of the examples, without their namespace.
func example(t testing.TB, file string) manifest.Objects {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(examples, file))
	require.NoError(t, err)
	return manifest.Decode(t, string(content))
}

// field returns a field of a custom resource.
func field(t testing.TB, all manifest.Objects, key string, path ...string) string {
	t.Helper()
	require.Contains(t, all, key)
	value, ok, err := unstructured.NestedString(all[key].(*unstructured.Unstructured).Object, path...)
	require.NoError(t, err)
	require.True(t, ok, "%s %s", key, strings.Join(path, "."))
	return value
}

// valuesIn returns the values of the chart in a field of a custom resource, as YAML.
func valuesIn(t testing.TB, all manifest.Objects, key string, path ...string) string {
	t.Helper()
	values, ok, err := unstructured.NestedMap(all[key].(*unstructured.Unstructured).Object, path...)
	require.NoError(t, err)
	require.True(t, ok, key)
	text, err := yaml.Marshal(values)
	require.NoError(t, err)
	return string(text)
}

// Behind a load balancer of a cloud, pods serve until it knows that they stop, answer its health checks, accept its
// connections, and find the clients' addresses.
func TestCloudLoadBalancers(t *testing.T) {
	for _, c := range []struct {
		example, source string
		drain           string
		grace           int64
		health          string // what says the path of the health check
	}{
		{"aws", "10.0.1.2", "30s", 71, "alb.ingress.kubernetes.io/healthcheck-path"},
		{"gke", "35.191.0.9", "60s", 101, ""},
		{"gke/gateway", "130.211.1.9", "60s", 101, ""},
		{"azure", "10.225.0.4", "120s", 161, "appgw.ingress.kubernetes.io/health-probe-path"},
	} {
		t.Run(c.example, func(t *testing.T) {
			values := matrix(t)[c.example]
			require.NotEmpty(t, values)
			all := render(t, values)
			for _, service := range serviceNames(t) {
				pod := manifest.Get[appsv1.Deployment](t, all, "achilles-"+service).Spec.Template.Spec
				require.Equal(t, c.grace, *pod.TerminationGracePeriodSeconds, "derived from the drain")
				require.Equal(t, c.drain, settingsOf(t, all, service)["Server"]["DrainDelay"])
				require.NotEmpty(t, settingsOf(t, all, service)["Server"]["TrustedProxies"])
				require.True(t, admitted(t, all, networkingv1.PolicyTypeIngress, service, endpoint{address: c.source}, 8080))
				require.False(t, admitted(t, all, networkingv1.PolicyTypeIngress, service, endpoint{address: c.source}, 9090))
			}
			if c.health != "" {
				require.Equal(t, "/readyz", manifest.Get[networkingv1.Ingress](t, all, "achilles").Annotations[c.health])
			}
		})
	}
}

// The objects of GKE have the names that the chart's Services refer to, or have.
func TestGoogleCloud(t *testing.T) {
	all, config := render(t, matrix(t)["gke"]), example(t, "gke/backendconfig.yaml")
	require.Equal(t, "/readyz", field(t, config, "BackendConfig achilles", "spec", "healthCheck", "requestPath"))
	policies := example(t, "gke/policies.yaml")
	for _, service := range serviceNames(t) {
		annotations := manifest.Get[corev1.Service](t, all, "achilles-"+service).Annotations
		require.JSONEq(t, `{"default": "achilles"}`, annotations["cloud.google.com/backend-config"])
		for _, kind := range []string{"HealthCheckPolicy", "GCPBackendPolicy"} {
			require.Contains(t, all, "Service "+field(t, policies, kind+" achilles-"+service, "spec", "targetRef", "name"))
		}
	}
}

// The autoscalers' objects refer to Deployments whose number of pods the chart doesn't set.
func TestAutoscalers(t *testing.T) {
	all := render(t, matrix(t)["keda"])
	target := field(t, example(t, "keda/scaledobject.yaml"), "ScaledObject achilles-article", "spec", "scaleTargetRef", "name")
	require.Nil(t, manifest.Get[appsv1.Deployment](t, all, target).Spec.Replicas)
	dashboard, err := os.ReadFile(root + "/deploy/observability/dashboard.json")
	require.NoError(t, err)
	require.Contains(t, string(dashboard), "achilles_http_requests_total{", "the query of the example")

	vertical := example(t, "vpa/verticalpodautoscaler.yaml")
	deployment := manifest.Get[appsv1.Deployment](t, all, field(t, vertical, "VerticalPodAutoscaler achilles-article", "spec", "targetRef", "name"))
	require.Equal(t, "article", deployment.Spec.Template.Spec.Containers[0].Name, "as in its policies")
	for _, policy := range deployment.Spec.Template.Spec.Containers[0].ResizePolicy {
		require.Equal(t, corev1.NotRequired, policy.RestartPolicy, policy.ResourceName)
	}
	require.Len(t, deployment.Spec.Template.Spec.Containers[0].ResizePolicy, 2)
}

// A Rollout of Argo takes the pods from the Deployment, and sets the weights of two Services in the route.
func TestArgoRollouts(t *testing.T) {
	all, argo := render(t, matrix(t)["argo-rollouts"]), example(t, "argo-rollouts/rollout.yaml")
	const rollout = "Rollout achilles-article"
	deployment := manifest.Get[appsv1.Deployment](t, all, field(t, argo, rollout, "spec", "workloadRef", "name"))
	require.Nil(t, deployment.Spec.Replicas, "Argo Rollouts scales it to 0")
	selector, _, err := unstructured.NestedStringMap(argo[rollout].(*unstructured.Unstructured).Object, "spec", "selector", "matchLabels")
	require.NoError(t, err)
	require.Equal(t, deployment.Spec.Selector.MatchLabels, selector)

	stable := field(t, argo, rollout, "spec", "strategy", "canary", "stableService")
	canary := field(t, argo, rollout, "spec", "strategy", "canary", "canaryService")
	want, got := manifest.Get[corev1.Service](t, all, stable).Spec, manifest.Get[corev1.Service](t, argo, canary).Spec
	require.Equal(t, want.Selector, got.Selector)
	require.Equal(t, want.Ports, got.Ports)
	plugin := []string{"spec", "strategy", "canary", "trafficRouting", "plugins", "argoproj-labs/gatewayAPI"}
	require.Contains(t, all, "HTTPRoute "+field(t, argo, rollout, append(plugin, "httpRoute")...))
	require.Equal(t, [][]backend{{{"achilles-tag", 80, nil}}, {{stable, 80, weight(100)}, {canary, 80, weight(0)}}}, backends(t, all))
}

// What Argo CD renders is the same each time, and has no Secret. What Flux installs is valid.
func TestGitOps(t *testing.T) {
	application := example(t, "argo-cd/application.yaml")
	values := valuesIn(t, application, "Application achilles", "spec", "source", "helm", "valuesObject")
	require.Contains(t, values, "generateSecrets: false")
	for _, helm := range helms(t) {
		first, problems, err := template(t, helm, values)
		require.NoError(t, err, problems)
		second, _, err := template(t, helm, values)
		require.NoError(t, err)
		require.Equal(t, first, second)
		manifest.Each(decode(t, first), func(key string, _ *corev1.Secret) { t.Errorf("%s would be made", key) })
	}
	require.Equal(t, "achilles", field(t, application, "Application achilles", "spec", "source", "helm", "releaseName"))
	release := example(t, "flux/release.yaml")
	require.Contains(t, release, "OCIRepository "+field(t, release, "HelmRelease achilles", "spec", "chartRef", "name"))
	require.NotEmpty(t, render(t, valuesIn(t, release, "HelmRelease achilles", "spec", "values")))
}

// With generateSecrets=false nothing is random: every combination of values is the same each time.
func TestSameEachTime(t *testing.T) {
	for name, values := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, helm := range helms(t) {
				flags := []string{"--set", "generateSecrets=false,auth.existingSecret=a,feed.existingSecret=f,mariadb.existingSecret=m,redis.existingSecret=r"}
				first, problems, err := template(t, helm, values, flags...)
				require.NoError(t, err, problems)
				second, _, err := template(t, helm, values, flags...)
				require.NoError(t, err)
				require.Equal(t, first, second)
			}
		})
	}
}

// With generateSecrets=false every Secret that is missing is named.
func TestMissingSecrets(t *testing.T) {
	got := rejection(t, `generateSecrets: false`)
	for _, path := range []string{"auth", "feed", "mariadb", "redis"} {
		require.Contains(t, got, "generateSecrets=false, but "+path+".existingSecret is empty: create a Secret and name it there")
	}
	require.Contains(t, got, "or set redis.enabled=false")
	got = rejection(t, `{generateSecrets: false, auth: {existingSecret: a}, mariadb: {existingSecret: m}, redis: {enabled: false}}`)
	require.Contains(t, got, "feed.existingSecret is empty")
	for _, path := range []string{"auth", "mariadb", "redis"} {
		require.NotContains(t, got, path+".existingSecret is empty")
	}
}
