package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/achilles-blog/achilles/test/manifest"
)

// Kubernetes and the services have the same timeouts.
func TestTimeouts(t *testing.T) {
	for _, c := range []struct {
		name, values                          string
		preStop, grace                        int64
		drain, shutdown, request, read, write string
	}{
		{"default", ``, 3, 46, "5s", "20s", "15s", "15s", "18s"},
		{"others", `rollout: {preStopSeconds: 4, drainSeconds: 6, shutdownSeconds: 40, requestSeconds: 30, marginSeconds: 19}`,
			4, 69, "6s", "40s", "30s", "30s", "33s"},
		{"more than the sum", `rollout: {terminationGracePeriodSeconds: 100}`, 3, 100, "5s", "20s", "15s", "15s", "18s"},
		{"the sum", `rollout: {terminationGracePeriodSeconds: 46}`, 3, 46, "5s", "20s", "15s", "15s", "18s"},
		{"the least", `rollout: {preStopSeconds: 1, drainSeconds: 0, propagationSeconds: 0, shutdownSeconds: 6, requestSeconds: 2}`,
			1, 25, "0s", "6s", "2s", "2s", "5s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := render(t, c.values)
			for _, service := range serviceNames(t) {
				pod := manifest.Get[appsv1.Deployment](t, all, "achilles-"+service).Spec.Template.Spec
				require.Equal(t, c.grace, *pod.TerminationGracePeriodSeconds)
				require.Equal(t, &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: c.preStop}}},
					pod.Containers[0].Lifecycle, "without a shell, which the image doesn't have")
				server := settingsOf(t, all, service)["Server"]
				require.Equal(t, []any{c.drain, c.shutdown, c.request, c.read, c.write},
					[]any{server["DrainDelay"], server["ShutdownTimeout"], server["RequestTimeout"], server["ReadTimeout"], server["WriteTimeout"]})
			}
		})
	}
}

// The timeout of a header isn't longer than that of the request.
func TestReadHeaderTimeoutFollows(t *testing.T) {
	require.Equal(t, "5s", settingsOf(t, render(t, ``), "tag")["Server"]["ReadHeaderTimeout"])
	all := render(t, `{rollout: {requestSeconds: 2}, services: {article: {config: {Server: {ReadHeaderTimeout: 1s}}}}}`)
	require.Equal(t, "2s", settingsOf(t, all, "tag")["Server"]["ReadHeaderTimeout"])
	require.Equal(t, "1s", settingsOf(t, all, "article")["Server"]["ReadHeaderTimeout"])
}

func TestRollout(t *testing.T) {
	for _, c := range []struct {
		values   string
		surge    intstr.IntOrString
		ready    int32
		deadline int32
		history  int32
	}{
		{``, intstr.FromInt32(1), 3, 300, 5},
		{`rollout: {maxSurge: 25%, minReadySeconds: 10, progressDeadlineSeconds: 60, revisionHistoryLimit: 2}`, intstr.FromString("25%"), 10, 60, 2},
	} {
		all := render(t, c.values)
		for _, service := range serviceNames(t) {
			spec := manifest.Get[appsv1.Deployment](t, all, "achilles-"+service).Spec
			none := intstr.FromInt32(0)
			require.Equal(t, appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &none, MaxSurge: &c.surge},
			}, spec.Strategy)
			require.Equal(t, []int32{c.ready, c.deadline, c.history}, []int32{spec.MinReadySeconds, *spec.ProgressDeadlineSeconds, *spec.RevisionHistoryLimit})
		}
	}
}

// Probes use HTTP, because starting a program costs more. Liveness depends neither on other servers nor on a drain.
func TestProbes(t *testing.T) {
	all := render(t, ``)
	for _, service := range serviceNames(t) {
		c := container(t, all, service)
		for name, probe := range map[string]*corev1.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
			require.Equal(t, &corev1.HTTPGetAction{Path: name, Port: intstr.FromString("http")}, probe.HTTPGet)
		}
		require.Equal(t, c.LivenessProbe.HTTPGet, c.StartupProbe.HTTPGet, "a slow database must not get a starting pod killed")
		require.LessOrEqual(t, c.ReadinessProbe.PeriodSeconds, int32(2))
		require.LessOrEqual(t, c.StartupProbe.PeriodSeconds, int32(2))
		require.GreaterOrEqual(t, c.LivenessProbe.PeriodSeconds*c.LivenessProbe.FailureThreshold, int32(30))
		require.Contains(t, c.Ports, corev1.ContainerPort{Name: "http", ContainerPort: 8080})
		require.Contains(t, c.Ports, corev1.ContainerPort{Name: "admin", ContainerPort: 9090})
		server := settingsOf(t, all, service)["Server"]
		require.EqualValues(t, 8080, server["HttpPort"])
		require.EqualValues(t, 9090, server["AdminPort"])
		require.Empty(t, server["Host"])
		require.Equal(t, "", server["AdminHost"], "Prometheus reads it, also by IPv6; the default is the loopback")
	}
}

// A rollout is safe with every values file.
func TestSafeRollouts(t *testing.T) {
	for name, values := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			deployments := 0
			manifest.Each(render(t, values), func(key string, d *appsv1.Deployment) {
				deployments++
				pod := d.Spec.Template.Spec
				main := pod.Containers[0]
				require.Zero(t, d.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue(), key)
				require.NotEqual(t, "0", d.Spec.Strategy.RollingUpdate.MaxSurge.String(), key)
				require.Positive(t, main.Lifecycle.PreStop.Sleep.Seconds, key)
				require.Greater(t, *pod.TerminationGracePeriodSeconds, main.Lifecycle.PreStop.Sleep.Seconds+18, key)
				require.Contains(t, d.Spec.Template.Annotations, "checksum/settings", key)
				require.Contains(t, d.Spec.Template.Annotations, "checksum/secrets", key)
				require.NotNil(t, main.StartupProbe, key)
				require.NotNil(t, main.ReadinessProbe, key)
				require.NotNil(t, main.LivenessProbe, key)
				require.Equal(t, "migrate", pod.InitContainers[len(pod.InitContainers)-1].Name, key)
			})
			require.Equal(t, len(serviceNames(t)), deployments)
		})
	}
}

// A migration runs in each pod, with its image and settings. A hook would run before the Secrets and the database of the same
// release exist, and the next release could not change a Job.
func TestMigrations(t *testing.T) {
	for name, values := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			all := render(t, values)
			for key := range all {
				require.NotContains(t, key, "Job ")
			}
			manifest.Each(all, func(key string, d *appsv1.Deployment) {
				require.Empty(t, d.Annotations["helm.sh/hook"])
				pod := d.Spec.Template.Spec
				migrate, main := pod.InitContainers[len(pod.InitContainers)-1], pod.Containers[0]
				require.Equal(t, []string{"migrate", "--config", "/etc/achilles/settings.yaml"}, migrate.Args, key)
				require.Equal(t, []string{"serve", "--config", "/etc/achilles/settings.yaml"}, main.Args, key)
				require.Equal(t, main.Image, migrate.Image)
				require.Equal(t, main.ImagePullPolicy, migrate.ImagePullPolicy)
				require.Equal(t, main.Env, migrate.Env)
				require.Equal(t, main.VolumeMounts, migrate.VolumeMounts)
				require.Equal(t, main.Resources, migrate.Resources)
				require.Equal(t, main.SecurityContext, migrate.SecurityContext)
			})
			for key, object := range all { // the only pod that is a hook is that of helm test
				switch object.(type) {
				case *corev1.Pod:
					require.Equal(t, "test", object.GetAnnotations()["helm.sh/hook"], key)
				case *corev1.Secret:
				default:
					require.NotContains(t, object.GetAnnotations(), "helm.sh/hook", key)
				}
			}
		})
	}
}

// Immutable fields don't depend on the values, so that no upgrade is rejected.
func TestImmutableFields(t *testing.T) {
	first := render(t, ``)
	for name, values := range matrix(t) {
		if name == "everything" || name == "servers" { // other names, other objects
			continue
		}
		t.Run(name, func(t *testing.T) {
			next := render(t, values)
			for _, service := range serviceNames(t) {
				require.Equal(t, manifest.Get[appsv1.Deployment](t, first, "achilles-"+service).Spec.Selector, manifest.Get[appsv1.Deployment](t, next, "achilles-"+service).Spec.Selector)
			}
			manifest.Each(next, func(key string, s *appsv1.StatefulSet) {
				before := first[key].(*appsv1.StatefulSet).Spec
				require.Equal(t, before.Selector, s.Spec.Selector, key)
				require.Equal(t, before.ServiceName, s.Spec.ServiceName, key)
				require.Empty(t, s.Spec.VolumeClaimTemplates, key)
			})
		})
	}
}

// With an autoscaler the Deployment has no replicas: an upgrade would overwrite its number.
func TestReplicas(t *testing.T) {
	all := render(t, `{services: {tag: {replicas: 5}, article: {replicas: 3, autoscaling: {enabled: true, minReplicas: 4, maxReplicas: 8, targetCPUUtilizationPercentage: 55}}}}`)
	require.EqualValues(t, 5, *manifest.Get[appsv1.Deployment](t, all, "achilles-tag").Spec.Replicas)
	require.Nil(t, manifest.Get[appsv1.Deployment](t, all, "achilles-article").Spec.Replicas)
	require.NotContains(t, all, "HorizontalPodAutoscaler achilles-tag")
	spec := manifest.Get[autoscalingv2.HorizontalPodAutoscaler](t, all, "achilles-article").Spec
	require.Equal(t, autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "achilles-article"}, spec.ScaleTargetRef)
	require.EqualValues(t, 4, *spec.MinReplicas)
	require.EqualValues(t, 8, spec.MaxReplicas)
	require.EqualValues(t, 55, *spec.Metrics[0].Resource.Target.AverageUtilization)
	require.EqualValues(t, 300, *spec.Behavior.ScaleDown.StabilizationWindowSeconds)
	require.Contains(t, container(t, all, "article").Resources.Requests, corev1.ResourceCPU, "the target is a percentage of it")
}

func TestPodDisruptionBudget(t *testing.T) {
	all := render(t, `services: {article: {podDisruptionBudget: {enabled: false}}}`)
	require.NotContains(t, all, "PodDisruptionBudget achilles-article")
	spec := manifest.Get[policyv1.PodDisruptionBudget](t, all, "achilles-tag").Spec
	require.Equal(t, "1", spec.MaxUnavailable.String())
	require.Nil(t, spec.MinAvailable)
	require.Equal(t, policyv1.AlwaysAllow, *spec.UnhealthyPodEvictionPolicy)
	require.Equal(t, manifest.Get[appsv1.Deployment](t, all, "achilles-tag").Spec.Selector, spec.Selector)
}

// Each revision is spread by itself, because the old pods are about to be stopped.
func TestTopologySpread(t *testing.T) {
	deployment := manifest.Get[appsv1.Deployment](t, render(t, ``), "achilles-tag")
	spread := deployment.Spec.Template.Spec.TopologySpreadConstraints
	require.Len(t, spread, 2)
	for i, key := range []string{"kubernetes.io/hostname", "topology.kubernetes.io/zone"} {
		require.Equal(t, corev1.TopologySpreadConstraint{
			MaxSkew: 1, TopologyKey: key, WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector: deployment.Spec.Selector, MatchLabelKeys: []string{"pod-template-hash"},
		}, spread[i])
	}
	require.Empty(t, manifest.Get[appsv1.Deployment](t, render(t, `services: {tag: {topologySpread: []}}`), "achilles-tag").Spec.Template.Spec.TopologySpreadConstraints)
}

// podTemplate returns the template of a service's pods without the checksum of secrets, which are new in each render.
func podTemplate(t *testing.T, service, values string) string {
	t.Helper()
	template := manifest.Get[appsv1.Deployment](t, render(t, values), "achilles-"+service).Spec.Template
	delete(template.Annotations, "checksum/secrets")
	text, err := yaml.Marshal(template)
	require.NoError(t, err)
	return string(text)
}

// Pods are replaced only if a setting changes that doesn't change while they run.
func TestSettingsReplacePods(t *testing.T) {
	for _, c := range []struct {
		values string
		rolled []string
	}{
		{`logLevel: debug`, nil},
		{`services: {tag: {config: {Log: {Level: warn}}}}`, nil},
		{`readOnly: true`, nil},
		{`services: {article: {config: {App: {MaxPageSize: 50}}}}`, nil},
		{`services: {article: {config: {App: {MaxPageSize: 50, MaxContentBytes: 1000000}}}}`, []string{"article"}},
		{`trustedProxies: [10.2.0.0/16]`, nil},
		{`services: {article: {config: {Limits: {AuthPerMinute: 1}}}}`, nil},
		{`services: {tag: {config: {Server: {CorsAllowedOrigins: ["https://blog.example"], SharedMaxAge: 30s}, Tracing: {SampleRatio: 0.1}}}}`, nil},
		{`services: {tag: {config: {Server: {MaxRequests: 500}}}}`, []string{"tag"}},
		{`services: {article: {replicas: 7}}`, nil},
		{`services: {article: {podDisruptionBudget: {enabled: false}}}`, nil},
		{`ingress: {enabled: true}`, nil},
		{`services: {tag: {config: {Health: {Strict: true}}}}`, []string{"tag"}},
		{`tracing: {endpoint: "http://otel:4318"}`, serviceNames(t)},
		{`rollout: {drainSeconds: 6}`, serviceNames(t)},
		{`redis: {enabled: false}`, serviceNames(t)},
		{`auth: {existingSecret: mine}`, serviceNames(t)},
		{`services: {tag: {database: {name: other}}}`, []string{"tag"}},
	} {
		t.Run(c.values, func(t *testing.T) {
			for _, service := range serviceNames(t) {
				changed := podTemplate(t, service, ``) != podTemplate(t, service, c.values)
				require.Equal(t, slices.Contains(c.rolled, service), changed, service)
			}
		})
	}
}

// All settings that change while a service runs, at once, replace no pod.
func TestLiveSettingsReplaceNoPods(t *testing.T) {
	text, err := os.ReadFile("../../deploy/helm/achilles/files/live.yaml")
	require.NoError(t, err)
	var live map[string][]string
	require.NoError(t, yaml.Unmarshal(text, &live))
	derived := []string{"Server.RequestTimeout", "Server.TrustedProxies"} // from other values
	for _, service := range serviceNames(t) {
		text, err := os.ReadFile("../../deploy/config/" + service + ".yaml")
		require.NoError(t, err)
		var defaults map[string]map[string]any
		require.NoError(t, yaml.Unmarshal(text, &defaults))
		config := map[string]map[string]any{}
		for _, key := range live[service] {
			section, name, _ := strings.Cut(key, ".")
			require.Contains(t, defaults[section], name)
			if slices.Contains(derived, key) {
				continue
			}
			if config[section] == nil {
				config[section] = map[string]any{}
			}
			config[section][name] = defaults[section][name] // the file has only what differs from the chart's own
		}
		require.Contains(t, config, "Limits")
		values, err := yaml.Marshal(map[string]any{"services": map[string]any{service: map[string]any{"config": config}}})
		require.NoError(t, err)
		require.Equal(t, podTemplate(t, service, ``), podTemplate(t, service, string(values)))
		require.Equal(t, config["Limits"], settingsOf(t, render(t, string(values)), service)["Limits"], "the pods see them in the file")
	}
}

// Running services see a changed log level in the file.
func TestLogLevel(t *testing.T) {
	all := render(t, `{logLevel: warn, services: {article: {config: {Log: {Level: debug}}}}}`)
	require.Equal(t, "warn", settingsOf(t, all, "tag")["Log"]["Level"])
	require.Equal(t, "debug", settingsOf(t, all, "article")["Log"]["Level"])
	for _, service := range serviceNames(t) {
		for _, mount := range container(t, all, service).VolumeMounts {
			require.Empty(t, mount.SubPath, "a file that is mounted by itself is never updated")
		}
	}
}
