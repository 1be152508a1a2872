package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/achilles-blog/achilles/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

const (
	root      = "../.."
	chart     = root + "/" + chartDir
	namespace = "blog"
)

// helms are the programs, of different releases of Helm, that the chart is held against.
func helms(t testing.TB) []string {
	t.Helper()
	programs := strings.Fields(os.Getenv("ACHILLES_HELM"))
	if len(programs) == 0 {
		t.Skip("needs Helm: make chart-test fetches it and names it in ACHILLES_HELM")
	}
	return programs
}

// run runs a program and returns what it printed on each of its outputs.
func runProgram(t testing.TB, stdin, program string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, problems strings.Builder
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &problems
	err = cmd.Run()
	return out.String(), problems.String(), err
}

// template is what a Helm makes of the chart, as text. The values are YAML.
func template(t testing.TB, helm, values string, args ...string) (text, problems string, err error) {
	t.Helper()
	args = append([]string{"template", "achilles", chart, "--namespace", namespace, "--values", "-"}, args...)
	return runProgram(t, values, helm, args...)
}

// objects are the rendered ones, each by its kind and name, such as "Deployment achilles-tag".
type objects map[string]any

// render renders the chart with values, which are YAML, and decodes what comes out strictly.
func render(t testing.TB, values string) objects {
	t.Helper()
	text, problems, err := template(t, helms(t)[0], values)
	require.NoError(t, err, problems)
	return decode(t, text)
}

// refusal is what Helm says when it doesn't render the chart with values, in one line.
func refusal(t testing.TB, values string) string {
	t.Helper()
	_, problems, err := template(t, helms(t)[0], values)
	require.Error(t, err, "rendered, but should be refused: %s", values)
	return strings.Join(strings.Fields(problems), " ")
}

func decode(t testing.TB, text string) objects {
	t.Helper()
	return decodeIn(t, namespace, text)
}

// decodeIn decodes objects that all have to be in a namespace.
func decodeIn(t testing.TB, space, text string) objects {
	t.Helper()
	all := objects{}
	for document := range strings.SplitSeq("\n"+text, "\n---\n") {
		var meta metav1.PartialObjectMetadata
		require.NoError(t, yaml.Unmarshal([]byte(document), &meta), document)
		if meta.Kind == "" {
			continue
		}
		object := newObject(meta.Kind)
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), object), "%s %s:\n%s", meta.Kind, meta.Name, document)
		key := meta.Kind + " " + meta.Name
		require.NotContains(t, all, key, "twice")
		require.Equal(t, space, meta.Namespace, key)
		all[key] = object
	}
	require.NotEmpty(t, all)
	return all
}

// newObject returns the Go type of a kind; of custom resources it is a map, which the API server judges.
func newObject(kind string) any {
	switch kind {
	case "Deployment":
		return &appsv1.Deployment{}
	case "StatefulSet":
		return &appsv1.StatefulSet{}
	case "HorizontalPodAutoscaler":
		return &autoscalingv2.HorizontalPodAutoscaler{}
	case "ConfigMap":
		return &corev1.ConfigMap{}
	case "PersistentVolumeClaim":
		return &corev1.PersistentVolumeClaim{}
	case "Pod":
		return &corev1.Pod{}
	case "Secret":
		return &corev1.Secret{}
	case "Service":
		return &corev1.Service{}
	case "ServiceAccount":
		return &corev1.ServiceAccount{}
	case "Ingress":
		return &networkingv1.Ingress{}
	case "NetworkPolicy":
		return &networkingv1.NetworkPolicy{}
	case "PodDisruptionBudget":
		return &policyv1.PodDisruptionBudget{}
	}
	return &map[string]any{}
}

// get returns the object of a type and name, which has to be there.
func get[T any](t testing.TB, all objects, name string) *T {
	t.Helper()
	kind := fmt.Sprintf("%T", *new(T))
	key := kind[strings.LastIndex(kind, ".")+1:] + " " + name
	require.Contains(t, all, key)
	return all[key].(*T)
}

// eachOf calls do for every object of a type.
func eachOf[T any](all objects, do func(key string, object *T)) {
	for key, object := range all {
		if object, ok := object.(*T); ok {
			do(key, object)
		}
	}
}

// container returns the one container of a service's pods.
func container(t testing.TB, all objects, service string) corev1.Container {
	t.Helper()
	spec := get[appsv1.Deployment](t, all, "achilles-"+service).Spec.Template.Spec
	require.Len(t, spec.Containers, 1)
	return spec.Containers[0]
}

// settingsOf returns the settings file of a service.
func settingsOf(t testing.TB, all objects, service string) map[string]map[string]any {
	t.Helper()
	var settings map[string]map[string]any
	text := get[corev1.ConfigMap](t, all, "achilles-"+service).Data["settings.yaml"]
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), &settings))
	return settings
}

// podSpecs returns the specification of every pod that the objects lead to.
func podSpecs(all objects) map[string]corev1.PodSpec {
	specs := map[string]corev1.PodSpec{}
	eachOf(all, func(key string, d *appsv1.Deployment) { specs[key] = d.Spec.Template.Spec })
	eachOf(all, func(key string, s *appsv1.StatefulSet) { specs[key] = s.Spec.Template.Spec })
	eachOf(all, func(key string, p *corev1.Pod) { specs[key] = p.Spec })
	return specs
}

// services are what the chart runs of Achilles itself.
var services = []string{"tag", "article"}

// matrix returns the values files in ci/, each by its name.
func matrix(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob(chart + "/ci/*-values.yaml")
	require.NoError(t, err)
	require.Greater(t, len(files), 10)
	values := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		values[strings.TrimSuffix(filepath.Base(file), "-values.yaml")] = string(content)
	}
	return values
}

func podAnnotations(t testing.TB, all objects, service string) map[string]string {
	t.Helper()
	return get[appsv1.Deployment](t, all, "achilles-"+service).Spec.Template.Annotations
}
