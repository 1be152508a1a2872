// Package kustomize_test holds the overlays in deploy/kustomize against the Helm chart. Both are rendered by libraries, so
// that it needs neither program.
package kustomize_test

import (
	"fmt"
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
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	"github.com/achilles-blog/achilles/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

const (
	folder   = "../../deploy/kustomize"
	chartDir = "../../deploy/helm/achilles"
)

// objects are the rendered ones, each by its kind and name, such as "Deployment achilles-tag".
type objects map[string]metav1.Object

// hashed is the name of a generated object, and the hash that kustomize makes of its content.
var hashed = regexp.MustCompile(`^(.+)-[2456789bcdfghkmt]{10}$`)

// kustomize renders a folder as kubectl kustomize does, and takes the hashes off the generated names.
func kustomize(t testing.TB, dir string) objects {
	t.Helper()
	text := build(t, dir)
	for _, object := range decode(t, text) {
		if name := hashed.FindStringSubmatch(object.GetName()); name != nil {
			text = strings.ReplaceAll(text, name[0], name[1])
		}
	}
	return decode(t, text)
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
func chart(t testing.TB, namespace, values string) objects {
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
	return decode(t, text)
}

// decode reads objects strictly: a field that Kubernetes doesn't know is an error.
func decode(t testing.TB, text string) objects {
	t.Helper()
	all := objects{}
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		var meta metav1.PartialObjectMetadata
		require.NoError(t, yaml.Unmarshal([]byte(document), &meta), document)
		if meta.Kind == "" {
			continue
		}
		object, key := newObject(meta.APIVersion, meta.Kind), meta.Kind+" "+meta.Name
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), object), "%s:\n%s", key, document)
		require.NotContains(t, all, key, "twice")
		all[key] = object
	}
	require.NotEmpty(t, all)
	return all
}

// newObject returns the Go type of a kind; custom resources, which the API server judges, have none.
func newObject(version, kind string) metav1.Object {
	switch version + " " + kind {
	case "apps/v1 Deployment":
		return &appsv1.Deployment{}
	case "apps/v1 StatefulSet":
		return &appsv1.StatefulSet{}
	case "autoscaling/v2 HorizontalPodAutoscaler":
		return &autoscalingv2.HorizontalPodAutoscaler{}
	case "batch/v1 CronJob":
		return &batchv1.CronJob{}
	case "v1 ConfigMap":
		return &corev1.ConfigMap{}
	case "v1 Namespace":
		return &corev1.Namespace{}
	case "v1 Pod":
		return &corev1.Pod{}
	case "v1 Secret":
		return &corev1.Secret{}
	case "v1 Service":
		return &corev1.Service{}
	case "v1 ServiceAccount":
		return &corev1.ServiceAccount{}
	case "networking.k8s.io/v1 Ingress":
		return &networkingv1.Ingress{}
	case "networking.k8s.io/v1 NetworkPolicy":
		return &networkingv1.NetworkPolicy{}
	case "policy/v1 PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{}
	}
	return &unstructured.Unstructured{}
}

// get returns the object of a type and name, which has to be there.
func get[T any](t testing.TB, all objects, name string) *T {
	t.Helper()
	kind := fmt.Sprintf("%T", *new(T))
	key := kind[strings.LastIndexByte(kind, '.')+1:] + " " + name
	require.Contains(t, all, key)
	return any(all[key]).(*T)
}

// eachOf calls do for every object of a type.
func eachOf[T any](all objects, do func(key string, object *T)) {
	for key, object := range all {
		if object, ok := any(object).(*T); ok {
			do(key, object)
		}
	}
}

// podTemplates returns the template of every pod that the objects lead to.
func podTemplates(all objects) map[string]corev1.PodTemplateSpec {
	templates := map[string]corev1.PodTemplateSpec{}
	eachOf(all, func(key string, d *appsv1.Deployment) { templates[key] = d.Spec.Template })
	eachOf(all, func(key string, s *appsv1.StatefulSet) { templates[key] = s.Spec.Template })
	eachOf(all, func(key string, c *batchv1.CronJob) { templates[key] = c.Spec.JobTemplate.Spec.Template })
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
