package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/achilles-blog/achilles/test/manifest"
	"github.com/achilles-blog/achilles/test/process"
)

// Every values file passes helm lint, and all versions of Helm render the same.
func TestMatrix(t *testing.T) {
	programs := helms(t)
	for name, values := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var first manifest.Objects
			for _, helm := range programs {
				report, problems, err := process.Outputs(values, helm, "lint", "--strict", chart, "--values", "-")
				require.NoError(t, err, "%s%s", report, problems)
				text, problems, err := template(t, helm, values)
				require.NoError(t, err, problems)
				require.Empty(t, problems, "no warning")
				all := withoutChance(decode(t, text))
				if first == nil {
					first = all
				}
				require.Equal(t, slices.Sorted(maps.Keys(first)), slices.Sorted(maps.Keys(all)), helm)
				for key := range all {
					require.Equal(t, first[key], all[key], "%s by %s", key, helm)
				}
			}
		})
	}
}

// withoutChance replaces what is random in each render.
func withoutChance(all manifest.Objects) manifest.Objects {
	manifest.Each(all, func(_ string, s *corev1.Secret) {
		for key, value := range s.Data {
			s.Data[key] = fmt.Append(nil, len(value))
		}
	})
	manifest.Each(all, func(_ string, d *appsv1.Deployment) { delete(d.Spec.Template.Annotations, "checksum/secrets") })
	return all
}

// notesOf returns the notes after an installation with values.
func notesOf(t *testing.T, values string) string {
	t.Helper()
	newest := helms(t)[0] // the others ask a cluster for it: see TestCluster
	text, problems, err := process.Outputs(values, newest, "install", "achilles", chart, "--namespace", namespace, "--dry-run=client", "--values", "-")
	require.NoError(t, err, problems)
	_, notes, ok := strings.Cut(text, "\nNOTES:\n")
	require.True(t, ok)
	return notes
}

// The notes say what the load balancer of a cloud needs, and warn while it isn't there.
func TestNotesOfLoadBalancers(t *testing.T) {
	const slow, blocked = "WARNING: requests to stopping pods will fail", "WARNING: the network policy blocks the load balancer"
	for class, says := range map[string][]string{
		"alb":                       {"an Application Load Balancer of AWS", "deploy/examples/aws ", "--set rollout.propagationSeconds=30 --set rollout.drainSeconds=30", "the subnets of the load balancer"},
		"gce":                       {"a load balancer of Google Cloud", "deploy/examples/gke ", "--set rollout.propagationSeconds=60 --set rollout.drainSeconds=60", "35.191.0.0/16"},
		"gce-internal":              {"a load balancer of Google Cloud", "the proxy-only subnet"},
		"azure-application-gateway": {"an Application Gateway of Azure", "deploy/examples/azure ", "--set rollout.propagationSeconds=120 --set rollout.drainSeconds=120"},
	} {
		for _, values := range []string{
			`ingress: {enabled: true, className: ` + class + `}`, `ingress: {enabled: true, annotations: {kubernetes.io/ingress.class: ` + class + `}}`,
		} {
			notes := notesOf(t, values)
			for _, text := range append(says, slow, blocked, "expect 3 s (rollout.propagationSeconds), and have a grace period of 46 s", "which /readyz answers") {
				require.Contains(t, notes, text, values)
			}
		}
	}
	for _, name := range []string{"aws", "gke", "azure"} {
		notes := notesOf(t, matrix(t)[name])
		require.Contains(t, notes, "deploy/examples/"+name+" ")
		require.NotContains(t, notes, slow, name)
		require.NotContains(t, notes, blocked, name)
		require.NotContains(t, notes, "no proxy is trusted", name)
	}
	for _, values := range []string{``, `ingress: {enabled: true, className: nginx}`, `ingress: {className: alb}`} {
		require.NotContains(t, notesOf(t, values), "deploy/examples", values)
	}
}

// The notes after an installation have commands that work.
func TestNotes(t *testing.T) {
	notes := func(values string) string { return notesOf(t, values) }
	for _, says := range []string{
		"ALL DATA IS LOST WHEN THE POD achilles-mariadb-0 IS DELETED", "rollout restart deployment/achilles-tag deployment/achilles-article ",
		"curl http://localhost:8080/api/v1/articles\n", "curl http://localhost:8080/auth -d app_key=demo",
		"exec deployment/achilles-article --container article -- /article client add demo --config /etc/achilles/settings.yaml\n",
		"the key set in the Secret achilles-auth;",
		"MariaDB has 512Mi of memory, 128 MiB of which cache data, and the node's disk, without a limit, for its data.",
	} {
		require.Contains(t, notes(``), says)
	}
	require.Contains(t, notes(`mariadb: {resources: {limits: {memory: null}}, bufferPoolMiB: 500, persistence: {enabled: true}}`),
		"MariaDB has no limit of memory, 500 MiB of which cache data, and a volume of 8Gi for its data.")
	require.Contains(t, notes(`auth: {existingSecret: mine}`), "the key set in the Secret mine;")
	for values, url := range map[string]string{
		`ingress: {enabled: true}`: "http://ADDRESS-OF-THE-INGRESS/api", `ingress: {enabled: true, hosts: ["*.blog.example"]}`: "http://any-name.blog.example/api",
		`ingress: {enabled: true, hosts: [b.example], tls: [{secretName: s}]}`:                           "https://b.example/api",
		`gateway: {enabled: true, parentRefs: [{name: g}], hostnames: ["*.blog.example", blog.example]}`: "http://any-name.blog.example/api",
	} {
		require.Contains(t, notes(values), "curl "+url, values)
		require.Contains(t, notes(values), "curl "+strings.TrimSuffix(url, "/api")+"/auth -d", values)
	}
	const shared, hint = "all clients without a token share one rate limit", "--set trustedProxies[0]=NETWORK "
	for values, who := range map[string]string{
		`ingress: {enabled: true}`: "ingress controller's address", `gateway: {enabled: true, parentRefs: [{name: g}]}`: "gateway's address",
	} {
		for _, says := range []string{shared, who, hint} {
			require.Contains(t, notes(values), says)
		}
		require.NotContains(t, notes(`{`+values+`, trustedProxies: [10.2.0.0/16]}`), shared)
	}
	require.NotContains(t, notes(``), shared)
	exposed := `services: {article: {service: {type: NodePort}}}`
	require.Contains(t, notes(exposed), "blocks all clients of the Service achilles-article of the type NodePort")
	require.Contains(t, notes(exposed), "networkPolicy.extraFrom[0].ipBlock.cidr=")
	for _, answered := range []string{`networkPolicy: {enabled: false}`, `networkPolicy: {extraFrom: [{ipBlock: {cidr: 10.0.0.0/8}}]}`} {
		require.NotContains(t, notes(`{`+exposed+`, `+answered+`}`), "blocks all clients")
	}
}

// The example of the README works.
func TestReadmeExample(t *testing.T) {
	text, err := os.ReadFile(chart + "/README.md")
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(text), "```yaml\n")
	example, _, closed := strings.Cut(rest, "```")
	require.True(t, ok && closed, "there is an example")
	all := render(t, example)
	require.Equal(t, "registry.example/blog/tag:"+appVersion(t), container(t, all, "tag").Image)
	require.Equal(t, "mysql.databases.svc:3306", settingsOf(t, all, "article")["Database"]["Host"])
}
