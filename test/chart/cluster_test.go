package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/achilles-blog/achilles/test/apiserver"
	"github.com/achilles-blog/achilles/test/process"
)

// cluster is an API server that validates the objects of the chart.
type cluster struct{ apiserver.Server }

// read returns an object of the cluster.
func read[T any](t *testing.T, c cluster, namespace, kind, name string) *T {
	t.Helper()
	var into T
	require.NoError(t, json.Unmarshal([]byte(c.Must(t, "", c.Kubectl, "-n", namespace, "get", kind, name, "-o", "json")), &into))
	return &into
}

// An API server accepts the chart in a namespace with the restricted Pod Security Standard.
func TestCluster(t *testing.T) {
	programs := helms(t)
	c := cluster{apiserver.New(t)}
	c.Define(t)
	t.Run("every combination is accepted", func(t *testing.T) { c.acceptsTheMatrix(t, programs[0]) })
	t.Run("the objects of the examples are accepted", func(t *testing.T) { c.acceptsExamples(t) })
	first, last := programs[0], programs[len(programs)-1]
	t.Run("nothing is drawn anew", func(t *testing.T) { c.rendersTheSame(t, first) })
	t.Run("nothing is drawn anew by the other Helm", func(t *testing.T) { c.rendersTheSame(t, last) })
	t.Run("an upgrade changes what was changed", func(t *testing.T) { c.upgrades(t, first, last) })
	t.Run("an upgrade by the other Helm", func(t *testing.T) { c.upgrades(t, last, first) })
	t.Run("changed Secrets replace pods", func(t *testing.T) { c.followsSecrets(t, first) })
	t.Run("a rotated key set is kept", func(t *testing.T) { c.keepsTheKeySet(t, first, last) })
	t.Run("a rotated key set is kept by the other Helm", func(t *testing.T) { c.keepsTheKeySet(t, last, first) })
	t.Run("autoscaling keeps the number of pods", func(t *testing.T) { c.autoscales(t, first, 3) })
	t.Run("autoscaling with Helm 3", func(t *testing.T) { c.autoscales(t, last, 1) })
	t.Run("a claim keeps its password", func(t *testing.T) { c.keepsPasswords(t, last) })
}

// acceptsTheMatrix checks that the API server accepts the objects of each values file without a warning.
func (c cluster) acceptsTheMatrix(t *testing.T, helm string) {
	for name, values := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			space := c.Namespace(t)
			text, problems, err := template(t, helm, values, "--namespace", space)
			require.NoError(t, err, problems)
			if account, _, err := template(t, helm, values, "--namespace", space, "--show-only", "templates/serviceaccount.yaml"); err == nil {
				c.Must(t, account, c.Kubectl, "apply", "--server-side", "-f", "-") // pods are rejected without it
			}
			stdout, stderr, err := c.Run(text, c.Kubectl, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
			require.NoError(t, err, stderr)
			// GKE knows no other way to name the class of an Ingress.
			const class = `Warning: annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead` + "\n"
			require.Empty(t, strings.ReplaceAll(stderr, class, ""), "no warning")
			require.Equal(t, strings.Count("\n"+text, "\nkind: "), strings.Count(stdout, "\n"), "a line for each object")
		})
	}
}

// acceptsExamples checks that the API server accepts the objects in the examples, if their custom resources can be had.
func (c cluster) acceptsExamples(t *testing.T) {
	files, err := filepath.Glob(examples + "/*/*.yaml")
	require.NoError(t, err)
	accepted := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "values.yaml") {
			continue
		}
		relative, err := filepath.Rel(examples, file)
		require.NoError(t, err)
		for key, object := range example(t, relative) {
			kind, _, _ := strings.Cut(key, " ")
			switch kind {
			case "BackendConfig", "HealthCheckPolicy", "GCPBackendPolicy", "HelmRelease": // no module has them
				continue
			}
			object.SetNamespace("default")
			stdout, stderr, err := c.Run(marshal(t, object), c.Kubectl, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
			require.NoError(t, err, "%s: %s", key, stderr)
			require.Contains(t, stdout, "serverside-applied", key)
			accepted[kind] = true
		}
	}
	for _, kind := range []string{"Application", "OCIRepository", "Rollout", "ScaledObject", "VerticalPodAutoscaler"} {
		require.True(t, accepted[kind], kind)
	}
}

// rendersTheSame checks that a release whose Secrets exist is rendered the same each time: none is drawn anew.
func (c cluster) rendersTheSame(t *testing.T, helm string) {
	space := c.Namespace(t)
	rendered := func() string {
		return c.Must(t, "", helm, "template", "achilles", chart, "-n", space, "--dry-run=server")
	}
	require.NotEqual(t, rendered(), rendered(), "new for each installation")
	c.Must(t, "", helm, "install", "achilles", chart, "-n", space)
	require.Equal(t, rendered(), rendered())
}

// upgrades checks that upgrades and a rollback keep generated Secrets and replace pods only if their settings change.
func (c cluster) upgrades(t *testing.T, installer, upgrader string) {
	space := c.Namespace(t)
	upgrade := func(values string) {
		c.Must(t, values, upgrader, "upgrade", "achilles", chart, "-n", space, "-f", "-")
	}
	generation := func(service string) int64 {
		return read[appsv1.Deployment](t, c, space, "deployment", "achilles-"+service).Generation
	}
	secrets := func() (all []map[string][]byte) {
		for _, name := range []string{"achilles-mariadb", "achilles-redis", "achilles-feed", "achilles-auth"} {
			all = append(all, read[corev1.Secret](t, c, space, "secret", name).Data)
		}
		return all
	}
	notes := c.Must(t, "", installer, "install", "achilles", chart, "-n", space)
	for _, says := range []string{
		"helm test achilles --namespace " + space, "port-forward service/achilles-article", "rollout restart deployment/achilles-tag",
		"WARNING: the bundled MariaDB and Redis of this release are for evaluation", "ALL DATA IS LOST WHEN THE POD achilles-mariadb-0 IS DELETED",
	} {
		require.Contains(t, notes, says)
	}
	generated := secrets()
	mariadb := read[appsv1.StatefulSet](t, c, space, "statefulset", "achilles-mariadb").Generation
	upgrade(`{}`)
	upgrade(`logLevel: debug`)
	require.Contains(t, read[corev1.ConfigMap](t, c, space, "configmap", "achilles-tag").Data["settings.yaml"], "Level: debug")
	require.EqualValues(t, 1, generation("tag"), "nothing that requires new pods has changed")
	require.EqualValues(t, 1, generation("article"))
	upgrade(`services: {tag: {config: {Health: {Strict: true}}}}`)
	require.EqualValues(t, 2, generation("tag"))
	require.EqualValues(t, 1, generation("article"))
	upgrade(`{services: {article: {autoscaling: {enabled: true}}}, ingress: {enabled: true}, networkPolicy: {enabled: false}}`)
	require.Equal(t, generated, secrets(), "generated once and kept")
	require.Equal(t, mariadb, read[appsv1.StatefulSet](t, c, space, "statefulset", "achilles-mariadb").Generation, "its data would be lost")
	c.Must(t, "", upgrader, "rollback", "achilles", "1", "-n", space)
	require.Equal(t, generated, secrets())
	c.Must(t, "", upgrader, "uninstall", "achilles", "-n", space)
	require.Equal(t, "secret/achilles-auth\n", c.Must(t, "", c.Kubectl, "-n", space, "get", "secrets,statefulsets,deployments,configmaps", "-l", "app.kubernetes.io/instance=achilles", "-o", "name"),
		"as the README says")
}

// keepsTheKeySet rotates the generated key set, as the README says. Upgrades and rollbacks keep it, because tokens are signed
// with the new key by then, and don't replace pods.
func (c cluster) keepsTheKeySet(t *testing.T, installer, upgrader string) {
	space := c.Namespace(t)
	keySet := func() string {
		return string(read[corev1.Secret](t, c, space, "secret", "achilles-auth").Data["keys.yaml"])
	}
	c.Must(t, "", installer, "install", "achilles", chart, "-n", space)
	first := filepath.Join(t.TempDir(), "keys.yaml")
	require.NoError(t, os.WriteFile(first, []byte(keySet()), 0o600))
	p, exit := process.Run(t, process.Service(t, "article"), nil, "key", "rotate", first)
	require.Zero(t, exit, p.Stderr())
	rotated := p.Stdout()
	text := c.Must(t, rotated, c.Kubectl, "-n", space, "create", "secret", "generic", "achilles-auth", "--from-file=keys.yaml=/dev/stdin", "--dry-run=client", "-o", "yaml")
	c.Must(t, text, c.Kubectl, "-n", space, "apply", "--server-side", "--force-conflicts", "-f", "-")
	require.Equal(t, rotated, keySet())
	require.Contains(t, read[corev1.Secret](t, c, space, "secret", "achilles-auth").Labels, "app.kubernetes.io/instance")
	c.Must(t, "", upgrader, "upgrade", "achilles", chart, "-n", space)
	require.Equal(t, rotated, keySet())
	c.Must(t, "", upgrader, "rollback", "achilles", "1", "-n", space)
	require.Equal(t, rotated, keySet())
	for _, service := range serviceNames(t) {
		require.EqualValues(t, 1, read[appsv1.Deployment](t, c, space, "deployment", "achilles-"+service).Generation)
	}
	c.Must(t, "", upgrader, "uninstall", "achilles", "-n", space)
	c.Must(t, "", installer, "install", "achilles", chart, "-n", space)
	require.Equal(t, rotated, keySet(), "kept for the next installation")
}

// followsSecrets checks that an upgrade replaces the pods that read an existing Secret after it has changed.
func (c cluster) followsSecrets(t *testing.T, helm string) {
	space := c.Namespace(t)
	values := `{mariadb: {enabled: false}, redis: {enabled: false}, database: {host: db, existingSecret: a}, services: {article: {database: {existingSecret: b}}}}`
	secret := func(name, password string) {
		text := c.Must(t, "", c.Kubectl, "-n", space, "create", "secret", "generic", name, "--from-literal=tag-password="+password, "--from-literal=article-password="+password, "--dry-run=client", "-o", "yaml")
		c.Must(t, text, c.Kubectl, "-n", space, "apply", "-f", "-")
	}
	generations := func() [2]int64 {
		return [2]int64{
			read[appsv1.Deployment](t, c, space, "deployment", "achilles-tag").Generation,
			read[appsv1.Deployment](t, c, space, "deployment", "achilles-article").Generation,
		}
	}
	upgrade := func() { c.Must(t, values, helm, "upgrade", "--install", "achilles", chart, "-n", space, "-f", "-") }
	secret("a", "first")
	secret("b", "first")
	upgrade()
	upgrade()
	require.Equal(t, [2]int64{1, 1}, generations())
	secret("b", "second")
	upgrade()
	require.Equal(t, [2]int64{1, 2}, generations())
}

// autoscales scales a release and then enables autoscaling: it has the number of pods that the README says.
func (c cluster) autoscales(t *testing.T, helm string, replicas int) {
	space := c.Namespace(t)
	c.Must(t, "", helm, "install", "achilles", chart, "-n", space)
	c.Must(t, "", c.Kubectl, "-n", space, "scale", "deployment/achilles-tag", "--replicas=3")
	c.Must(t, `serviceDefaults: {autoscaling: {enabled: true}}`, helm, "upgrade", "achilles", chart, "-n", space, "-f", "-")
	require.EqualValues(t, replicas, *read[appsv1.Deployment](t, c, space, "deployment", "achilles-tag").Spec.Replicas)
	require.EqualValues(t, 1, *read[appsv1.Deployment](t, c, space, "deployment", "achilles-article").Spec.Replicas, "which nobody scaled")
}

// keepsPasswords checks that a claim and the password for its data are kept for the next installation.
func (c cluster) keepsPasswords(t *testing.T, helm string) {
	space := c.Namespace(t)
	install := func() {
		c.Must(t, "", helm, "install", "achilles", chart, "-n", space, "--set", "mariadb.persistence.enabled=true")
	}
	install()
	before := read[corev1.Secret](t, c, space, "secret", "achilles-mariadb").Data
	c.Must(t, "", helm, "uninstall", "achilles", "-n", space)
	read[corev1.PersistentVolumeClaim](t, c, space, "pvc", "achilles-mariadb")
	install()
	require.Equal(t, before, read[corev1.Secret](t, c, space, "secret", "achilles-mariadb").Data)
}
