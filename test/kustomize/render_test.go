package kustomize

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/achilles-blog/achilles/test/manifest"
	"github.com/achilles-blog/achilles/test/process"
	"github.com/achilles-blog/achilles/test/services"
)

func TestMain(m *testing.M) { process.Main(m) }

const (
	root   = "../.."
	folder = root + "/" + dir
)

// serviceNames returns the names of the services of a repository.
func serviceNames(t testing.TB, root string) []string {
	t.Helper()
	all, err := services.Read(root)
	require.NoError(t, err)
	return services.Names(all)
}

// hashed matches the name of a generated object and the hash of its content.
var hashed = regexp.MustCompile(`^(.+)-[2456789bcdfghkmt]{10}$`)

// kustomize renders a folder as kubectl kustomize does, without the hashes in generated names.
func kustomize(t testing.TB, dir string) manifest.Objects {
	t.Helper()
	text := build(t, dir)
	for _, object := range manifest.Decode(t, text) {
		if name := hashed.FindStringSubmatch(object.GetName()); name != nil {
			text = strings.ReplaceAll(text, name[0], name[1])
		}
	}
	return manifest.Decode(t, text)
}

// build returns the output of kubectl kustomize for a folder.
func build(t testing.TB, dir string) string {
	t.Helper()
	all, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	require.NoError(t, err)
	text, err := all.AsYaml()
	require.NoError(t, err)
	return string(text)
}

// chart renders the Helm chart of a repository with values, which are YAML, as helm install would in a namespace.
func chart(t testing.TB, root, namespace, values string) manifest.Objects {
	t.Helper()
	text, err := renderText(filepath.Join(root, chartDir), namespace, values)
	require.NoError(t, err)
	return manifest.Decode(t, text)
}

// podTemplates returns the pod templates of the objects.
func podTemplates(all manifest.Objects) map[string]corev1.PodTemplateSpec {
	templates := map[string]corev1.PodTemplateSpec{}
	manifest.Each(all, func(key string, d *appsv1.Deployment) { templates[key] = d.Spec.Template })
	manifest.Each(all, func(key string, s *appsv1.StatefulSet) { templates[key] = s.Spec.Template })
	manifest.Each(all, func(key string, c *batchv1.CronJob) { templates[key] = c.Spec.JobTemplate.Spec.Template })
	return templates
}

// overlayOf writes an overlay of a folder of deploy/kustomize, with more in its kustomization, and returns its folder. It can
// refer to folders only.
func overlayOf(t testing.TB, resource, more string) string {
	t.Helper()
	dir := t.TempDir()
	here, err := filepath.Abs(folder)
	require.NoError(t, err)
	way, err := filepath.Rel(dir, here)
	require.NoError(t, err)
	text := "resources: [DEPLOY/" + resource + "]\n" + more
	text = strings.ReplaceAll(text, "DEPLOY", filepath.ToSlash(way))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600))
	return dir
}
