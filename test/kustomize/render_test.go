// Package kustomize_test holds the overlays in deploy/kustomize against the Helm chart. Both are rendered by libraries, so
// that it needs neither program.
package kustomize_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/achilles-blog/achilles/test/manifest"
	"github.com/achilles-blog/achilles/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

const (
	folder   = "../../deploy/kustomize"
	chartDir = "../../deploy/helm/achilles"
)

// hashed is the name of a generated object, and the hash that kustomize makes of its content.
var hashed = regexp.MustCompile(`^(.+)-[2456789bcdfghkmt]{10}$`)

// kustomize renders a folder as kubectl kustomize does, and takes the hashes off the generated names.
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

// build returns what kubectl kustomize makes of a folder.
func build(t testing.TB, dir string) string {
	t.Helper()
	all, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	require.NoError(t, err)
	text, err := all.AsYaml()
	require.NoError(t, err)
	return string(text)
}

// chart renders the Helm chart with values, which are YAML, as helm install would in a namespace.
func chart(t testing.TB, namespace, values string) manifest.Objects {
	t.Helper()
	loaded, err := loader.Load(chartDir)
	require.NoError(t, err)
	given, err := common.ReadValues([]byte(values))
	require.NoError(t, err)
	release := common.ReleaseOptions{Name: "achilles", Namespace: namespace, Revision: 1, IsInstall: true}
	input, err := util.ToRenderValues(loaded, given, release, nil)
	require.NoError(t, err)
	files, err := engine.Render(loaded, input)
	require.NoError(t, err)
	text := ""
	for name, content := range files {
		if strings.HasSuffix(name, ".yaml") {
			text += "\n---\n" + content
		}
	}
	return manifest.Decode(t, text)
}

// podTemplates returns the template of every pod that the objects lead to.
func podTemplates(all manifest.Objects) map[string]corev1.PodTemplateSpec {
	templates := map[string]corev1.PodTemplateSpec{}
	manifest.Each(all, func(key string, d *appsv1.Deployment) { templates[key] = d.Spec.Template })
	manifest.Each(all, func(key string, s *appsv1.StatefulSet) { templates[key] = s.Spec.Template })
	manifest.Each(all, func(key string, c *batchv1.CronJob) { templates[key] = c.Spec.JobTemplate.Spec.Template })
	return templates
}

// overlayOf writes an overlay of a folder below deploy/kustomize, with more in its kustomization, and returns where it is.
// There it can name folders, but no files.
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
