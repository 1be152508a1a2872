package main

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/achilles-blog/achilles/test/manifest"
)

// endpoint is a side of a connection: a pod of the release, another pod, or an address outside of the cluster.
type endpoint struct {
	component string // of the release
	namespace string // of another pod; empty for the namespace of the release
	app       string // label app of another pod
	address   string // outside of the cluster
}

func (e endpoint) pod() (labels.Set, bool) {
	if e.component != "" {
		return labels.Set{"app.kubernetes.io/name": "achilles", "app.kubernetes.io/instance": "achilles", "app.kubernetes.io/component": e.component}, true
	}
	return labels.Set{"app": e.app, "app.kubernetes.io/name": e.app}, e.address == ""
}

func (e endpoint) isPeer(t *testing.T, peer networkingv1.NetworkPolicyPeer) bool {
	pod, isPod := e.pod()
	if peer.IPBlock != nil {
		return !isPod && netip.MustParsePrefix(peer.IPBlock.CIDR).Contains(netip.MustParseAddr(e.address))
	}
	if !isPod {
		return false
	}
	inNamespace := e.namespace == ""
	if peer.NamespaceSelector != nil {
		name := e.namespace
		if name == "" {
			name = namespace
		}
		inNamespace = matches(t, peer.NamespaceSelector, labels.Set{"kubernetes.io/metadata.name": name})
	}
	return inNamespace && (peer.PodSelector == nil || matches(t, peer.PodSelector, pod))
}

func matches(t *testing.T, selector *metav1.LabelSelector, set labels.Set) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	require.NoError(t, err)
	return parsed.Matches(set)
}

// admitted reports whether the policies allow a connection to the pod of a component, or from it.
func admitted(t *testing.T, all manifest.Objects, direction networkingv1.PolicyType, component string, other endpoint, port int32) bool {
	t.Helper()
	restricted, ok := false, false
	own, _ := endpoint{component: component}.pod()
	manifest.Each(all, func(_ string, policy *networkingv1.NetworkPolicy) {
		if !slices.Contains(policy.Spec.PolicyTypes, direction) || !matches(t, &policy.Spec.PodSelector, own) {
			return
		}
		restricted = true
		if direction == networkingv1.PolicyTypeIngress {
			for _, rule := range policy.Spec.Ingress {
				ok = ok || allows(t, rule.From, rule.Ports, other, port)
			}
			return
		}
		for _, rule := range policy.Spec.Egress {
			ok = ok || allows(t, rule.To, rule.Ports, other, port)
		}
	})
	return ok || !restricted
}

func allows(t *testing.T, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, other endpoint, port int32) bool {
	return (len(peers) == 0 || slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool { return other.isPeer(t, p) })) &&
		(len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port == nil || p.Port.IntVal == port }))
}

// Each client is tried with each pod and port.
func TestAllowedClients(t *testing.T) {
	all := render(t, ``)
	who := map[string]endpoint{
		"ingress-nginx": {namespace: "ingress-nginx", app: "controller"},
		"traefik":       {namespace: "kube-system", app: "traefik"},
		"dns":           {namespace: "kube-system", app: "kube-dns"},
		"prometheus":    {namespace: "monitoring", app: "prometheus"},
		"stranger":      {namespace: "default", app: "shell"},
		"neighbour":     {app: "shell"},
		"namesake":      {namespace: "other", app: "achilles"},
		"internet":      {address: "203.0.113.7"},
		"tag":           {component: "tag"}, "article": {component: "article"}, "check": {component: "check"},
		"mariadb": {component: "mariadb"}, "redis": {component: "redis"},
	}
	want := map[string][]string{
		"tag 8080":     {"article", "check", "ingress-nginx", "traefik"},
		"tag 9090":     {"prometheus"},
		"article 8080": {"check", "ingress-nginx", "traefik"},
		"article 9090": {"prometheus"},
		"mariadb 3306": {"article", "tag"},
		"redis 6379":   {"article", "tag"},
	}
	ports := map[string]int32{"8080": 8080, "9090": 9090, "3306": 3306, "6379": 6379, "22": 22}
	for _, component := range []string{"tag", "article", "mariadb", "redis", "check", "anything-new"} {
		for name, port := range ports {
			var in []string
			for from, other := range who {
				if admitted(t, all, networkingv1.PolicyTypeIngress, component, other, port) {
					in = append(in, from)
				}
			}
			slices.Sort(in)
			require.Equal(t, want[component+" "+name], in, "%s port %s", component, name)
		}
	}
}

func TestAllowedServers(t *testing.T) {
	all := render(t, ``)
	for _, c := range []struct {
		component string
		to        endpoint
		port      int32
		ok        bool
	}{
		{"tag", endpoint{component: "mariadb"}, 3306, true},
		{"tag", endpoint{component: "redis"}, 6379, true},
		{"tag", endpoint{component: "article"}, 8080, false},
		{"tag", endpoint{namespace: "kube-system", app: "kube-dns"}, 53, true},
		{"tag", endpoint{address: "169.254.20.10"}, 53, true},
		{"tag", endpoint{address: "203.0.113.7"}, 443, false},
		{"tag", endpoint{address: "203.0.113.7"}, 3306, false},
		{"article", endpoint{component: "mariadb"}, 3306, true},
		{"article", endpoint{component: "redis"}, 6379, true},
		{"article", endpoint{component: "redis"}, 8080, false},
		{"article", endpoint{component: "tag"}, 8080, true},
		{"article", endpoint{component: "tag"}, 9090, false},
		{"check", endpoint{component: "tag"}, 8080, true},
		{"check", endpoint{component: "article"}, 8080, true},
		{"check", endpoint{component: "mariadb"}, 3306, false},
		{"mariadb", endpoint{address: "203.0.113.7"}, 443, false},
		{"mariadb", endpoint{namespace: "kube-system", app: "kube-dns"}, 53, false},
		{"redis", endpoint{component: "tag"}, 8080, false},
	} {
		require.Equal(t, c.ok, admitted(t, all, networkingv1.PolicyTypeEgress, c.component, c.to, c.port), "%+v", c)
	}
}

func TestAllowedExternalServers(t *testing.T) {
	values := `{mariadb: {enabled: false}, redis: {enabled: false}, database: {host: db, port: 3307, existingSecret: db}, externalRedis: {host: r, port: 6380}`
	egress := networkingv1.PolicyTypeEgress
	anywhere, inside := endpoint{address: "203.0.113.7"}, endpoint{address: "10.20.1.1"}

	all := render(t, values+`, tracing: {endpoint: "https://otel.example"}}`)
	require.True(t, admitted(t, all, egress, "tag", anywhere, 3307))
	require.True(t, admitted(t, all, egress, "tag", anywhere, 6380))
	require.True(t, admitted(t, all, egress, "tag", anywhere, 443), "traces")
	require.True(t, admitted(t, all, egress, "tag", endpoint{namespace: "databases", app: "mysql"}, 3307))
	require.False(t, admitted(t, all, egress, "tag", anywhere, 3306))
	require.True(t, admitted(t, all, egress, "article", anywhere, 3307))
	require.True(t, admitted(t, all, egress, "article", anywhere, 6380))

	all = render(t, values+`, networkPolicy: {egress: {externalCIDRs: [10.20.0.0/16], extra: [{ports: [{port: 8443}]}]}}}`)
	require.True(t, admitted(t, all, egress, "tag", inside, 3307))
	require.False(t, admitted(t, all, egress, "tag", anywhere, 3307))
	require.False(t, admitted(t, all, egress, "tag", anywhere, 6380))
	require.False(t, admitted(t, all, egress, "article", anywhere, 6380))
	require.True(t, admitted(t, all, egress, "article", anywhere, 8443))

	all = render(t, `{redis: {enabled: false}, externalRedis: {addresses: ["a:26379", "b:26380"], masterName: m, port: 6390}}`)
	for port, want := range map[int32]bool{26379: true, 26380: true, 6390: true, 6379: false} {
		require.Equal(t, want, admitted(t, all, egress, "tag", anywhere, port), port)
	}

	all = render(t, `networkPolicy: {egress: {enabled: false}}`)
	require.True(t, admitted(t, all, egress, "tag", anywhere, 443))
	require.False(t, admitted(t, all, networkingv1.PolicyTypeIngress, "mariadb", anywhere, 3306))
}

func TestTracingPort(t *testing.T) {
	for endpointURL, port := range map[string]int32{"http://otel:4318": 4318, "http://otel/collector": 80, "https://otel.example": 443, "http://[fd00::1]:9999/x": 9999} {
		all := render(t, `tracing: {endpoint: "`+endpointURL+`"}`)
		require.True(t, admitted(t, all, networkingv1.PolicyTypeEgress, "article", endpoint{address: "203.0.113.7"}, port), endpointURL)
	}
}

func TestNetworkPolicyPeers(t *testing.T) {
	all := render(t, `networkPolicy: {ingressFrom: [{ipBlock: {cidr: 10.0.0.0/8}}], prometheusFrom: [], extraFrom: [{podSelector: {matchLabels: {app: crawler}}}]}`)
	in := networkingv1.PolicyTypeIngress
	require.True(t, admitted(t, all, in, "article", endpoint{address: "10.1.1.1"}, 8080))
	require.True(t, admitted(t, all, in, "article", endpoint{app: "crawler"}, 8080))
	require.False(t, admitted(t, all, in, "article", endpoint{namespace: "ingress-nginx"}, 8080))
	require.False(t, admitted(t, all, in, "article", endpoint{namespace: "monitoring"}, 9090), "an empty list allows no client")
}

// route returns the backend of a path as an ingress controller does: that of the longest prefix of path elements.
func route(prefixes map[string]string, path string) string {
	longest, backend := "", ""
	for prefix, to := range prefixes {
		if (path == prefix || strings.HasPrefix(path, prefix+"/")) && len(prefix) > len(longest) {
			longest, backend = prefix, to
		}
	}
	return backend
}

func ingressRoutes(t *testing.T, ingress *networkingv1.Ingress, host string) map[string]string {
	t.Helper()
	routes := map[string]string{}
	for _, rule := range ingress.Spec.Rules {
		if rule.Host != host {
			continue
		}
		for _, path := range rule.HTTP.Paths {
			require.Equal(t, networkingv1.PathTypePrefix, *path.PathType)
			require.Equal(t, "http", path.Backend.Service.Port.Name)
			routes[path.Path] = path.Backend.Service.Name
		}
	}
	require.Nil(t, ingress.Spec.DefaultBackend, "other paths are not routed")
	return routes
}

// httpRoute has the tested fields of the Gateway API's object.
type httpRoute struct {
	Spec struct {
		ParentRefs []map[string]any
		Hostnames  []string
		Rules      []struct {
			Matches []struct {
				Path struct{ Type, Value string }
			}
			Timeouts    map[string]string
			BackendRefs []backend
		}
	}
}

// backend is a Service that gets a share of a rule's requests.
type backend struct {
	Name   string
	Port   int
	Weight *int
}

func weight(w int) *int { return &w }

// backends returns the backends of each rule of the HTTPRoute.
func backends(t testing.TB, all manifest.Objects) (rules [][]backend) {
	t.Helper()
	for _, rule := range parseRoute(t, all).Spec.Rules {
		rules = append(rules, rule.BackendRefs)
	}
	return rules
}

func parseRoute(t testing.TB, all manifest.Objects) (parsed httpRoute) {
	t.Helper()
	require.Contains(t, all, "HTTPRoute achilles")
	text, err := yaml.Marshal(all["HTTPRoute achilles"])
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(text, &parsed))
	return parsed
}

func gatewayRoutes(t *testing.T, all manifest.Objects) (httpRoute, map[string]string) {
	t.Helper()
	parsed := parseRoute(t, all)
	routes := map[string]string{}
	for _, rule := range parsed.Spec.Rules {
		require.Len(t, rule.BackendRefs, 1)
		require.Equal(t, 80, rule.BackendRefs[0].Port)
		for _, match := range rule.Matches {
			require.Equal(t, "PathPrefix", match.Path.Type)
			routes[match.Path.Value] = rule.BackendRefs[0].Name
		}
	}
	return parsed, routes
}

// Only the API and its descriptions are public, and not the feed, the probes and the metrics.
func TestPublicRoutes(t *testing.T) {
	all := render(t, `{ingress: {enabled: true}, gateway: {enabled: true, parentRefs: [{name: public}]}}`)
	_, byGateway := gatewayRoutes(t, all)
	for name, routes := range map[string]map[string]string{
		"ingress": ingressRoutes(t, manifest.Get[networkingv1.Ingress](t, all, "achilles"), ""), "gateway": byGateway,
	} {
		for path, backend := range map[string]string{
			"/api/v1/tags": "achilles-tag", "/api/v1/tags/7": "achilles-tag", "/swagger/tag/": "achilles-tag", "/swagger/tag": "achilles-tag",
			"/api/v1/articles": "achilles-article", "/api/v1/articles/7/state": "achilles-article", "/swagger/article/openapi.json": "achilles-article",
			"/auth": "achilles-article", "/authx": "", "/api/v1/auth": "",
			"/": "", "/internal/v1/tag-changes": "", "/internal": "", "/internal/v1/tag-snapshot": "", "/healthz": "", "/readyz": "", "/version": "",
			"/metrics": "", "/debug/pprof/": "", "/api/v1/tagsx": "", "/api/v1": "", "/swagger": "",
		} {
			require.Equal(t, backend, route(routes, path), "%s %s", name, path)
		}
	}
}

func TestIngress(t *testing.T) {
	require.NotContains(t, render(t, ``), "Ingress achilles")
	ingress := manifest.Get[networkingv1.Ingress](t, render(t, `ingress: {enabled: true}`), "achilles")
	require.Nil(t, ingress.Spec.IngressClassName)
	require.Empty(t, ingress.Spec.TLS)

	ingress = manifest.Get[networkingv1.Ingress](t, render(t, `ingress: {enabled: true, className: nginx, annotations: {a: b}, hosts: [a.example, b.example], tls: [{secretName: s, hosts: [a.example]}]}`), "achilles")
	require.Equal(t, "nginx", *ingress.Spec.IngressClassName)
	require.Equal(t, "b", ingress.Annotations["a"])
	require.Equal(t, []networkingv1.IngressTLS{{SecretName: "s", Hosts: []string{"a.example"}}}, ingress.Spec.TLS)
	require.Len(t, ingress.Spec.Rules, 2)
	require.Equal(t, ingressRoutes(t, ingress, "a.example"), ingressRoutes(t, ingress, "b.example"))
	require.Len(t, ingressRoutes(t, ingress, "b.example"), 6)
}

func TestGateway(t *testing.T) {
	require.NotContains(t, render(t, ``), "HTTPRoute achilles")
	parsed, _ := gatewayRoutes(t, render(t, matrix(t)["gateway"]))
	require.Equal(t, []string{"blog.example", "*.blog.example"}, parsed.Spec.Hostnames)
	require.Equal(t, []map[string]any{{"name": "public", "namespace": "gateways", "sectionName": "https"}}, parsed.Spec.ParentRefs)
}

// The gateway gives up later than the services, by the standard fields.
func TestGatewayTimeouts(t *testing.T) {
	route := `gateway: {enabled: true, parentRefs: [{name: public}]`
	for values, want := range map[string]map[string]string{
		route + `}`: {"request": "150s", "backendRequest": "150s"}, route + `, timeoutSeconds: 40}`: {"request": "40s", "backendRequest": "40s"},
		route + `, timeoutSeconds: 0}`: {"request": "0s", "backendRequest": "0s"}, route + `, timeoutSeconds: null}`: nil,
		route + "}\nfiles: {storage: s3, s3: {url: \"s3://files\"}}\nrollout: {shutdownSeconds: 63}": {"request": "150s", "backendRequest": "150s"},
	} {
		rules := parseRoute(t, render(t, values)).Spec.Rules
		require.Len(t, rules, len(serviceNames(t)))
		for _, rule := range rules {
			require.Equal(t, want, rule.Timeouts, values)
		}
	}
}

// A canary gets its share of a service's requests, and of no other's.
func TestCanary(t *testing.T) {
	all := render(t, `{gateway: {enabled: true, parentRefs: [{name: public}]}, services: {tag: {canary: {service: next-tag, weight: 5}}}}`)
	require.Equal(t, [][]backend{{{"achilles-tag", 80, weight(95)}, {"next-tag", 80, weight(5)}}, {{"achilles-article", 80, nil}}}, backends(t, all))
}

// No Service has the admin port.
func TestServices(t *testing.T) {
	all := render(t, `services: {tag: {service: {type: NodePort, annotations: {a: b}}}}`)
	for service, kind := range map[string]corev1.ServiceType{"tag": corev1.ServiceTypeNodePort, "article": corev1.ServiceTypeClusterIP} {
		object := manifest.Get[corev1.Service](t, all, "achilles-"+service)
		require.Equal(t, kind, object.Spec.Type)
		require.Len(t, object.Spec.Ports, 1)
		require.EqualValues(t, 80, object.Spec.Ports[0].Port)
		require.Equal(t, "http", object.Spec.Ports[0].TargetPort.StrVal)
		require.Equal(t, service, object.Spec.Selector["app.kubernetes.io/component"])
	}
	require.Equal(t, "b", manifest.Get[corev1.Service](t, all, "achilles-tag").Annotations["a"])
}
