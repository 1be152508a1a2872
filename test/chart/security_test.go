package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/achilles-blog/achilles/test/manifest"
	"github.com/achilles-blog/achilles/test/process"
)

// Every pod, including the bundled servers and the test, complies with more than the restricted Pod Security Standard.
func TestPodsAreRestricted(t *testing.T) {
	for name, values := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			for key, pod := range podSpecs(render(t, values)) {
				require.False(t, *pod.AutomountServiceAccountToken, key)
				require.False(t, *pod.EnableServiceLinks, key)
				require.True(t, *pod.SecurityContext.RunAsNonRoot, key)
				require.Equal(t, corev1.SeccompProfileTypeRuntimeDefault, pod.SecurityContext.SeccompProfile.Type, key)
				require.False(t, pod.HostNetwork || pod.HostPID || pod.HostIPC, key)
				for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
					require.False(t, *c.SecurityContext.AllowPrivilegeEscalation, key)
					require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem, key)
					require.Equal(t, []corev1.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop, key)
					require.Empty(t, c.SecurityContext.Capabilities.Add, key)
				}
			}
		})
	}
}

func TestUsers(t *testing.T) {
	specs := podSpecs(render(t, ``))
	for key, user := range map[string]int64{
		"Deployment achilles-tag": 65532, "Deployment achilles-article": 65532, "Pod achilles-check": 65532,
		"Pod achilles-check-egress": 65532, "Pod achilles-check-ingress": 65532,
		"StatefulSet achilles-mariadb": 999, "StatefulSet achilles-redis": 999,
	} {
		require.Equal(t, user, *specs[key].SecurityContext.RunAsUser, key)
		require.Equal(t, user, *specs[key].SecurityContext.FSGroup, "this group can read the secrets")
	}
	require.Len(t, specs, 7)
}

// No secret is in the settings or the environment, which everyone who can read pods sees.
func TestSecretsAreInSecretsOnly(t *testing.T) {
	for name, values := range matrix(t) {
		t.Run(name, func(t *testing.T) {
			all := render(t, values)
			secret := map[string]bool{}
			manifest.Each(all, func(_ string, s *corev1.Secret) {
				for _, value := range s.Data {
					require.GreaterOrEqual(t, len(value), 32)
					secret[strings.TrimSpace(strings.TrimPrefix(string(value), "requirepass "))] = true
				}
			})
			manifest.Each(all, func(key string, c *corev1.ConfigMap) {
				for value := range secret {
					for _, text := range c.Data {
						require.NotContains(t, text, value, key)
					}
				}
			})
			for key, pod := range podSpecs(all) {
				for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
					for _, variable := range c.Env {
						require.False(t, secret[variable.Value], key)
						if from := variable.ValueFrom; from != nil && from.SecretKeyRef != nil {
							require.Contains(t, []string{"ACHILLES_DATABASE_USERNAME", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}, variable.Name, key)
						}
					}
				}
			}
		})
	}
}

// filesOf returns the Secret and key of each Secret file of a service.
func filesOf(t *testing.T, all manifest.Objects, deployment string) map[string][2]string {
	t.Helper()
	return secretFiles(manifest.Get[appsv1.Deployment](t, all, deployment).Spec.Template.Spec)
}

func secretFiles(pod corev1.PodSpec) map[string][2]string {
	files := map[string][2]string{}
	for _, volume := range pod.Volumes {
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			for _, item := range source.Secret.Items {
				files[item.Path] = [2]string{source.Secret.Name, item.Key}
			}
		}
	}
	return files
}

func TestSecretsOfTheServices(t *testing.T) {
	all := render(t, ``)
	for _, service := range serviceNames(t) {
		require.Equal(t, map[string][2]string{
			"keys.yaml": {"achilles-auth", "keys.yaml"}, "database-password": {"achilles-mariadb", service + "-password"},
			"feed-token": {"achilles-feed", "token"}, "redis-password": {"achilles-redis", "password"},
		}, filesOf(t, all, "achilles-"+service))
	}

	all = render(t, matrix(t)["production"])
	for _, service := range serviceNames(t) {
		require.Equal(t, map[string][2]string{
			"keys.yaml": {"blog-auth", "keys.yaml"}, "database-password": {"blog-database", service + "-password"},
			"feed-token": {"blog-feed", "token"}, "redis-password": {"blog-redis", "password"},
		}, filesOf(t, all, "achilles-"+service))
	}
	manifest.Each(all, func(key string, _ *corev1.Secret) {
		t.Errorf("%s is made, though all of them are somebody else's", key)
	})

	all = render(t, `{mariadb: {enabled: false}, database: {host: db, existingSecret: a}, services: {article: {database: {existingSecret: b, passwordKey: k, usernameKey: u}}}}`)
	require.Equal(t, [2]string{"a", "tag-password"}, filesOf(t, all, "achilles-tag")["database-password"])
	require.Equal(t, [2]string{"b", "k"}, filesOf(t, all, "achilles-article")["database-password"])
	require.Equal(t, "u", container(t, all, "article").Env[0].ValueFrom.SecretKeyRef.Key)

	all = render(t, matrix(t)["servers"])
	require.Equal(t, map[string][2]string{
		"keys.yaml": {"blog-auth", "keys.yaml"}, "database-password": {"tags-database", "secret"}, "feed-token": {"blog-feed", "token"},
	}, filesOf(t, all, "blog-tag"))
	require.Equal(t, [2]string{"articles-database", "secret"}, filesOf(t, all, "blog-article")["database-password"])
	for service, secret := range map[string]string{"tag": "tags-database", "article": "articles-database"} {
		env := manifest.Get[appsv1.Deployment](t, all, "blog-"+service).Spec.Template.Spec.Containers[0].Env
		require.Contains(t, env, corev1.EnvVar{Name: "ACHILLES_DATABASE_USERNAME", ValueFrom: &corev1.EnvVarSource{
			SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}, Key: "username"},
		}})
	}
}

// Generated passwords are used by servers and services, and replace the pods when they change.
func TestGeneratedSecrets(t *testing.T) {
	all := render(t, ``)
	other := render(t, ``)
	for name, keys := range map[string][]string{"achilles-mariadb": {"article-password", "root-password", "tag-password"}, "achilles-redis": {"password", "redis.conf"},
		"achilles-feed": {"token"}, "achilles-auth": {"keys.yaml"}} {
		secret := manifest.Get[corev1.Secret](t, all, name)
		require.Equal(t, keys, slices.Sorted(maps.Keys(secret.Data)))
		for _, key := range keys {
			require.NotEqual(t, secret.Data[key], manifest.Get[corev1.Secret](t, other, name).Data[key], "new for each installation")
		}
	}
	for _, service := range serviceNames(t) {
		var rolls []string // not the key set, which running pods reload
		for _, secret := range [][2]string{{"achilles-mariadb", service + "-password"}, {"achilles-feed", "token"}, {"achilles-redis", "password"}} {
			rolls = append(rolls, base64.StdEncoding.EncodeToString(manifest.Get[corev1.Secret](t, all, secret[0]).Data[secret[1]]))
		}
		sum := sha256.Sum256([]byte(strings.Join(rolls, "\n")))
		require.Equal(t, hex.EncodeToString(sum[:]), podAnnotations(t, all, service)["checksum/secrets"])
	}
	redis := manifest.Get[corev1.Secret](t, all, "achilles-redis").Data
	require.Equal(t, "requirepass "+string(redis["password"])+"\n", string(redis["redis.conf"]))
	passwords := manifest.Get[corev1.Secret](t, all, "achilles-mariadb").Data
	require.NotEqual(t, passwords["tag-password"], passwords["root-password"])
	require.NotEqual(t, passwords["tag-password"], passwords["article-password"])
}

// The generated key set is valid. It isn't part of the release, because a rollback would restore an older one.
func TestGeneratedKeySet(t *testing.T) {
	secret := manifest.Get[corev1.Secret](t, render(t, ``), "achilles-auth")
	require.Equal(t, "pre-install,pre-upgrade", secret.Annotations["helm.sh/hook"])
	file := filepath.Join(t.TempDir(), "keys.yaml")
	require.NoError(t, os.WriteFile(file, secret.Data["keys.yaml"], 0o600))
	p, exit := process.Run(t, process.Service(t, "article"), nil, "key", "rotate", file)
	require.Zero(t, exit, p.Stderr())
	var keySets [2]struct{ Keys []map[string]string }
	require.NoError(t, yaml.Unmarshal(secret.Data["keys.yaml"], &keySets[0]))
	require.NoError(t, yaml.Unmarshal([]byte(p.Stdout()), &keySets[1]))
	require.Len(t, keySets[0].Keys, 1)
	require.Len(t, keySets[1].Keys, 2)
	require.Equal(t, keySets[0].Keys[0], keySets[1].Keys[0], "it signs until the new one does")
	key, err := base64.StdEncoding.DecodeString(keySets[0].Keys[0]["secret"])
	require.NoError(t, err)
	require.Len(t, key, 32)

	require.Contains(t, manifest.Get[corev1.Secret](t, render(t, `auth: {keysKey: "y"}`), "achilles-auth").Data, "y")
	require.NotContains(t, render(t, `auth: {existingSecret: mine}`), "Secret achilles-auth")
}

func TestResources(t *testing.T) {
	for _, service := range serviceNames(t) {
		c := container(t, render(t, ``), service)
		require.Contains(t, c.Resources.Requests, corev1.ResourceCPU)
		require.Contains(t, c.Resources.Requests, corev1.ResourceMemory)
		require.NotContains(t, c.Resources.Limits, corev1.ResourceCPU, "throttling adds latency")
		require.Equal(t, resource.MustParse("256Mi"), c.Resources.Limits[corev1.ResourceMemory])
		limits := func(v corev1.EnvVar) bool { return v.Name == "GOMEMLIMIT" }
		require.False(t, slices.ContainsFunc(c.Env, limits), "the program derives it from the limit of the container")
		c = container(t, render(t, `serviceDefaults: {extraEnv: [{name: GOMEMLIMIT, value: 100MiB}]}`), service)
		require.Contains(t, c.Env, corev1.EnvVar{Name: "GOMEMLIMIT", Value: "100MiB"})
	}
}

func TestServiceAccount(t *testing.T) {
	all := render(t, ``)
	require.False(t, *manifest.Get[corev1.ServiceAccount](t, all, "achilles").AutomountServiceAccountToken)
	for key, pod := range podSpecs(all) {
		require.Equal(t, "achilles", pod.ServiceAccountName, key)
	}
	for key, pod := range podSpecs(render(t, `serviceAccount: {create: false}`)) {
		require.Equal(t, "default", pod.ServiceAccountName, key)
	}
	for key, pod := range podSpecs(render(t, `serviceAccount: {create: false, name: mine}`)) {
		require.Equal(t, "mine", pod.ServiceAccountName, key)
	}
}

// The recommended labels are set, and a user's labels can't change a selector.
func TestLabels(t *testing.T) {
	all := render(t, `{commonLabels: {team: blog, app.kubernetes.io/component: x}, services: {tag: {podLabels: {app.kubernetes.io/name: other, tier: backend}, podAnnotations: {prometheus.io/port: "1", a: b}}}}`)
	deployment := manifest.Get[appsv1.Deployment](t, all, "achilles-tag")
	want := map[string]string{"app.kubernetes.io/name": "achilles", "app.kubernetes.io/instance": "achilles", "app.kubernetes.io/component": "tag"}
	require.Equal(t, want, deployment.Spec.Selector.MatchLabels)
	for _, labels := range []map[string]string{deployment.Labels, deployment.Spec.Template.Labels} {
		for key, value := range want {
			require.Equal(t, value, labels[key])
		}
		require.Equal(t, "achilles", labels["app.kubernetes.io/part-of"])
		require.Equal(t, appVersion(t), labels["app.kubernetes.io/version"])
		require.Equal(t, "Helm", labels["app.kubernetes.io/managed-by"])
		require.Equal(t, "blog", labels["team"])
	}
	require.Equal(t, "backend", deployment.Spec.Template.Labels["tier"])
	require.Equal(t, "b", deployment.Spec.Template.Annotations["a"])
	require.Equal(t, "1", deployment.Spec.Template.Annotations["prometheus.io/port"])
}

// The pods of the bundled servers change only with their own values, because each change loses the data on an emptyDir.
func TestBundledServersStay(t *testing.T) {
	for _, name := range []string{"achilles-mariadb", "achilles-redis"} {
		before := manifest.Get[appsv1.StatefulSet](t, render(t, ``), name).Spec.Template
		require.NotContains(t, before.Labels, "app.kubernetes.io/version")
		require.NotContains(t, before.Labels, "helm.sh/chart")
		after := manifest.Get[appsv1.StatefulSet](t, render(t, `{logLevel: debug, rollout: {drainSeconds: 9}, services: {tag: {replicas: 4, config: {Health: {Strict: true}}}}}`), name)
		require.Equal(t, before, after.Spec.Template)
	}
}

func TestImages(t *testing.T) {
	image := func(values, service string) string { return container(t, render(t, values), service).Image }
	require.Equal(t, "achilles-blog/tag:"+appVersion(t), image(``, "tag"))
	require.Equal(t, "achilles-blog/article:2.0", image(`services: {article: {image: {tag: "2.0"}}}`, "article"))
	digest := "sha256:" + strings.Repeat("0a", 32)
	require.Equal(t, "r.example/t@"+digest, image(`services: {tag: {image: {repository: r.example/t, tag: x, digest: "`+digest+`"}}}`, "tag"))
	all := render(t, ``)
	require.Equal(t, "docker.io/library/mariadb:11.4", podSpecs(all)["StatefulSet achilles-mariadb"].Containers[0].Image)
	require.Equal(t, "docker.io/library/redis:7.2", podSpecs(all)["StatefulSet achilles-redis"].Containers[0].Image)
	for key, pod := range podSpecs(render(t, `imagePullSecrets: [{name: registry}]`)) {
		require.Equal(t, []corev1.LocalObjectReference{{Name: "registry"}}, pod.ImagePullSecrets, key)
	}
}
