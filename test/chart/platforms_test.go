package main

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/achilles-blog/achilles/test/manifest"
)

// The ranges of an OpenShift project choose user and group of every pod, whatever else is set.
func TestOpenShift(t *testing.T) {
	for name, values := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			text, problems, err := template(t, helms(t)[0], values, "--set", "openshift=true")
			require.NoError(t, err, problems)
			for key, pod := range podSpecs(decode(t, text)) {
				require.Nil(t, pod.SecurityContext.RunAsUser, key)
				require.Nil(t, pod.SecurityContext.RunAsGroup, key)
				require.Nil(t, pod.SecurityContext.FSGroup, key)
				require.True(t, *pod.SecurityContext.RunAsNonRoot, key)
				for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
					require.Nil(t, c.SecurityContext.RunAsUser, key)
				}
			}
		})
	}
}

// The pods of OpenShift's DNS listen on 5353. Every pod that may ask DNS may ask them.
func TestDNSPorts(t *testing.T) {
	all := render(t, ``)
	for _, component := range []string{"tag", "article", "check"} {
		for _, port := range []int32{53, 5353} {
			require.True(t, admitted(t, all, networkingv1.PolicyTypeEgress, component, endpoint{namespace: "openshift-dns", app: "dns"}, port), component)
		}
	}
}

// The security contexts are values, of which a null removes one.
func TestSecurityContexts(t *testing.T) {
	for _, c := range []struct{ values, pod, container string }{
		{`serviceDefaults: {podSecurityContext: {runAsUser: 1000650000, runAsGroup: null}, containerSecurityContext: {capabilities: {add: [NET_BIND_SERVICE]}}}`,
			`{"runAsNonRoot": true, "runAsUser": 1000650000, "fsGroup": 65532, "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"}}`,
			`{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}`},
		{`serviceDefaults: {podSecurityContext: null, containerSecurityContext: null}`, `null`, `null`},
		{`services: {tag: {podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: null, fsGroupChangePolicy: null, seccompProfile: null}}}`,
			`{"runAsNonRoot": true}`, `{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}}`},
	} {
		pod := podSpecs(render(t, c.values))["Deployment achilles-tag"]
		require.JSONEq(t, c.pod, marshal(t, pod.SecurityContext), c.values)
		for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
			require.JSONEq(t, c.container, marshal(t, container.SecurityContext), c.values)
		}
	}
	all := render(t, `{mariadb: {podSecurityContext: {runAsUser: 1}}, redis: {podSecurityContext: {runAsUser: null}}}`)
	require.EqualValues(t, 1, *podSpecs(all)["StatefulSet achilles-mariadb"].SecurityContext.RunAsUser)
	require.Nil(t, podSpecs(all)["StatefulSet achilles-redis"].SecurityContext.RunAsUser)
}

// Further containers have their places: a sidecar that the database is reached through runs before the migration.
func TestExtraContainers(t *testing.T) {
	all := render(t, matrix(t)["extras"])
	for _, service := range serviceNames(t) {
		pod := podSpecs(all)["Deployment achilles-"+service]
		names := func(containers []corev1.Container) (names []string) {
			for _, c := range containers {
				names = append(names, c.Name)
			}
			return names
		}
		require.Equal(t, []string{"proxy", "migrate"}, names(pod.InitContainers))
		require.Equal(t, corev1.ContainerRestartPolicyAlways, *pod.InitContainers[0].RestartPolicy)
		require.Equal(t, []string{service, "logs"}, names(pod.Containers))
		require.Equal(t, []corev1.HostAlias{{IP: "10.0.0.7", Hostnames: []string{"db.example"}}}, pod.HostAliases)
		require.Equal(t, "ndots", pod.DNSConfig.Options[0].Name)
		require.Nil(t, manifest.Get[appsv1.Deployment](t, all, "achilles-"+service).Spec.Replicas)
	}
	require.Empty(t, podSpecs(all)["StatefulSet achilles-mariadb"].HostAliases)
	require.NotEmpty(t, podSpecs(all)["Pod achilles-check"].HostAliases, "it has the article service's place")
}

func TestServiceFields(t *testing.T) {
	spec := manifest.Get[corev1.Service](t, render(t, matrix(t)["extras"]), "achilles-tag").Spec
	require.Equal(t, corev1.ServiceExternalTrafficPolicyLocal, spec.ExternalTrafficPolicy)
	require.Equal(t, "example.com/balancer", *spec.LoadBalancerClass)
	require.Equal(t, corev1.IPFamilyPolicyPreferDualStack, *spec.IPFamilyPolicy)
	require.Equal(t, "PreferSameZone", *spec.TrafficDistribution)
	spec = manifest.Get[corev1.Service](t, render(t, ``), "achilles-tag").Spec
	require.Empty(t, spec.ExternalTrafficPolicy)
	require.Nil(t, spec.LoadBalancerClass)
	require.Nil(t, spec.IPFamilyPolicy)
	require.Nil(t, spec.TrafficDistribution)
}

// Further rules are for every pod of the release. They don't open what they don't name.
func TestFurtherRules(t *testing.T) {
	all := render(t, `networkPolicy: {extraIngress: [{ports: [{port: 15008}]}], egress: {extra: [{ports: [{port: 15012}]}]}}`)
	other := endpoint{namespace: "istio-system", app: "istiod"}
	for _, component := range []string{"tag", "article", "mariadb", "redis", "check", "anything-new"} {
		require.True(t, admitted(t, all, networkingv1.PolicyTypeEgress, component, other, 15012), component)
		require.False(t, admitted(t, all, networkingv1.PolicyTypeEgress, component, other, 15013), component)
		require.True(t, admitted(t, all, networkingv1.PolicyTypeIngress, component, other, 15008), component)
		require.False(t, admitted(t, all, networkingv1.PolicyTypeIngress, component, other, 15009), component)
	}
	all = render(t, `networkPolicy: {egress: {enabled: false, extra: [{ports: [{port: 15012}]}]}}`)
	manifest.Each(all, func(key string, p *networkingv1.NetworkPolicy) { require.Empty(t, p.Spec.Egress, key) })
}

// The pods of a mesh reach each other, and its control plane, through the policies of the examples.
func TestMeshes(t *testing.T) {
	for _, c := range []struct {
		example, from, to string
		other             endpoint
		port              int32
	}{
		{"linkerd", "article", "tag", endpoint{}, 4143},
		{"linkerd", "tag", "mariadb", endpoint{}, 4143},
		{"linkerd", "check", "article", endpoint{}, 4143},
		{"linkerd", "redis", "", endpoint{namespace: "linkerd", app: "destination"}, 8086},
		{"linkerd", "", "article", endpoint{namespace: "ingress-nginx"}, 4143},
		{"linkerd", "mariadb", "", endpoint{namespace: "kube-system", app: "kube-dns"}, 53},
		{"istio/sidecar", "redis", "", endpoint{namespace: "openshift-dns", app: "dns"}, 5353},
		{"istio/ambient", "article", "tag", endpoint{}, 15008},
		{"istio/ambient", "tag", "redis", endpoint{}, 15008},
		{"istio/ambient", "", "tag", endpoint{address: "169.254.7.127"}, 8080},
		{"istio/sidecar", "mariadb", "", endpoint{namespace: "istio-system", app: "istiod"}, 15012},
		{"istio/sidecar", "article", "tag", endpoint{}, 8080},
	} {
		all := render(t, matrix(t)[c.example])
		from, to := endpoint{component: c.from}, endpoint{component: c.to}
		if c.from == "" {
			from = c.other
		}
		if c.to == "" {
			to = c.other
		}
		if c.from != "" {
			require.True(t, admitted(t, all, networkingv1.PolicyTypeEgress, c.from, to, c.port), "%+v", c)
		}
		if c.to != "" {
			require.True(t, admitted(t, all, networkingv1.PolicyTypeIngress, c.to, from, c.port), "%+v", c)
		}
		require.False(t, admitted(t, all, networkingv1.PolicyTypeIngress, "mariadb", endpoint{namespace: "default", app: "stranger"}, 3306), c.example)
	}
}

// helm test tries what the policies forbid, from a pod of the release and from a stranger, and nothing that they allow.
func TestPolicyPods(t *testing.T) {
	const egress, ingress = "Pod achilles-check-egress", "Pod achilles-check-ingress"
	for _, c := range []struct {
		values          string
		egress, ingress []string
	}{
		{``, []string{"kubernetes.default.svc:443"}, []string{"achilles-tag:80", "achilles-article:80", "achilles-mariadb:3306", "achilles-redis:6379"}},
		{`{` + external + `, redis: {enabled: false}}`, []string{"kubernetes.default.svc:443"}, []string{"achilles-tag:80", "achilles-article:80"}},
		{`networkPolicy: {enabled: false}`, nil, nil},
		{`networkPolicy: {egress: {enabled: false}}`, nil, []string{"achilles-tag:80", "achilles-article:80", "achilles-mariadb:3306", "achilles-redis:6379"}},
		{`networkPolicy: {egress: {extra: [{ports: [{port: 443}]}]}}`, nil, []string{"achilles-tag:80", "achilles-article:80", "achilles-mariadb:3306", "achilles-redis:6379"}},
		{`networkPolicy: {egress: {extra: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]}}`, nil, []string{"achilles-tag:80", "achilles-article:80", "achilles-mariadb:3306", "achilles-redis:6379"}},
		{`networkPolicy: {egress: {extra: [{ports: [{port: 15012}]}]}}`, []string{"kubernetes.default.svc:443"}, []string{"achilles-tag:80", "achilles-article:80", "achilles-mariadb:3306", "achilles-redis:6379"}},
		{`networkPolicy: {extraFrom: [{podSelector: {}}]}`, []string{"kubernetes.default.svc:443"}, []string{"achilles-mariadb:3306", "achilles-redis:6379"}},
		{`networkPolicy: {ingressFrom: [{ipBlock: {cidr: 10.0.0.0/8}}]}`, []string{"kubernetes.default.svc:443"}, []string{"achilles-mariadb:3306", "achilles-redis:6379"}},
		{`networkPolicy: {extraFrom: [{namespaceSelector: {}}]}`, []string{"kubernetes.default.svc:443"}, []string{"achilles-mariadb:3306", "achilles-redis:6379"}},
		{`networkPolicy: {extraIngress: [{ports: [{port: 3000, endPort: 9000}]}]}`, []string{"kubernetes.default.svc:443"}, nil},
		{`networkPolicy: {extraIngress: [{ports: [{port: 15008}]}]}`, []string{"kubernetes.default.svc:443"}, []string{"achilles-tag:80", "achilles-article:80", "achilles-mariadb:3306", "achilles-redis:6379"}},
	} {
		all := render(t, c.values)
		for key, addresses := range map[string][]string{egress: c.egress, ingress: c.ingress} {
			if addresses == nil {
				require.NotContains(t, all, key, c.values)
				continue
			}
			pod := all[key].(*corev1.Pod)
			require.Equal(t, append([]string{"policies"}, addresses...), pod.Spec.Containers[0].Args, c.values)
			require.Equal(t, container(t, all, "article").Image, pod.Spec.Containers[0].Image)
			require.Equal(t, "test", pod.Annotations["helm.sh/hook"])
			require.Equal(t, "1", pod.Annotations["helm.sh/hook-weight"], "after the check, when everything serves")
			require.Empty(t, pod.Spec.Volumes, "it needs no secret")
		}
	}

	// One of them is selected by the policy of the check, the other by none.
	all := render(t, ``)
	manifest.Each(all, func(key string, p *networkingv1.NetworkPolicy) {
		require.False(t, matches(t, &p.Spec.PodSelector, all[ingress].GetLabels()), key)
	})
	check := manifest.Get[networkingv1.NetworkPolicy](t, all, "achilles-check")
	require.True(t, matches(t, &check.Spec.PodSelector, all[egress].GetLabels()))
	for _, service := range serviceNames(t) {
		require.False(t, matches(t, &metav1.LabelSelector{MatchLabels: manifest.Get[corev1.Service](t, all, "achilles-"+service).Spec.Selector}, all[egress].GetLabels()))
	}
}

// Each release has a dashboard of its own.
func TestDashboard(t *testing.T) {
	type dashboard struct{ UID, Title string }
	seen := map[string]bool{}
	for _, c := range []struct{ namespace, values, file, title string }{
		{"blog", `monitoring: {dashboard: {enabled: true}}`, "blog-achilles.json", "Achilles blog/achilles"},
		{"blog", `{fullnameOverride: second, monitoring: {dashboard: {enabled: true}}}`, "blog-second.json", "Achilles blog/second"},
		{"staging", `monitoring: {dashboard: {enabled: true}}`, "staging-achilles.json", "Achilles staging/achilles"},
	} {
		text, problems, err := template(t, helms(t)[0], c.values, "--namespace", c.namespace, "--show-only", "templates/monitoring.yaml")
		require.NoError(t, err, problems)
		manifest.Each(decodeIn(t, c.namespace, text), func(_ string, m *corev1.ConfigMap) {
			require.Len(t, m.Data, 1)
			var got dashboard
			require.NoError(t, json.Unmarshal([]byte(m.Data[c.file]), &got))
			require.Equal(t, c.title, got.Title)
			require.LessOrEqual(t, len(got.UID), 40, "Grafana's maximum")
			require.False(t, seen[got.UID], "another release has it")
			seen[got.UID] = true
		})
	}
	require.Len(t, seen, 3)
}

// Prometheus finds the pods by their annotations or by the PodMonitor, and not twice.
func TestScrapedOnce(t *testing.T) {
	for values, scraped := range map[string]bool{
		``: true, `monitoring: {podAnnotations: false}`: false, `monitoring: {podMonitor: {enabled: true}}`: false,
	} {
		all := render(t, values)
		for _, service := range serviceNames(t) {
			require.Equal(t, scraped, podAnnotations(t, all, service)["prometheus.io/scrape"] == "true", values)
		}
	}
}

// MariaDB has the memory that its limit allows for.
func TestBundledMemory(t *testing.T) {
	args := func(values string) []string {
		return podSpecs(render(t, values))["StatefulSet achilles-mariadb"].Containers[0].Args
	}
	require.Contains(t, args(``), "--innodb-buffer-pool-size=128M")
	require.Contains(t, args(`mariadb: {bufferPoolMiB: 1024}`), "--innodb-buffer-pool-size=1024M")
}
