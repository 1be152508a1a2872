package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/achilles-blog/achilles/test/manifest"
	"github.com/achilles-blog/achilles/test/process"
	"github.com/achilles-blog/achilles/test/services"
)

// A service that is added to the list has all that the service tag has, without another change of the chart.
func TestNewService(t *testing.T) {
	text, problems, err := process.Outputs(`
serviceDefaults: {autoscaling: {enabled: true}}
services: {comment: {replicas: 3, autoscaling: {enabled: false}, config: {Server: {ServedBy: me}}}}
ingress: {enabled: true}
gateway: {enabled: true, parentRefs: [{name: public}]}
monitoring: {podMonitor: {enabled: true}}`, helms(t)[0], "template", "achilles", withComment(t), "--namespace", namespace, "--values", "-")
	require.NoError(t, err, problems)
	all := decode(t, text)

	kinds := func(service string) (kinds []string) {
		for key := range all {
			if kind, ok := strings.CutSuffix(key, " achilles-"+service); ok && kind != "HorizontalPodAutoscaler" {
				kinds = append(kinds, kind)
			}
		}
		slices.Sort(kinds)
		return kinds
	}
	require.Equal(t, []string{"ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service"}, kinds("tag"))
	require.Equal(t, kinds("tag"), kinds("comment"))
	require.Contains(t, all, "HorizontalPodAutoscaler achilles-tag")
	require.NotContains(t, all, "HorizontalPodAutoscaler achilles-comment")

	tag, comment := manifest.Get[appsv1.Deployment](t, all, "achilles-tag").Spec, manifest.Get[appsv1.Deployment](t, all, "achilles-comment").Spec
	require.EqualValues(t, 3, *comment.Replicas)
	require.Equal(t, "achilles-blog/comment:"+appVersion(t), comment.Template.Spec.Containers[0].Image)
	files := secretFiles(comment.Template.Spec)
	require.Equal(t, [2]string{"achilles-mariadb", "comment-password"}, files["database-password"], "each service has its own account")
	delete(files, "database-password")
	shared := secretFiles(tag.Template.Spec)
	delete(shared, "database-password")
	require.Equal(t, shared, files)
	require.Equal(t, comment.Selector.MatchLabels, manifest.Get[corev1.Service](t, all, "achilles-comment").Spec.Selector)
	settings := settingsOf(t, all, "comment")
	require.Equal(t, "me", settings["Server"]["ServedBy"])
	require.Equal(t, "achilles_comment", settings["Database"]["DBName"])
	require.Equal(t, "http://achilles-article", settings["Feed"]["URL"])

	require.Contains(t, manifest.Get[corev1.Pod](t, all, "achilles-check").Spec.Containers[0].Args[4], "http://achilles-comment/readyz")
	require.Contains(t, manifest.Get[corev1.ConfigMap](t, all, "achilles-mariadb").Data["databases.sql"], "CREATE DATABASE IF NOT EXISTS `achilles_comment` ")
	_, byGateway := gatewayRoutes(t, all)
	for _, routes := range []map[string]string{ingressRoutes(t, manifest.Get[networkingv1.Ingress](t, all, "achilles"), ""), byGateway} {
		require.Equal(t, "achilles-comment", route(routes, "/api/v1/comments/7"))
		require.Equal(t, "achilles-comment", route(routes, "/swagger/comment/"))
		require.Equal(t, "achilles-tag", route(routes, "/api/v1/tags"))
	}
	require.Contains(t, marshal(t, all["PodMonitor achilles"].(*unstructured.Unstructured)), `["tag","article","comment"]`)

	// The network policies allow what it needs, on both sides.
	for _, connection := range []struct {
		from, to string
		port     int32
		allowed  bool
	}{
		{"comment", "article", 8080, true}, {"check", "comment", 8080, true}, {"comment", "mariadb", 3306, true}, {"comment", "redis", 6379, true},
		{"comment", "tag", 8080, false}, {"article", "comment", 8080, false},
	} {
		out := admitted(t, all, networkingv1.PolicyTypeEgress, connection.from, endpoint{component: connection.to}, connection.port)
		in := admitted(t, all, networkingv1.PolicyTypeIngress, connection.to, endpoint{component: connection.from}, connection.port)
		require.Equal(t, connection.allowed, out && in, "%+v", connection)
	}
	require.True(t, admitted(t, all, networkingv1.PolicyTypeIngress, "comment", endpoint{namespace: "monitoring"}, 9090))
	require.True(t, admitted(t, all, networkingv1.PolicyTypeIngress, "comment", endpoint{namespace: "ingress-nginx"}, 8080))
}

// withComment returns a copy of the chart as "make chart" generates it with a third service, comment, in the list.
func withComment(t *testing.T) string {
	t.Helper()
	copied := t.TempDir()
	for _, dir := range []string{chartDir, "deploy/config", "deploy/observability", "services"} {
		copyFiles(t, dir, copied)
	}
	read := func(path string) []byte {
		content, err := os.ReadFile(filepath.Join(copied, path))
		require.NoError(t, err)
		return content
	}
	require.NoError(t, write(copied, map[string][]byte{
		"deploy/config/comment.yaml": read("deploy/config/article.yaml"),
		services.File:                fmt.Append(read(services.File), "- {name: comment, port: 8083, adminPort: 9083, paths: [/api/v1/comments], resources: [{name: comment, path: /api/v1/comments}], follows: [article]}\n"),
	}))
	files, err := generate(copied)
	require.NoError(t, err)
	require.NoError(t, write(copied, files))
	return filepath.Join(copied, chartDir)
}

// copyFiles copies the YAML files, and those of the chart, of a folder of the repository.
func copyFiles(t *testing.T, dir, to string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if extension := filepath.Ext(path); !slices.Contains([]string{".yaml", ".json", ".tpl", ".txt", ".md"}, extension) {
			return nil
		}
		relative, err := filepath.Rel(root, path)
		require.NoError(t, err)
		target := filepath.Join(to, relative)
		require.NoError(t, os.MkdirAll(filepath.Dir(target), 0o700))
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		return os.WriteFile(target, content, 0o600)
	}))
}
