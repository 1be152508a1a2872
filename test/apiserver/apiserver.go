// Package apiserver gives tests a Kubernetes API server that validates objects.
package apiserver

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

	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// Server is an API server: kubectl and its configuration.
type Server struct{ Kubeconfig, Kubectl string }

// New returns the API server of KUBECONFIG, if that is set. Otherwise it starts an API server and etcd, which the cluster tool in
// CLUSTER has built, until the test ends. It skips the test if there is neither.
func New(t *testing.T) Server {
	t.Helper()
	if config := os.Getenv("KUBECONFIG"); config != "" {
		return Server{config, process.Installed(t, "kubectl")}
	}
	tool := os.Getenv("CLUSTER")
	if _, err := os.Stat(tool); tool == "" || err != nil {
		skip(t, "needs an API server: set KUBECONFIG to a cluster that may be written to, or CLUSTER to the cluster tool")
	}
	environment, problems, err := process.Outputs("", tool, "env")
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
	return start(t, bin)
}

// skip skips a test, or fails it if nothing may be skipped.
func skip(t *testing.T, why string) {
	t.Helper()
	if os.Getenv(dbtest.EnvRequire) == "all" {
		t.Fatalf("%s; %s=all does not allow to skip tests", why, dbtest.EnvRequire)
	}
	t.Skip(why)
}

func start(t *testing.T, bin string) Server {
	t.Helper()
	dir := t.TempDir()
	etcd := "unix://" + filepath.Join(dir, "etcd.sock")
	process.Start(t, filepath.Join(bin, "etcd"), nil, "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
		"--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", "http://127.0.0.1:0")
	write(t, filepath.Join(dir, "key.pem"), newKey(t))
	write(t, filepath.Join(dir, "tokens.csv"), "secret,admin,admin,system:masters\n")
	s := Server{filepath.Join(dir, "kubeconfig"), filepath.Join(bin, "kubectl")}
	for {
		port := freePort(t)
		write(t, s.Kubeconfig, `{apiVersion: v1, kind: Config, current-context: it, contexts: [{name: it, context: {cluster: it, user: it}}],
			users: [{name: it, user: {token: secret}}], clusters: [{name: it, cluster: {server: "https://127.0.0.1:`+port+`", insecure-skip-tls-verify: true}}]}`)
		p := process.Start(t, filepath.Join(bin, "kube-apiserver"), nil, "--etcd-servers", etcd, "--bind-address", "127.0.0.1", "--secure-port", port,
			"--cert-dir", dir, "--token-auth-file", filepath.Join(dir, "tokens.csv"), "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/24",
			"--service-account-issuer", "https://kubernetes.default.svc",
			"--service-account-key-file", filepath.Join(dir, "key.pem"), "--service-account-signing-key-file", filepath.Join(dir, "key.pem"),
			"--disable-admission-plugins", "ServiceAccount", "-v", "0") // no controller creates the accounts
		process.Await(t, "the API server", func() bool {
			_, _, err := s.Run("", s.Kubectl, "get", "--raw", "/readyz")
			return err == nil || p.Ended()
		})
		if !p.Ended() {
			return s
		}
		require.Contains(t, p.Stderr(), "address already in use") // another program has taken the port
	}
}

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	require.NoError(t, listener.Close())
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

// Run runs a program with the configuration of the server and returns its outputs.
func (s Server) Run(stdin, program string, args ...string) (stdout, stderr string, err error) {
	return process.Outputs(stdin, "env", append([]string{"KUBECONFIG=" + s.Kubeconfig, program}, args...)...)
}

// Must runs a program, which must succeed, and returns its output.
func (s Server) Must(t testing.TB, stdin, program string, args ...string) string {
	t.Helper()
	stdout, stderr, err := s.Run(stdin, program, args...)
	require.NoError(t, err, "%s %s: %s%s", filepath.Base(program), strings.Join(args, " "), stdout, stderr)
	return stdout
}

// Namespace creates a namespace that enforces the restricted Pod Security Standard, with warnings.
func (s Server) Namespace(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("achilles-test-%d", time.Now().UnixNano())
	s.Must(t, "", s.Kubectl, "create", "namespace", name)
	t.Cleanup(func() { s.Must(t, "", s.Kubectl, "delete", "namespace", name, "--wait=false") })
	s.Must(t, "", s.Kubectl, "label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted", "pod-security.kubernetes.io/warn=restricted")
	return name
}

// definitions returns the files with the definitions of custom resources by their module, of which no code is needed.
func definitions() map[string][]string {
	return map[string][]string{
		"sigs.k8s.io/gateway-api@v1.6.3": {
			"config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
		},
		"github.com/prometheus-operator/prometheus-operator@v0.85.0": {
			"example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
			"example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
		},
		"github.com/argoproj/argo-cd/v3@v3.6.1":            {"manifests/crds/application-crd.yaml"},
		"github.com/argoproj/argo-rollouts@v1.10.2":        {"manifests/crds/rollout-crd.yaml"},
		"github.com/fluxcd/source-controller@v1.10.1":      {"config/crd/bases/source.toolkit.fluxcd.io_ocirepositories.yaml"},
		"github.com/kedacore/keda/v2@v2.21.0":              {"config/crd/bases/keda.sh_scaledobjects.yaml"},
		"k8s.io/autoscaler/vertical-pod-autoscaler@v1.8.1": {"deploy/vpa-v1-crd-gen.yaml"},
	}
}

// Define creates the custom resources that the cluster doesn't have.
func (s Server) Define(t testing.TB) {
	t.Helper()
	for module, files := range definitions() {
		var downloaded struct{ Dir, Error string }
		out, err := exec.Command("go", "mod", "download", "-json", module).Output()
		require.NoError(t, json.Unmarshal(out, &downloaded), "go mod download %s: %v", module, err)
		require.Empty(t, downloaded.Error)
		for _, file := range files {
			path := filepath.Join(downloaded.Dir, file)
			if _, _, err := s.Run("", s.Kubectl, "get", "-f", path); err == nil {
				continue
			}
			s.Must(t, "", s.Kubectl, "create", "-f", path)
			t.Cleanup(func() { s.Must(t, "", s.Kubectl, "delete", "-f", path, "--wait=false") })
			process.Await(t, path, func() bool { // kubectl wait fails if there is no condition yet
				_, _, err := s.Run("", s.Kubectl, "wait", "--for=condition=Established", "-f", path)
				return err == nil
			})
		}
	}
}
