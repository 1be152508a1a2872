package kustomize

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/achilles-blog/achilles/test/manifest"
	"github.com/achilles-blog/achilles/test/services"
)

// overlay is an overlay and the values with which the chart renders the same objects.
type overlay struct {
	name, namespace, values string
	withoutPolicies         bool     // only the bundled servers have network policies
	needs                   []string // keys of Secrets that must be created first
}

var overlays = []overlay{
	{
		name: "dev", namespace: "achilles-dev",
		values: `
logLevel: debug
serviceDefaults: {replicas: 1}
mariadb: {existingSecret: achilles-database}
redis: {existingSecret: achilles-redis}
auth: {existingSecret: achilles-auth}
feed: {existingSecret: achilles-feed}`,
		withoutPolicies: true,
	},
	{
		name: "staging", namespace: "achilles-staging",
		values: fmt.Sprintf(external, false) + `
ingress: {enabled: true, hosts: [staging.blog.example]}`,
		needs: []string{"achilles-auth keys.yaml", "achilles-database article-password", "achilles-database tag-password", "achilles-feed token", "achilles-redis password"},
	},
	{
		name: "production", namespace: "achilles",
		values: fmt.Sprintf(external, true) + `
serviceDefaults:
  autoscaling: {enabled: true, minReplicas: 3}
  topologySpread:
    - {topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, nodeTaintsPolicy: Honor}
    - {topologyKey: topology.kubernetes.io/zone, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway}
ingress: {enabled: true, hosts: [blog.example], tls: [{secretName: achilles-tls, hosts: [blog.example]}]}
monitoring: {podMonitor: {enabled: true}, prometheusRule: {enabled: true}, dashboard: {enabled: true}}`,
		needs: []string{
			"achilles-auth keys.yaml", "achilles-database article-password", "achilles-database tag-password", "achilles-feed token", "achilles-redis password",
			"achilles-tls tls.crt", "achilles-tls tls.key",
		},
	},
}

// external are values for your own servers, with or without encryption.
const external = `
mariadb: {enabled: false}
redis: {enabled: false}
database: {host: mysql.databases.svc, existingSecret: achilles-database, tls: "%[1]t"}
externalRedis: {host: redis.databases.svc, existingSecret: achilles-redis, tls: %[1]t}
auth: {existingSecret: achilles-auth}
feed: {existingSecret: achilles-feed}`

func (o overlay) render(t testing.TB) manifest.Objects {
	t.Helper()
	return kustomize(t, folder+"/overlays/"+o.name)
}

// The generated manifests are up to date.
func TestGeneratedFilesAreCurrent(t *testing.T) {
	files, err := Generate(root)
	require.NoError(t, err)
	for path, content := range files {
		old, err := os.ReadFile(filepath.Join(root, path))
		require.NoError(t, err, "run make chart")
		require.True(t, bytes.Equal(content, old), "%s is stale: run make chart", path)
	}
	found, err := filepath.Glob(filepath.Join(root, dir, "base/services/*"))
	require.NoError(t, err)
	for _, file := range found {
		path, err := filepath.Rel(root, file)
		require.NoError(t, err)
		require.Contains(t, files, path, "it isn't generated any more: remove it")
	}
}

// Each overlay has the objects of the chart, with the same fields except those that alike removes.
func TestOverlaysEqualTheChart(t *testing.T) { overlaysEqualTheChart(t, root) }

// That holds for a service that is added to the list, without another change.
func TestOverlaysOfANewService(t *testing.T) {
	copied := t.TempDir()
	for _, dir := range []string{chartDir, dir, "deploy/observability"} {
		require.NoError(t, os.CopyFS(filepath.Join(copied, dir), os.DirFS(filepath.Join(root, dir))))
	}
	list, err := os.ReadFile(filepath.Join(root, services.File))
	require.NoError(t, err)
	list = fmt.Append(list, "- {name: comment, port: 8083, adminPort: 9083, paths: [/api/v1/comments], follows: [article], resources: [{name: comment, path: /api/v1/comments}]}\n")
	require.NoError(t, os.Mkdir(filepath.Join(copied, "services"), 0o700))
	for _, path := range []string{services.File, filepath.Join(chartDir, "files", filepath.Base(services.File))} {
		require.NoError(t, os.WriteFile(filepath.Join(copied, path), list, 0o600))
	}
	files, err := Generate(copied)
	require.NoError(t, err)
	for path, content := range files {
		require.NoError(t, os.WriteFile(filepath.Join(copied, path), content, 0o600))
	}
	require.Contains(t, serviceNames(t, copied), "comment")
	overlaysEqualTheChart(t, copied)
}

func overlaysEqualTheChart(t *testing.T, root string) {
	for _, o := range overlays {
		t.Run(o.name, func(t *testing.T) {
			want, got := chart(t, root, o.namespace, o.values), kustomize(t, filepath.Join(root, dir, "overlays", o.name))
			names := serviceNames(t, root)
			for _, service := range names {
				require.Equal(t, settings(t, want, service), settings(t, got, service), "what %s reads", service)
			}
			alike(t, want)
			alike(t, got)
			if o.withoutPolicies {
				for _, name := range append(names, "check", "default") {
					require.Contains(t, want, "NetworkPolicy achilles-"+name)
					delete(want, "NetworkPolicy achilles-"+name)
				}
			}
			require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
			for key := range want {
				if difference := cmp.Diff(want[key], got[key]); difference != "" {
					t.Errorf("%s (- chart, + overlay):\n%s", key, difference)
				}
			}
		})
	}
}

// alike removes what may differ.
func alike(t *testing.T, all manifest.Objects) {
	asPod(all)
	for key, object := range all {
		switch object := object.(type) {
		case *corev1.Namespace, *corev1.Secret: // only the development overlay has them
			delete(all, key)
		case *corev1.ConfigMap:
			alikeConfigMap(all, key, object)
		case *appsv1.Deployment:
			object.Spec.Template.ObjectMeta = alikeMetadata(object.Spec.Template.ObjectMeta)
			alikeSettings(object.Spec.Template.Spec.InitContainers)
			alikeSettings(object.Spec.Template.Spec.Containers)
		case *unstructured.Unstructured:
			alikeText(t, object)
		}
		object.SetLabels(alikeLabels(object.GetLabels()))
	}
	require.NotEmpty(t, all)
}

// asPod replaces the CronJob of the check by its pod, which in the chart is the hook of helm test.
func asPod(all manifest.Objects) {
	if job, ok := all["CronJob achilles-check"].(*batchv1.CronJob); ok {
		delete(all, "CronJob achilles-check")
		template := job.Spec.JobTemplate.Spec.Template
		pod := corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: template.ObjectMeta, Spec: template.Spec}
		pod.Name, pod.Namespace = job.Name, job.Namespace
		all["Pod achilles-check"] = &pod
	}
	delete(all, "Pod achilles-check-egress") // Helm alone tests the network policies
	delete(all, "Pod achilles-check-ingress")
	pod := all["Pod achilles-check"].(*corev1.Pod)
	pod.ObjectMeta = alikeMetadata(pod.ObjectMeta)
	pod.Spec.Containers[0].EnvFrom = nil // see TestCheckSignsAsTheServicesDo
}

// alikeConfigMap removes the settings, which are compared as the services read them.
func alikeConfigMap(all manifest.Objects, key string, configMap *corev1.ConfigMap) {
	switch configMap.Name {
	case "achilles-environment", "achilles-redis":
		delete(all, key)
	}
	delete(configMap.Data, "settings.yaml")
	if configMap.Name == "achilles-dashboard" { // the chart has one for each release: see TestDashboard
		configMap.Data = nil
	}
	for file, text := range configMap.Data {
		configMap.Data[file] = strings.TrimSpace(text)
	}
}

// alikeText removes the empty lines that kustomize adds to folded text, which PromQL ignores.
func alikeText(t *testing.T, object *unstructured.Unstructured) {
	text, err := object.MarshalJSON()
	require.NoError(t, err)
	require.NoError(t, object.UnmarshalJSON(bytes.ReplaceAll(text, []byte(`\n\n`), []byte(`\n`))))
}

// alikeMetadata removes the checksums of the chart, which overlays have in names, and Helm's hooks.
func alikeMetadata(metadata metav1.ObjectMeta) metav1.ObjectMeta {
	maps.DeleteFunc(metadata.Annotations, func(key, _ string) bool {
		return strings.HasPrefix(key, "checksum/") || strings.HasPrefix(key, "helm.sh/hook")
	})
	if len(metadata.Annotations) == 0 {
		metadata.Annotations = nil
	}
	metadata.Labels = alikeLabels(metadata.Labels)
	return metadata
}

// alikeLabels removes the manager of the object, and the version of the bundled servers.
func alikeLabels(labels map[string]string) map[string]string {
	labels = maps.Clone(labels)
	delete(labels, "app.kubernetes.io/managed-by")
	if component := labels["app.kubernetes.io/component"]; component == "mariadb" || component == "redis" {
		delete(labels, "app.kubernetes.io/version")
	}
	return labels
}

func alikeSettings(containers []corev1.Container) {
	for i := range containers {
		containers[i].EnvFrom = nil
		containers[i].Env = slices.DeleteFunc(containers[i].Env, func(v corev1.EnvVar) bool { return strings.HasPrefix(v.Name, "ACHILLES_") })
		if len(containers[i].Env) == 0 {
			containers[i].Env = nil // as where there are no variables
		}
	}
}

// settings returns what a service reads, by the names of the variables: its file, overridden by the environment.
func settings(t *testing.T, all manifest.Objects, service string) map[string]string {
	t.Helper()
	text, environment := configuration(t, all, service)
	var file map[string]map[string]any
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), &file))
	read := map[string]string{}
	for section, values := range file {
		for key, value := range values {
			text := fmt.Sprint(value)
			if _, ok := value.([]any); ok { // as a variable has it
				text = strings.Trim(strings.ReplaceAll(text, " ", ","), "[]")
			}
			read[strings.ToUpper("ACHILLES_"+section+"_"+key)] = text
		}
	}
	maps.Copy(read, environment)
	return read
}

// configuration returns the settings file of a service and its environment. Its migration reads the same except for Redis.
func configuration(t *testing.T, all manifest.Objects, service string) (file string, environment map[string]string) {
	t.Helper()
	pod := manifest.Get[appsv1.Deployment](t, all, "achilles-"+service).Spec.Template.Spec
	environment, withoutRedis := environmentOf(t, all, pod.Containers[0]), environmentOf(t, all, pod.Containers[0])
	maps.DeleteFunc(withoutRedis, func(name, _ string) bool { return strings.HasPrefix(name, "ACHILLES_REDIS_") })
	require.Equal(t, withoutRedis, environmentOf(t, all, pod.InitContainers[0]))
	volume := pod.Volumes[slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == "settings" })]
	return manifest.Get[corev1.ConfigMap](t, all, volume.ConfigMap.Name).Data["settings.yaml"], environment
}

// environmentOf returns the variables of a container that are settings.
func environmentOf(t *testing.T, all manifest.Objects, container corev1.Container) map[string]string {
	t.Helper()
	environment := map[string]string{}
	for _, from := range container.EnvFrom {
		maps.Copy(environment, manifest.Get[corev1.ConfigMap](t, all, from.ConfigMapRef.Name).Data)
	}
	for _, variable := range container.Env {
		if strings.HasPrefix(variable.Name, "ACHILLES_") {
			environment[variable.Name] = variable.Value
		}
	}
	return environment
}
