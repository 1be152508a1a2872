package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/achilles-blog/achilles/test/manifest"
	"github.com/achilles-blog/achilles/test/process"
	"github.com/achilles-blog/achilles/test/services"
)

func TestMain(m *testing.M) { process.Main(m) }

const (
	root      = "../.."
	chart     = root + "/" + chartDir
	examples  = root + "/deploy/examples"
	namespace = "blog"
)

// helms returns the programs of the versions of Helm to test with.
func helms(t testing.TB) []string {
	t.Helper()
	programs := strings.Fields(os.Getenv("ACHILLES_HELM"))
	if len(programs) == 0 {
		t.Skip("needs Helm: make chart-test fetches it and names it in ACHILLES_HELM")
	}
	return programs
}

// template returns the output of helm template with values, which are YAML.
func template(t testing.TB, helm, values string, args ...string) (text, problems string, err error) {
	t.Helper()
	args = append([]string{"template", "achilles", chart, "--namespace", namespace, "--values", "-"}, args...)
	return process.Outputs(values, helm, args...)
}

// render renders the chart with values, which are YAML, and decodes the objects strictly.
func render(t testing.TB, values string) manifest.Objects {
	t.Helper()
	text, problems, err := template(t, helms(t)[0], values)
	require.NoError(t, err, problems)
	return decode(t, text)
}

// rejection returns the error of Helm, in one line, for values that it must reject.
func rejection(t testing.TB, values string) string {
	t.Helper()
	_, problems, err := template(t, helms(t)[0], values)
	require.Error(t, err, "rendered, but should be rejected: %s", values)
	return strings.Join(strings.Fields(problems), " ")
}

// appVersion returns the version of Achilles that the chart installs.
func appVersion(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(chart + "/Chart.yaml")
	require.NoError(t, err)
	var file struct{ AppVersion string }
	require.NoError(t, yaml.Unmarshal(text, &file))
	require.NotEmpty(t, file.AppVersion)
	return file.AppVersion
}

// decode decodes objects, which must be in the namespace of these tests.
func decode(t testing.TB, text string) manifest.Objects {
	t.Helper()
	return decodeIn(t, namespace, text)
}

func decodeIn(t testing.TB, space, text string) manifest.Objects {
	t.Helper()
	all := manifest.Decode(t, text)
	for key, object := range all {
		require.Equal(t, space, object.GetNamespace(), key)
	}
	return all
}

// container returns the only container of a service's pods.
func container(t testing.TB, all manifest.Objects, service string) corev1.Container {
	t.Helper()
	spec := manifest.Get[appsv1.Deployment](t, all, "achilles-"+service).Spec.Template.Spec
	require.Len(t, spec.Containers, 1)
	return spec.Containers[0]
}

// settingsOf returns the settings file of a service.
func settingsOf(t testing.TB, all manifest.Objects, service string) map[string]map[string]any {
	t.Helper()
	var settings map[string]map[string]any
	text := manifest.Get[corev1.ConfigMap](t, all, "achilles-"+service).Data["settings.yaml"]
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), &settings))
	return settings
}

// podSpecs returns the pod specifications of the objects.
func podSpecs(all manifest.Objects) map[string]corev1.PodSpec {
	specs := map[string]corev1.PodSpec{}
	manifest.Each(all, func(key string, d *appsv1.Deployment) { specs[key] = d.Spec.Template.Spec })
	manifest.Each(all, func(key string, s *appsv1.StatefulSet) { specs[key] = s.Spec.Template.Spec })
	manifest.Each(all, func(key string, p *corev1.Pod) { specs[key] = p.Spec })
	return specs
}

// serviceNames returns the names of the services.
func serviceNames(t testing.TB) []string {
	t.Helper()
	all, err := services.Read(root)
	require.NoError(t, err)
	return services.Names(all)
}

// matrix returns the values files in ci/ by their names, and the examples by their folders too, such as "istio/ambient".
func matrix(t testing.TB) map[string]string {
	t.Helper()
	values := map[string]string{}
	for _, pattern := range []string{chart + "/ci/*-values.yaml", examples + "/*/*values.yaml"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.Greater(t, len(files), 5)
		for _, file := range files {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), "values.yaml"), "-")
			if strings.HasPrefix(file, examples) {
				name = filepath.Join(filepath.Base(filepath.Dir(file)), name)
			}
			values[name] = string(content)
		}
	}
	return values
}

func podAnnotations(t testing.TB, all manifest.Objects, service string) map[string]string {
	t.Helper()
	return manifest.Get[appsv1.Deployment](t, all, "achilles-"+service).Spec.Template.Annotations
}
