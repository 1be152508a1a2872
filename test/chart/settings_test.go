package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/achilles-blog/achilles/test/manifest"
)

func TestDatabaseSettings(t *testing.T) {
	all := render(t, ``)
	for service, name := range map[string]string{"tag": "achilles_tag", "article": "achilles_article"} {
		require.Equal(t, map[string]any{
			"DBType": "mysql", "Host": "achilles-mariadb:3306", "Username": "achilles_" + service, "DBName": name, "TLS": "false",
			"PasswordFile": "/run/secrets/achilles/database-password",
		}, settingsOf(t, all, service)["Database"])
	}
	all = render(t, `{mariadb: {enabled: false}, database: {host: db, existingSecret: s}}`)
	for _, service := range serviceNames(t) {
		require.Equal(t, "achilles_"+service, settingsOf(t, all, service)["Database"]["Username"], "each has its own account")
		require.Equal(t, [2]string{"s", service + "-password"}, filesOf(t, all, "achilles-"+service)["database-password"])
	}
	all = render(t, `{mariadb: {enabled: false}, database: {host: db, port: 3310, username: blog, tls: preferred, existingSecret: s},
		services: {article: {database: {host: other, port: 3311, name: articles, username: writer, tls: "true"}, config: {Database: {MaxOpenConns: 17}}}}}`)
	require.Equal(t, map[string]any{
		"DBType": "mysql", "Host": "db:3310", "Username": "blog", "DBName": "achilles_tag", "TLS": "preferred",
		"PasswordFile": "/run/secrets/achilles/database-password",
	}, settingsOf(t, all, "tag")["Database"])
	require.Equal(t, map[string]any{
		"DBType": "mysql", "Host": "other:3311", "Username": "writer", "DBName": "articles", "TLS": "true", "MaxOpenConns": 17.0,
		"PasswordFile": "/run/secrets/achilles/database-password",
	}, settingsOf(t, all, "article")["Database"])
}

func TestRedisSettings(t *testing.T) {
	bundled, none := render(t, ``), render(t, `redis: {enabled: false}`)
	require.NotContains(t, none, "StatefulSet achilles-redis")
	require.NotContains(t, none, "NetworkPolicy achilles-redis")
	open := render(t, `{redis: {enabled: false}, externalRedis: {host: r}}`)
	own := render(t, `{redis: {enabled: false}, externalRedis: {host: "fd00::1", port: 6390, username: u, tls: true, existingSecret: s, passwordKey: k},
		serviceDefaults: {config: {Redis: {DB: 3}}}}`)
	sentinel := render(t, `{redis: {enabled: false}, externalRedis: {addresses: ["a:26379", "b:26379"], masterName: blog, username: u, sentinelUsername: su,
		existingSecret: s, sentinelPasswordKey: sp}}`)
	cluster := render(t, `{redis: {enabled: false}, externalRedis: {addresses: ["c:6379"], cluster: true}}`)
	for _, service := range serviceNames(t) {
		require.Equal(t, map[string]any{"Addresses": []any{"achilles-redis:6379"}, "PasswordFile": "/run/secrets/achilles/redis-password", "TLS": false},
			settingsOf(t, bundled, service)["Redis"])
		require.NotContains(t, settingsOf(t, none, service), "Redis", "Redis is optional")
		require.NotContains(t, filesOf(t, none, "achilles-"+service), "redis-password")
		require.Equal(t, map[string]any{"Addresses": []any{"r:6379"}, "TLS": false}, settingsOf(t, open, service)["Redis"], "without a password")
		require.NotContains(t, filesOf(t, open, "achilles-"+service), "redis-password")
		require.Equal(t, map[string]any{"Addresses": []any{"[fd00::1]:6390"}, "Username": "u", "TLS": true, "DB": 3.0, "PasswordFile": "/run/secrets/achilles/redis-password"},
			settingsOf(t, own, service)["Redis"])
		require.Equal(t, [2]string{"s", "k"}, filesOf(t, own, "achilles-"+service)["redis-password"])
		require.Equal(t, map[string]any{
			"Addresses": []any{"a:26379", "b:26379"}, "MasterName": "blog", "Username": "u", "SentinelUsername": "su", "TLS": false,
			"PasswordFile": "/run/secrets/achilles/redis-password", "SentinelPasswordFile": "/run/secrets/achilles/sentinel-password",
		}, settingsOf(t, sentinel, service)["Redis"])
		require.Equal(t, [2]string{"s", "sp"}, filesOf(t, sentinel, "achilles-"+service)["sentinel-password"])
		require.Equal(t, map[string]any{"Addresses": []any{"c:6379"}, "Cluster": true, "TLS": false}, settingsOf(t, cluster, service)["Redis"])
	}
}

// All services have the same key set and trust the same proxies.
func TestAccessSettings(t *testing.T) {
	for values, proxies := range map[string][]any{
		``: {}, `trustedProxies: [10.2.0.0/16, "fd00::1"]`: {"10.2.0.0/16", "fd00::1"}, `trustedProxies: []`: {}, `trustedProxies: null`: {},
	} {
		all := render(t, values)
		for _, service := range serviceNames(t) {
			require.Equal(t, map[string]any{"KeysFile": "/run/secrets/achilles/keys.yaml"}, settingsOf(t, all, service)["Auth"])
			require.Equal(t, proxies, settingsOf(t, all, service)["Server"]["TrustedProxies"], values)
		}
	}
	own := render(t, matrix(t)["auth"])
	for _, service := range serviceNames(t) {
		settings := settingsOf(t, own, service)
		require.Equal(t, "https://blog.example", settings["Auth"]["Issuer"])
		require.Equal(t, "/run/secrets/achilles/keys.yaml", settings["Auth"]["KeysFile"])
		require.Equal(t, 200.0, settings["Limits"]["ReadPerSecond"])
		require.Equal(t, "48h", settings["Idempotency"]["Retention"])
		require.Equal(t, "1m", settings["Server"]["SharedMaxAge"])
		require.Equal(t, []any{"achilles-redis:6379"}, settings["Redis"]["Addresses"])
	}
}

func TestFeedAndTracingSettings(t *testing.T) {
	all := render(t, `{fullnameOverride: achilles, feed: {existingSecret: f, tokenKey: k}, tracing: {endpoint: "http://otel:4318"}}`)
	require.Equal(t, map[string]any{"TokenFile": "/run/secrets/achilles/feed-token"}, settingsOf(t, all, "tag")["Feed"])
	require.Equal(t, map[string]any{"TokenFile": "/run/secrets/achilles/feed-token", "URL": "http://achilles-tag"}, settingsOf(t, all, "article")["Feed"])
	for _, service := range serviceNames(t) {
		require.Equal(t, [2]string{"f", "k"}, filesOf(t, all, "achilles-"+service)["feed-token"])
		require.Equal(t, map[string]any{"Endpoint": "http://otel:4318"}, settingsOf(t, all, service)["Tracing"])
	}
	require.NotContains(t, settingsOf(t, render(t, ``), "tag"), "Tracing")
}

// config overrides settings, with false, 0 and empty lists too.
func TestConfig(t *testing.T) {
	all := render(t, `{services: {tag: {config: {Server: {RunMode: debug, IdleTimeout: 0, CorsAllowedOrigins: []}, Health: {Strict: false}, Feed: {Retention: 24h}}},
		article: {config: {App: {MaxContentBytes: 7340032}, Server: {CorsAllowedOrigins: ["https://a.example"]}}}}}`)
	tag := settingsOf(t, all, "tag")
	require.Equal(t, "debug", tag["Server"]["RunMode"])
	require.Equal(t, 0.0, tag["Server"]["IdleTimeout"])
	require.Equal(t, []any{}, tag["Server"]["CorsAllowedOrigins"])
	require.Equal(t, "5s", tag["Server"]["DrainDelay"], "derived settings are kept")
	require.Equal(t, map[string]any{"Strict": false}, tag["Health"])
	require.Equal(t, "24h", tag["Feed"]["Retention"])
	require.Contains(t, manifest.Get[corev1.ConfigMap](t, all, "achilles-article").Data["settings.yaml"], "MaxContentBytes: 7340032\n", "not 7.34e+06")
}

func TestExtraEnvironment(t *testing.T) {
	all := render(t, `services: {tag: {extraEnv: [{name: A, value: b}, {name: ACHILLES_SERVER_SERVEDBY, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}}`)
	env := container(t, all, "tag").Env
	require.Contains(t, env, corev1.EnvVar{Name: "A", Value: "b"})
	require.Contains(t, env, corev1.EnvVar{Name: "ACHILLES_SERVER_SERVEDBY", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}})
	require.Empty(t, container(t, all, "article").Env)
}

// The bundled MariaDB creates the databases and an account for each, without rights on others.
func TestBundledDatabases(t *testing.T) {
	all := render(t, `{services: {tag: {database: {name: my_tags}}}}`)
	script := manifest.Get[corev1.ConfigMap](t, all, "achilles-mariadb").Data["databases.sql"]
	for _, line := range []string{
		"CREATE DATABASE IF NOT EXISTS `my_tags` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;", "GRANT ALL ON `my\\_tags`.* TO 'achilles_tag'@'%';",
		"CREATE DATABASE IF NOT EXISTS `achilles_article` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;", "GRANT ALL ON `achilles\\_article`.* TO 'achilles_article'@'%';",
	} {
		require.Contains(t, script+"\n", line+"\n")
	}
	require.Equal(t, len(serviceNames(t)), strings.Count(script, "GRANT"))
	server := manifest.Get[appsv1.StatefulSet](t, all, "achilles-mariadb").Spec.Template.Spec.Containers[0]
	require.Contains(t, server.Env, corev1.EnvVar{Name: "MARIADB_ROOT_HOST", Value: "localhost"})
	require.Contains(t, server.Env, corev1.EnvVar{Name: "MARIADB_AUTO_UPGRADE", Value: "1"})
}

// In a rollout each service has an additional pod, and pods that are stopping still have connections.
func TestBundledConnections(t *testing.T) {
	all := render(t, ``)
	const perPod = 30 // Database.MaxOpenConns
	pods := 0
	for _, service := range serviceNames(t) {
		deployment := manifest.Get[appsv1.Deployment](t, all, "achilles-"+service).Spec
		pods += 2 * (int(*deployment.Replicas) + deployment.Strategy.RollingUpdate.MaxSurge.IntValue()/2)
	}
	args := strings.Join(manifest.Get[appsv1.StatefulSet](t, all, "achilles-mariadb").Spec.Template.Spec.Containers[0].Args, " ")
	_, rest, ok := strings.Cut(args, "--max-connections=")
	require.True(t, ok, args)
	limit, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	require.GreaterOrEqual(t, limit, pods*perPod)
}

func TestExtraVolumes(t *testing.T) {
	all := render(t, `services: {tag: {extraVolumes: [{name: ca, configMap: {name: private-ca}}], extraVolumeMounts: [{name: ca, mountPath: /etc/ca, readOnly: true}]}}`)
	pod := podSpecs(all)["Deployment achilles-tag"]
	mount := corev1.VolumeMount{Name: "ca", MountPath: "/etc/ca", ReadOnly: true}
	require.Contains(t, pod.Containers[0].VolumeMounts, mount)
	require.Contains(t, pod.InitContainers[0].VolumeMounts, mount, "it connects to the database too")
	require.Contains(t, pod.Volumes, corev1.Volume{Name: "ca", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "private-ca"}},
	}})
	require.Len(t, podSpecs(all)["Deployment achilles-article"].Volumes, 2)
}

func TestPersistence(t *testing.T) {
	volume := func(all manifest.Objects) corev1.VolumeSource {
		for _, v := range manifest.Get[appsv1.StatefulSet](t, all, "achilles-mariadb").Spec.Template.Spec.Volumes {
			if v.Name == "data" {
				return v.VolumeSource
			}
		}
		return corev1.VolumeSource{}
	}
	all := render(t, ``)
	require.NotNil(t, volume(all).EmptyDir, "an empty cluster has no storage")
	require.NotContains(t, all, "PersistentVolumeClaim achilles-mariadb")
	require.NotContains(t, manifest.Get[corev1.Secret](t, all, "achilles-mariadb").Annotations, "helm.sh/resource-policy")

	all = render(t, `mariadb: {persistence: {enabled: true, size: 3Gi, storageClass: fast}}`)
	require.Equal(t, "achilles-mariadb", volume(all).PersistentVolumeClaim.ClaimName)
	claim := manifest.Get[corev1.PersistentVolumeClaim](t, all, "achilles-mariadb")
	require.Equal(t, "3Gi", claim.Spec.Resources.Requests.Storage().String())
	require.Equal(t, "fast", *claim.Spec.StorageClassName)
	require.Equal(t, "keep", claim.Annotations["helm.sh/resource-policy"])
	require.Equal(t, "keep", manifest.Get[corev1.Secret](t, all, "achilles-mariadb").Annotations["helm.sh/resource-policy"], "data without its password is lost")

	all = render(t, `mariadb: {persistence: {enabled: true, existingClaim: mine}}`)
	require.Equal(t, "mine", volume(all).PersistentVolumeClaim.ClaimName)
	require.NotContains(t, all, "PersistentVolumeClaim achilles-mariadb")
	require.Nil(t, manifest.Get[corev1.PersistentVolumeClaim](t, render(t, `mariadb: {persistence: {enabled: true}}`), "achilles-mariadb").Spec.StorageClassName, "the cluster's default")
}

// localCopy writes settings to a file, with secrets that exist and a database that refuses connections.
func localCopy(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"database-password", "feed-token", "redis-password", "sentinel-password"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("a secret of more than 32 characters"), 0o600))
	}
	var settings map[string]map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(strings.ReplaceAll(text, "/run/secrets/achilles", dir)), &settings))
	settings["Database"]["Host"] = "127.0.0.1:1"
	content, err := yaml.Marshal(settings)
	require.NoError(t, err)
	file := filepath.Join(dir, "settings.yaml")
	require.NoError(t, os.WriteFile(file, content, 0o600))
	return file
}

// The pod of helm test runs the check on the services, as TestCheck does.
func TestCheckPod(t *testing.T) {
	all := render(t, ``)
	pod := manifest.Get[corev1.Pod](t, all, "achilles-check")
	require.Equal(t, []string{"check", "--wait", "4m", "--ready", "http://achilles-tag/readyz,http://achilles-article/readyz", "--tags", "http://achilles-tag", "--articles", "http://achilles-article"}, pod.Spec.Containers[0].Args)
	require.Equal(t, container(t, all, "article").Image, pod.Spec.Containers[0].Image)
	require.Equal(t, corev1.RestartPolicyNever, pod.Spec.RestartPolicy)
}

// It has the key set, to sign a token, and no other secret.
func TestCheckPodSigns(t *testing.T) {
	mount := corev1.VolumeMount{Name: "secrets", MountPath: "/run/secrets/achilles", ReadOnly: true}
	file := corev1.EnvVar{Name: "ACHILLES_AUTH_KEYSFILE", Value: "/run/secrets/achilles/keys.yaml"}
	for values, want := range map[string]struct {
		keySet [2]string
		env    []corev1.EnvVar
	}{
		``: {[2]string{"achilles-auth", "keys.yaml"}, []corev1.EnvVar{file}},
		matrix(t)["auth"]: {[2]string{"blog-auth", "keyset"}, []corev1.EnvVar{
			file, {Name: "ACHILLES_AUTH_ISSUER", Value: "https://blog.example"}, {Name: "ACHILLES_AUTH_AUDIENCE", Value: "blog"},
		}},
	} {
		pod := podSpecs(render(t, values))["Pod achilles-check"]
		require.Equal(t, want.env, pod.Containers[0].Env)
		require.Equal(t, []corev1.VolumeMount{mount}, pod.Containers[0].VolumeMounts)
		require.Equal(t, map[string][2]string{"keys.yaml": want.keySet}, secretFiles(pod))
	}
}
