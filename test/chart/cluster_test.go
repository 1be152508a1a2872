package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/achilles-blog/achilles/test/process"
)

// The custom resources that optional parts of the chart are: the module that brings their definitions, and the files there.
// The API server itself needs none of the code.
var definitions = map[string][]string{
	"sigs.k8s.io/gateway-api@v1.6.3": {
		"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
	},
	"github.com/prometheus-operator/prometheus-operator@v0.85.0": {
		"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
		"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
	},
}

// cluster is an API server to speak to, by kubectl and Helm.
type cluster struct{ kubeconfig, kubectl string }

// newCluster takes the cluster that KUBECONFIG names; else it starts an API server and its etcd, which is all that judging
// and keeping objects takes, from what the cluster tool named in CLUSTER has built.
func newCluster(t *testing.T) cluster {
	t.Helper()
	if config := os.Getenv("KUBECONFIG"); config != "" {
		return cluster{config, process.Installed(t, "kubectl")}
	}
	tool := os.Getenv("CLUSTER")
	if _, err := os.Stat(tool); tool == "" || err != nil {
		skip(t, "needs an API server: set KUBECONFIG to a cluster that may be written to, or CLUSTER to the cluster tool")
	}
	environment, problems, err := runProgram(t, "", tool, "env")
	require.NoError(t, err, problems)
	bin := ""
	for line := range strings.Lines(environment) {
		if path, ok := strings.CutPrefix(line, "export PATH="); ok {
			bin, _, _ = strings.Cut(path, ":")
		}
	}
	for _, program := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			skip(t, "needs "+program+": "+tool+" build makes it")
		}
	}
	return startAPIServer(t, bin)
}

// skip leaves a test out, where that is allowed.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("ACHILLES_TEST_REQUIRE") == "all" {
		t.Fatalf("%s; ACHILLES_TEST_REQUIRE=all allows nothing to be left out", why)
	}
	t.Skip(why)
}

func startAPIServer(t *testing.T, bin string) cluster {
	t.Helper()
	dir := t.TempDir()
	etcd, peers, port := freePort(t), freePort(t), freePort(t)
	etcdURL := "http://127.0.0.1:" + etcd
	process.Start(t, filepath.Join(bin, "etcd"), nil, "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
		"--listen-client-urls", etcdURL, "--advertise-client-urls", etcdURL, "--listen-peer-urls", "http://127.0.0.1:"+peers)
	write(t, filepath.Join(dir, "key.pem"), newKey(t))
	write(t, filepath.Join(dir, "tokens.csv"), "secret,admin,admin,system:masters\n")
	process.Start(t, filepath.Join(bin, "kube-apiserver"), nil, "--etcd-servers", etcdURL, "--bind-address", "127.0.0.1", "--secure-port", port,
		"--cert-dir", dir, "--token-auth-file", filepath.Join(dir, "tokens.csv"), "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/24",
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-key-file", filepath.Join(dir, "key.pem"), "--service-account-signing-key-file", filepath.Join(dir, "key.pem"),
		"--disable-admission-plugins", "ServiceAccount", "-v", "0") // nobody is there who would make the accounts
	c := cluster{filepath.Join(dir, "kubeconfig"), filepath.Join(bin, "kubectl")}
	write(t, c.kubeconfig, `{apiVersion: v1, kind: Config, current-context: it, contexts: [{name: it, context: {cluster: it, user: it}}],
		users: [{name: it, user: {token: secret}}], clusters: [{name: it, cluster: {server: "https://127.0.0.1:`+port+`", insecure-skip-tls-verify: true}}]}`)
	process.Await(t, "the API server", func() bool {
		_, _, err := c.run(t, "", c.kubectl, "get", "--raw", "/readyz")
		return err == nil
	})
	return c
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	return port
}

func newKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

func write(t *testing.T, file, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
}

func (c cluster) run(t *testing.T, stdin, program string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	return runProgram(t, stdin, "env", append([]string{"KUBECONFIG=" + c.kubeconfig, program}, args...)...)
}

// must runs a program that has to succeed.
func (c cluster) must(t *testing.T, stdin, program string, args ...string) string {
	t.Helper()
	stdout, stderr, err := c.run(t, stdin, program, args...)
	require.NoError(t, err, "%s %s: %s%s", filepath.Base(program), strings.Join(args, " "), stdout, stderr)
	return stdout
}

// namespace makes a namespace that refuses, and warns about, every pod that isn't restricted.
func (c cluster) namespace(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("chart-test-%d", time.Now().UnixNano())
	c.must(t, "", c.kubectl, "create", "namespace", name)
	t.Cleanup(func() { c.must(t, "", c.kubectl, "delete", "namespace", name, "--wait=false") })
	c.must(t, "", c.kubectl, "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/warn=restricted")
	return name
}

// define brings the custom resources that the cluster lacks.
func (c cluster) define(t *testing.T) {
	t.Helper()
	for module, files := range definitions {
		var downloaded struct{ Dir, Error string }
		out, err := exec.Command("go", "mod", "download", "-json", module).Output()
		require.NoError(t, json.Unmarshal(out, &downloaded), "go mod download %s: %v", module, err)
		require.Empty(t, downloaded.Error)
		for _, file := range files {
			path := filepath.Join(downloaded.Dir, file)
			if _, _, err := c.run(t, "", c.kubectl, "get", "-f", path); err == nil {
				continue
			}
			c.must(t, "", c.kubectl, "create", "-f", path)
			t.Cleanup(func() { c.must(t, "", c.kubectl, "delete", "-f", path, "--wait=false") })
			c.must(t, "", c.kubectl, "wait", "--for=condition=Established", "-f", path)
		}
	}
}

// read returns an object of the cluster.
func read[T any](t *testing.T, c cluster, namespace, kind, name string) *T {
	t.Helper()
	var into T
	require.NoError(t, json.Unmarshal([]byte(c.must(t, "", c.kubectl, "-n", namespace, "get", kind, name, "-o", "json")), &into))
	return &into
}

// What a real API server says of the chart, in a namespace with the strictest standard for pods.
func TestCluster(t *testing.T) {
	programs := helms(t)
	c := newCluster(t)
	c.define(t)
	t.Run("every combination is accepted", func(t *testing.T) { c.acceptsTheMatrix(t, programs[0]) })
	first, last := programs[0], programs[len(programs)-1]
	t.Run("an upgrade changes what was changed", func(t *testing.T) { c.upgrades(t, first, last) })
	t.Run("an upgrade by the other Helm", func(t *testing.T) { c.upgrades(t, last, first) })
	t.Run("pods roll with the secrets of others", func(t *testing.T) { c.followsSecrets(t, first) })
	t.Run("a claim keeps its password", func(t *testing.T) { c.keepsPasswords(t, last) })
}

// acceptsTheMatrix has the API server look at what each values file leads to: it takes all of it, without a warning.
func (c cluster) acceptsTheMatrix(t *testing.T, helm string) {
	for name, values := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			space := c.namespace(t)
			text, problems, err := template(t, helm, values, "--namespace", space)
			require.NoError(t, err, problems)
			if account, _, err := template(t, helm, values, "--namespace", space, "--show-only", "templates/serviceaccount.yaml"); err == nil {
				c.must(t, account, c.kubectl, "apply", "--server-side", "-f", "-") // pods are refused without it
			}
			stdout, stderr, err := c.run(t, text, c.kubectl, "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
			require.NoError(t, err, stderr)
			require.Empty(t, stderr, "no warning")
			require.Equal(t, strings.Count("\n"+text, "\nkind: "), strings.Count(stdout, "\n"), "a line for each object")
		})
	}
}

// upgrades follows a release from its installation: what is generated once stays, and pods roll for a reason only.
func (c cluster) upgrades(t *testing.T, installer, upgrader string) {
	space := c.namespace(t)
	upgrade := func(values string) {
		c.must(t, values, upgrader, "upgrade", "achilles", chart, "-n", space, "-f", "-")
	}
	generation := func(service string) int64 {
		return read[appsv1.Deployment](t, c, space, "deployment", "achilles-"+service).Generation
	}
	secrets := func() (all []map[string][]byte) {
		for _, name := range []string{"achilles-mariadb", "achilles-redis", "achilles-feed"} {
			all = append(all, read[corev1.Secret](t, c, space, "secret", name).Data)
		}
		return all
	}
	notes := c.must(t, "", installer, "install", "achilles", chart, "-n", space)
	for _, says := range []string{
		"helm test achilles --namespace " + space, "port-forward service/achilles-article", "rollout restart deployment/achilles-tag",
		"WARNING: the bundled MariaDB and Redis of this release are for evaluation", "ARE LOST WHEN THE POD achilles-mariadb-0 GOES",
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
	upgrade(`tag: {config: {Health: {Strict: true}}}`)
	require.EqualValues(t, 2, generation("tag"))
	require.EqualValues(t, 1, generation("article"))
	upgrade(`{article: {autoscaling: {enabled: true}}, ingress: {enabled: true}, networkPolicy: {enabled: false}}`)
	require.Equal(t, generated, secrets(), "generated once and kept")
	require.Equal(t, mariadb, read[appsv1.StatefulSet](t, c, space, "statefulset", "achilles-mariadb").Generation, "its data would be gone")
	c.must(t, "", upgrader, "rollback", "achilles", "1", "-n", space)
	require.Equal(t, generated, secrets())
	c.must(t, "", upgrader, "uninstall", "achilles", "-n", space)
	require.Empty(t, c.must(t, "", c.kubectl, "-n", space, "get", "secrets,statefulsets,deployments,configmaps", "-l", "app.kubernetes.io/instance=achilles", "-o", "name"))
}

// followsSecrets changes a Secret that the chart doesn't own: the next upgrade rolls the pods that read it.
func (c cluster) followsSecrets(t *testing.T, helm string) {
	space := c.namespace(t)
	values := `{mariadb: {enabled: false}, redis: {enabled: false}, database: {host: db, existingSecret: a}, article: {database: {existingSecret: b}}}`
	secret := func(name, password string) {
		text := c.must(t, "", c.kubectl, "-n", space, "create", "secret", "generic", name, "--from-literal=password="+password, "--dry-run=client", "-o", "yaml")
		c.must(t, text, c.kubectl, "-n", space, "apply", "-f", "-")
	}
	generations := func() [2]int64 {
		return [2]int64{
			read[appsv1.Deployment](t, c, space, "deployment", "achilles-tag").Generation,
			read[appsv1.Deployment](t, c, space, "deployment", "achilles-article").Generation,
		}
	}
	upgrade := func() { c.must(t, values, helm, "upgrade", "--install", "achilles", chart, "-n", space, "-f", "-") }
	secret("a", "first")
	secret("b", "first")
	upgrade()
	upgrade()
	require.Equal(t, [2]int64{1, 1}, generations())
	secret("b", "second")
	upgrade()
	require.Equal(t, [2]int64{1, 2}, generations())
}

// keepsPasswords takes a release away and installs it again: its claim is still there, and so is the password for what is on it.
func (c cluster) keepsPasswords(t *testing.T, helm string) {
	space := c.namespace(t)
	install := func() {
		c.must(t, "", helm, "install", "achilles", chart, "-n", space, "--set", "mariadb.persistence.enabled=true")
	}
	install()
	before := read[corev1.Secret](t, c, space, "secret", "achilles-mariadb").Data
	c.must(t, "", helm, "uninstall", "achilles", "-n", space)
	read[corev1.PersistentVolumeClaim](t, c, space, "pvc", "achilles-mariadb")
	install()
	require.Equal(t, before, read[corev1.Secret](t, c, space, "secret", "achilles-mariadb").Data)
}
