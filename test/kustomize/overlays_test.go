package kustomize

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/achilles-blog/achilles/test/manifest"
	"github.com/achilles-blog/achilles/test/process"
)

func TestEverythingIsLabelled(t *testing.T) {
	for _, o := range overlays {
		t.Run(o.name, func(t *testing.T) {
			all := o.render(t)
			labelled := func(what string, labels map[string]string) {
				require.Equal(t, []string{"achilles", "achilles", "achilles"}, []string{
					labels["app.kubernetes.io/name"], labels["app.kubernetes.io/instance"], labels["app.kubernetes.io/part-of"],
				}, what)
			}
			for key, object := range all {
				labelled(key, object.GetLabels())
				require.Equal(t, "kustomize", object.GetLabels()["app.kubernetes.io/managed-by"], key)
				if key != "Namespace "+o.namespace {
					require.Equal(t, o.namespace, object.GetNamespace(), key)
				}
			}
			for key, pod := range podTemplates(all) {
				labelled(key, pod.Labels)
				require.NotEmpty(t, pod.Labels["app.kubernetes.io/component"], key)
			}
		})
	}
}

// Each selector matches a pod.
func TestSelectors(t *testing.T) {
	for _, o := range overlays {
		t.Run(o.name, func(t *testing.T) {
			all := o.render(t)
			selects := func(key string, selector *metav1.LabelSelector) {
				parsed, err := metav1.LabelSelectorAsSelector(selector)
				require.NoError(t, err)
				for _, pod := range podTemplates(all) {
					if parsed.Matches(labels.Set(pod.Labels)) {
						return
					}
				}
				t.Errorf("%s selects no pod: %v", key, selector)
			}
			manifest.Each(all, func(key string, s *corev1.Service) { selects(key, &metav1.LabelSelector{MatchLabels: s.Spec.Selector}) })
			manifest.Each(all, func(key string, p *policyv1.PodDisruptionBudget) { selects(key, p.Spec.Selector) })
			manifest.Each(all, func(key string, p *networkingv1.NetworkPolicy) { selects(key, &p.Spec.PodSelector) })
		})
	}
}

// reference is an object that another one needs, with a key, or a port of that name.
type reference struct{ kind, name, key string }

// references returns all references of the objects.
func references(all manifest.Objects) []reference {
	var found []reference
	need := func(kind, name, key string) { found = append(found, reference{kind, name, key}) }
	for _, pod := range podTemplates(all) {
		need("ServiceAccount", pod.Spec.ServiceAccountName, "")
		for _, volume := range pod.Spec.Volumes {
			volumeNeeds(volume.VolumeSource, need)
		}
		for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			containerNeeds(pod.Spec, container, need)
		}
	}
	manifest.Each(all, func(_ string, s *appsv1.StatefulSet) { need("Service", s.Spec.ServiceName, "") })
	manifest.Each(all, func(_ string, h *autoscalingv2.HorizontalPodAutoscaler) {
		need(h.Spec.ScaleTargetRef.Kind, h.Spec.ScaleTargetRef.Name, "")
	})
	manifest.Each(all, func(_ string, i *networkingv1.Ingress) {
		for _, rule := range i.Spec.Rules {
			for _, path := range rule.HTTP.Paths {
				need("Service", path.Backend.Service.Name, path.Backend.Service.Port.Name)
			}
		}
		for _, certificate := range i.Spec.TLS {
			need("Secret", certificate.SecretName, "tls.crt")
			need("Secret", certificate.SecretName, "tls.key")
		}
	})
	return found
}

func volumeNeeds(volume corev1.VolumeSource, need func(kind, name, key string)) {
	if volume.ConfigMap != nil {
		need("ConfigMap", volume.ConfigMap.Name, "")
	}
	if volume.Secret != nil {
		need("Secret", volume.Secret.SecretName, "")
	}
	if volume.PersistentVolumeClaim != nil {
		need("PersistentVolumeClaim", volume.PersistentVolumeClaim.ClaimName, "")
	}
	if volume.Projected != nil {
		for _, source := range volume.Projected.Sources {
			for _, item := range source.Secret.Items {
				need("Secret", source.Secret.Name, item.Key)
			}
		}
	}
}

func containerNeeds(pod corev1.PodSpec, container corev1.Container, need func(kind, name, key string)) {
	for _, from := range container.EnvFrom {
		need("ConfigMap", from.ConfigMapRef.Name, "")
	}
	files := slices.Clone(container.Args)
	for _, variable := range container.Env {
		files = append(files, variable.Value)
	}
	for _, variable := range container.Env {
		if variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef != nil {
			need("Secret", variable.ValueFrom.SecretKeyRef.Name, variable.ValueFrom.SecretKeyRef.Key)
		}
	}
	for _, mount := range container.VolumeMounts {
		for _, volume := range pod.Volumes {
			for _, file := range files {
				if volume.Name == mount.Name && volume.Secret != nil && path.Dir(file) == mount.MountPath {
					need("Secret", volume.Secret.SecretName, path.Base(file))
				}
			}
		}
	}
}

// missing returns the references to objects that don't exist.
func missing(all manifest.Objects) []reference {
	return slices.DeleteFunc(references(all), func(r reference) bool {
		object, ok := all[r.kind+" "+r.name]
		if !ok || r.key == "" {
			return ok
		}
		switch object := object.(type) {
		case *corev1.ConfigMap:
			_, ok = object.Data[r.key]
		case *corev1.Secret:
			_, ok = object.Data[r.key]
		case *corev1.Service:
			ok = slices.ContainsFunc(object.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == r.key })
		}
		return ok
	})
}

// An overlay has all objects that it refers to, except the Secrets that the README lists. The development overlay has those
// too.
func TestReferences(t *testing.T) {
	readme, err := os.ReadFile(folder + "/README.md")
	require.NoError(t, err)
	for _, o := range overlays {
		t.Run(o.name, func(t *testing.T) {
			needs := map[string]bool{}
			for _, r := range missing(o.render(t)) {
				require.Equal(t, "Secret", r.kind, "%s %s doesn't exist, or has no %q", r.kind, r.name, r.key)
				needs[r.name+" "+r.key] = true
				require.Regexp(t, "(?m)^\\| `"+r.name+"` \\|.*`"+r.key+"`", string(readme), "the README has a row for the Secret")
			}
			require.Equal(t, o.needs, slices.Sorted(maps.Keys(needs)))
		})
	}
}

// Only the development overlay has passwords, servers without persistence, and the namespace, whose deletion deletes
// everything in it.
func TestDevelopmentStaysThere(t *testing.T) {
	for _, o := range overlays {
		for key, object := range o.render(t) {
			kind, _, _ := strings.Cut(key, " ")
			if o.name != "dev" {
				require.NotContains(t, []string{"Secret", "StatefulSet", "Namespace"}, kind, "%s in %s", key, o.name)
			}
			if secret, ok := object.(*corev1.Secret); ok {
				for name, value := range secret.Data {
					require.Contains(t, string(value), "development", "%s, %s: a password that says what it is", key, name)
				}
			}
		}
	}
}

// A changed setting replaces the pods, because it changes a name in the pods' template.
func TestSettingsRollPods(t *testing.T) {
	for _, o := range overlays {
		t.Run(o.name, func(t *testing.T) {
			before := manifest.Decode(t, build(t, folder+"/overlays/"+o.name))
			after := manifest.Decode(t, build(t, overlayOf(t, "overlays/"+o.name, `
configMapGenerator:
  - {name: achilles-environment, namespace: `+o.namespace+`, behavior: merge, literals: ["ACHILLES_TRACING_ENDPOINT=http://otel:4318"]}`)))
			for _, service := range serviceNames(t, root) {
				key := "Deployment achilles-" + service
				require.NotEqual(t, podTemplates(before)[key], podTemplates(after)[key])
				for _, r := range references(manifest.Objects{key: before[key]}) {
					if r.kind == "ConfigMap" {
						require.Regexp(t, hashed, r.name)
					}
				}
			}
			manifest.Each(before, func(key string, server *appsv1.StatefulSet) {
				require.Equal(t, server, after[key], "its data would be gone")
				for _, r := range references(manifest.Objects{key: server}) {
					if r.kind == "ConfigMap" {
						require.NotRegexp(t, hashed, r.name, "its data would be gone")
					}
				}
			})
		})
	}
}

// The services accept their settings: they report nothing but the database, which doesn't exist.
func TestServicesAcceptTheirSettings(t *testing.T) {
	for _, o := range overlays {
		for _, service := range serviceNames(t, root) {
			t.Run(o.name+" "+service, func(t *testing.T) {
				dir := t.TempDir()
				for _, name := range []string{"database-password", "feed-token", "redis-password", "keys.yaml"} {
					require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("a secret of more than 32 characters"), 0o600))
				}
				file, environment := configuration(t, o.render(t), service)
				file = strings.ReplaceAll(file, "/run/secrets/achilles", dir)
				require.NoError(t, os.WriteFile(filepath.Join(dir, "settings.yaml"), []byte(file), 0o600))
				given := process.Settings{}
				for name, value := range environment {
					given[strings.TrimPrefix(name, "ACHILLES_")] = strings.ReplaceAll(value, "/run/secrets/achilles", dir)
				}
				given["DATABASE_HOST"], given["DATABASE_MIGRATEWAIT"] = "127.0.0.1:1", "0s"
				p, exit := process.Run(t, process.Service(t, service), given, "migrate", "--config", filepath.Join(dir, "settings.yaml"))
				require.Equal(t, 1, exit)
				require.Contains(t, p.Stderr(), "cannot be used")
				require.NotContains(t, p.Stderr(), "settings.yaml", "a setting is rejected")
				require.NotContains(t, p.Stderr(), "ACHILLES_", "a variable is rejected")
			})
		}
	}
}

// Settings of tokens reach the services and the check.
func TestCheckSignsAsTheServicesDo(t *testing.T) {
	all := kustomize(t, overlayOf(t, "base", `
configMapGenerator:
  - {name: achilles-environment, behavior: merge, literals: [ACHILLES_AUTH_ISSUER=https://blog.example]}`))
	check := manifest.Get[batchv1.CronJob](t, all, "achilles-check").Spec.JobTemplate.Spec.Template.Spec.Containers[0]
	of := environmentOf(t, all, check)
	for _, service := range serviceNames(t, root) {
		read := settings(t, all, service)
		for _, name := range []string{"ACHILLES_AUTH_ISSUER", "ACHILLES_AUTH_KEYSFILE"} {
			require.NotEmpty(t, of[name])
			require.Equal(t, read[name], of[name], service)
		}
	}
}

// The key set for development is valid.
func TestDevelopmentKeySet(t *testing.T) {
	all := kustomize(t, folder+"/overlays/dev")
	file := filepath.Join(t.TempDir(), "keys.yaml")
	require.NoError(t, os.WriteFile(file, manifest.Get[corev1.Secret](t, all, "achilles-auth").Data["keys.yaml"], 0o600))
	p, exit := process.Run(t, process.Service(t, "article"), nil, "key", "rotate", file)
	require.Zero(t, exit, p.Stderr())
	require.Contains(t, p.Stdout(), "development")
}

// Each component works with the base alone.
func TestComponents(t *testing.T) {
	dirs, err := filepath.Glob(folder + "/components/*")
	require.NoError(t, err)
	require.NotEmpty(t, dirs)
	for _, dir := range dirs {
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			more := "components: [DEPLOY/components/" + name + "]\n"
			more += map[string]string{
				"redis":    "configMapGenerator: [{name: achilles-redis, literals: [ACHILLES_REDIS_ADDRESSES=redis:6379]}]",
				"files-s3": "configMapGenerator: [{name: achilles-files, literals: [ACHILLES_FILES_URL=s3://files]}]",
			}[name]
			all := kustomize(t, overlayOf(t, "base", more))
			for _, r := range missing(all) {
				require.Equal(t, "Secret", r.kind, "%s %s doesn't exist, or has no %q", r.kind, r.name, r.key)
			}
			without := kustomize(t, overlayOf(t, "base", ""))
			require.NotEqual(t, without, all, "it changes something")
		})
	}
}

// No overlay has this component.
func TestRouteEqualsTheChart(t *testing.T) {
	all := kustomize(t, overlayOf(t, "base", "namespace: blog\ncomponents: [DEPLOY/components/httproute]"))
	want := chart(t, root, "blog", "gateway: {enabled: true, parentRefs: [{name: public}]}")["HTTPRoute achilles"]
	got := all["HTTPRoute achilles"]
	require.NotNil(t, got)
	want.SetLabels(nil)
	got.SetLabels(nil)
	require.Equal(t, want, got)
}

// No overlay stores files. With redis before or after, the article service has the settings, the volumes and the network policy
// of the chart.
func TestFilesEqualTheChart(t *testing.T) {
	const url = "s3://files?region=eu-central-1"
	for name, c := range map[string]struct{ components, values, more string }{
		"s3": {
			"redis, network-policy, files-s3", "storage: s3, s3: {url: '" + url + "', existingSecret: achilles-files}", "\n  - {name: achilles-files, literals: ['ACHILLES_FILES_URL=" + url + "']}",
		},
		"s3 before redis": {
			"network-policy, files-s3, redis", "storage: s3, s3: {url: '" + url + "', existingSecret: achilles-files}", "\n  - {name: achilles-files, literals: ['ACHILLES_FILES_URL=" + url + "']}",
		},
		"claim": {"network-policy, files-claim, redis", "storage: claim, claim: {accessModes: [ReadWriteMany]}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			components := "DEPLOY/components/" + strings.ReplaceAll(c.components, ", ", ", DEPLOY/components/")
			got := kustomize(t, overlayOf(t, "base", "namespace: blog\ncomponents: ["+components+`]
configMapGenerator:
  - {name: achilles-environment, behavior: merge, literals: ["ACHILLES_DATABASE_HOST=mysql.databases.svc:3306"]}
  - {name: achilles-redis, literals: ["ACHILLES_REDIS_ADDRESSES=redis.databases.svc:6379", ACHILLES_REDIS_TLS=false]}`+c.more))
			want := chart(t, root, "blog", fmt.Sprintf(external, false)+"\nrollout: {shutdownSeconds: 63}\nfiles: {"+c.values+"}")
			require.Equal(t, settings(t, want, "article"), settings(t, got, "article"))
			alike(t, want)
			alike(t, got)
			for _, key := range []string{"Deployment achilles-article", "NetworkPolicy achilles-article", "PersistentVolumeClaim achilles-files"} {
				for _, object := range []metav1.Object{want[key], got[key]} {
					if object != nil {
						object.SetLabels(nil)
						object.SetAnnotations(nil) // Helm's policy
						alikeOrder(object)
					}
				}
				if difference := gocmp.Diff(want[key], got[key]); difference != "" {
					t.Errorf("%s (- chart, + components):\n%s", key, difference)
				}
			}
		})
	}
}

// alikeOrder sorts what may have any order.
func alikeOrder(object metav1.Object) {
	switch object := object.(type) {
	case *appsv1.Deployment:
		pod := &object.Spec.Template.Spec
		slices.SortFunc(pod.Volumes, func(a, b corev1.Volume) int { return cmp.Compare(a.Name, b.Name) })
		for _, container := range slices.Concat(pod.InitContainers, pod.Containers) { // which share their slices with the pod
			slices.SortFunc(container.Env, func(a, b corev1.EnvVar) int { return cmp.Compare(a.Name, b.Name) })
			slices.SortFunc(container.VolumeMounts, func(a, b corev1.VolumeMount) int { return cmp.Compare(a.Name, b.Name) })
		}
	case *networkingv1.NetworkPolicy:
		slices.SortFunc(object.Spec.Egress, func(a, b networkingv1.NetworkPolicyEgressRule) int {
			return cmp.Compare(a.String(), b.String())
		})
	}
}
