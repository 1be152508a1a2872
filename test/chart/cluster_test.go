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

// cluster is an API server that judges what the chart makes.
type cluster struct{ apiserver.Server }

// read returns an object of the cluster.
func read[T any](t *testing.T, c cluster, namespace, kind, name string) *T {
	t.Helper()
	var into T
	require.NoError(t, json.Unmarshal([]byte(c.Must(t, "", c.Kubectl, "-n", namespace, "get", kind, name, "-o", "json")), &into))
	return &into
}

// What a real API server says of the chart, in a namespace with the strictest standard for pods.
func TestCluster(t *testing.T) {
	programs := helms(t)
	c := cluster{apiserver.New(t)}
	c.Define(t)
	t.Run("every combination is accepted", func(t *testing.T) { c.acceptsTheMatrix(t, programs[0]) })
	first, last := programs[0], programs[len(programs)-1]
	t.Run("an upgrade changes what was changed", func(t *testing.T) { c.upgrades(t, first, last) })
	t.Run("an upgrade by the other Helm", func(t *testing.T) { c.upgrades(t, last, first) })
	t.Run("pods roll with the secrets of others", func(t *testing.T) { c.followsSecrets(t, first) })
	t.Run("a rotated key set stays", func(t *testing.T) { c.keepsTheKeySet(t, first, last) })
	t.Run("and with the other Helm", func(t *testing.T) { c.keepsTheKeySet(t, last, first) })
	t.Run("autoscaling takes over what was scaled before", func(t *testing.T) { c.autoscales(t, first, 3) })
	t.Run("and with Helm 3 what is scaled after", func(t *testing.T) { c.autoscales(t, last, 1) })
	t.Run("a claim keeps its password", func(t *testing.T) { c.keepsPasswords(t, last) })
}

// acceptsTheMatrix has the API server look at what each values file leads to: it takes all of it, without a warning.
func (c cluster) acceptsTheMatrix(t *testing.T, helm string) {
	for name, values := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			space := c.Namespace(t)
			text, problems, err := template(t, helm, values, "--namespace", space)
			require.NoError(t, err, problems)
			if account, _, err := template(t, helm, values, "--namespace", space, "--show-only", "templates/serviceaccount.yaml"); err == nil {
				c.Must(t, account, c.Kubectl, "apply", "--server-side", "-f", "-") // pods are refused without it
			}
			stdout, stderr, err := c.Run(text, c.Kubectl, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
			require.NoError(t, err, stderr)
			require.Empty(t, stderr, "no warning")
			require.Equal(t, strings.Count("\n"+text, "\nkind: "), strings.Count(stdout, "\n"), "a line for each object")
		})
	}
}

// upgrades follows a release from its installation: what is generated once stays, and pods roll for a reason only.
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
	require.EqualValues(t, 1, generation("tag"), "nothing that pods have to restart for has changed")
	require.EqualValues(t, 1, generation("article"))
	upgrade(`services: {tag: {config: {Health: {Strict: true}}}}`)
	require.EqualValues(t, 2, generation("tag"))
	require.EqualValues(t, 1, generation("article"))
	upgrade(`{services: {article: {autoscaling: {enabled: true}}}, ingress: {enabled: true}, networkPolicy: {enabled: false}}`)
	require.Equal(t, generated, secrets(), "generated once and kept")
	require.Equal(t, mariadb, read[appsv1.StatefulSet](t, c, space, "statefulset", "achilles-mariadb").Generation, "its data would be gone")
	c.Must(t, "", upgrader, "rollback", "achilles", "1", "-n", space)
	require.Equal(t, generated, secrets())
	c.Must(t, "", upgrader, "uninstall", "achilles", "-n", space)
	require.Equal(t, "secret/achilles-auth\n", c.Must(t, "", c.Kubectl, "-n", space, "get", "secrets,statefulsets,deployments,configmaps", "-l", "app.kubernetes.io/instance=achilles", "-o", "name"),
		"as the README says")
}

// keepsTheKeySet rotates the key set that the chart has made, as the README says. An upgrade and a rollback leave it so, and no
// pod is replaced for it: tokens are signed with the new key by then.
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
	require.Equal(t, rotated, keySet(), "what the next installation finds")
}

// followsSecrets changes a Secret that the chart doesn't own: the next upgrade rolls the pods that read it.
func (c cluster) followsSecrets(t *testing.T, helm string) {
	space := c.Namespace(t)
	values := `{mariadb: {enabled: false}, redis: {enabled: false}, database: {host: db, existingSecret: a}, services: {article: {database: {existingSecret: b}}}}`
	secret := func(name, password string) {
		text := c.Must(t, "", c.Kubectl, "-n", space, "create", "secret", "generic", name, "--from-literal=password="+password, "--dry-run=client", "-o", "yaml")
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

// autoscales scales a release and then turns autoscaling on, after which it has the replicas that the README says.
func (c cluster) autoscales(t *testing.T, helm string, replicas int) {
	space := c.Namespace(t)
	c.Must(t, "", helm, "install", "achilles", chart, "-n", space)
	c.Must(t, "", c.Kubectl, "-n", space, "scale", "deployment/achilles-tag", "--replicas=3")
	c.Must(t, `serviceDefaults: {autoscaling: {enabled: true}}`, helm, "upgrade", "achilles", chart, "-n", space, "-f", "-")
	require.EqualValues(t, replicas, *read[appsv1.Deployment](t, c, space, "deployment", "achilles-tag").Spec.Replicas)
	require.EqualValues(t, 1, *read[appsv1.Deployment](t, c, space, "deployment", "achilles-article").Spec.Replicas, "which nobody scaled")
}

// keepsPasswords takes a release away and installs it again: its claim is still there, and so is the password for what is on it.
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
