package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

const external = `mariadb: {enabled: false}, database: {host: db, existingSecret: s}`

// Each refusal says what is wrong and what to do.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		values string
		says   []string
	}{
		// The windows.
		{`rollout: {terminationGracePeriodSeconds: 42}`, []string{"terminationGracePeriodSeconds is 42", "43 s", "at least 43"}},
		{`rollout: {terminationGracePeriodSeconds: 0}`, []string{"terminationGracePeriodSeconds is 0", "at least 43"}},
		{`rollout: {terminationGracePeriodSeconds: 43, drainSeconds: 6}`, []string{"drainSeconds 6", "at least 44"}},
		{`rollout: {marginSeconds: 14}`, []string{"marginSeconds is 14", "at least 15"}},
		{`rollout: {drainSeconds: 2}`, []string{"drainSeconds is 2", "propagationSeconds", "at least 3"}},
		{`rollout: {propagationSeconds: 6}`, []string{"drainSeconds is 5", "at least 6"}},
		{`rollout: {preStopSeconds: 0}`, []string{"preStopSeconds is 0", "at least 1"}},
		{`rollout: {preStopSeconds: -1}`, []string{"preStopSeconds is -1"}},
		{`rollout: {shutdownSeconds: 17}`, []string{"shutdownSeconds is 17", "at least 18"}},
		{`rollout: {requestSeconds: 18}`, []string{"shutdownSeconds is 20", "at least 21"}},
		{`rollout: {requestSeconds: 2, shutdownSeconds: 5}`, []string{"shutdownSeconds is 5", "at least 6"}},
		{`rollout: {requestSeconds: 1}`, []string{"requestSeconds", "minimum"}},
		{`rollout: {maxSurge: 0}`, []string{"maxSurge is 0", "1 or more"}},
		{`rollout: {maxSurge: "0%"}`, []string{"maxSurge is 0%"}},
		{`rollout: {maxSurge: "one"}`, []string{"maxSurge is one"}},
		{`rollout: {progressDeadlineSeconds: 3}`, []string{"progressDeadlineSeconds is 3", "more than 3"}},
		// Images.
		{`tag: {image: {digest: sha256:abc}}`, []string{"tag.image.digest", "64 hexadecimal"}},
		{`redis: {image: {digest: latest}}`, []string{"redis.image.digest"}},
		// Databases.
		{`mariadb: {enabled: false}`, []string{"leaves no database", "set database.host", "database.existingSecret is empty"}},
		{`{mariadb: {enabled: false}, database: {host: db}}`, []string{"database.existingSecret is empty", "kubectl create secret"}},
		{`{mariadb: {enabled: false}, database: {existingSecret: s}}`, []string{"leaves no database"}},
		{`{mariadb: {enabled: false}, tag: {database: {host: db, existingSecret: s}}}`, []string{"leaves no database"}},
		{`database: {host: db}`, []string{"database.host names", "mariadb.enabled=false"}},
		{`article: {database: {host: db}}`, []string{"article.database.host names", "mariadb.enabled=false"}},
		{`database: {existingSecret: s}`, []string{"database.existingSecret is for", "mariadb.existingSecret"}},
		{`{mariadb: {enabled: false}, database: {host: "db:3306", existingSecret: s}}`, []string{"with a port", "database.port"}},
		{`mariadb: {persistence: {existingClaim: c}}`, []string{"existingClaim", "persistence.enabled=true"}},
		// Redis.
		{`externalRedis: {host: r}`, []string{"externalRedis.host names", "redis.enabled=false"}},
		{`{redis: {enabled: false}, externalRedis: {host: "r:6379"}}`, []string{"with a port", "externalRedis.port"}},
		// Routes.
		{`gateway: {enabled: true}`, []string{"gateway.parentRefs is empty", "name one"}},
		{`ingress: {enabled: true, hosts: [a.example], tls: [{secretName: s, hosts: [b.example]}]}`, []string{"b.example", "none of ingress.hosts (a.example)"}},
		{`tracing: {endpoint: "otel:4318"}`, []string{"tracing.endpoint", "no URL"}},
		// Replicas.
		{`tag: {autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 4}}`, []string{"tag.autoscaling.minReplicas (5)", "maxReplicas (4)"}},
		{`article: {podDisruptionBudget: {maxUnavailable: 0}}`, []string{"article.podDisruptionBudget.maxUnavailable is 0", "node drain"}},
		{`article: {podDisruptionBudget: {maxUnavailable: "0%"}}`, []string{"maxUnavailable is 0%"}},
	} {
		t.Run(c.values, func(t *testing.T) {
			got := refusal(t, c.values)
			for _, says := range c.says {
				require.Contains(t, got, says)
			}
		})
	}
}

func TestNotRefused(t *testing.T) {
	for _, values := range []string{
		`rollout: {terminationGracePeriodSeconds: null}`,
		`rollout: {maxSurge: "100%"}`,
		`ingress: {enabled: true, hosts: ["*.example"], tls: [{secretName: s, hosts: [a.example]}]}`,
		`ingress: {enabled: true, tls: [{hosts: [a.example]}]}`,
		`tag: {autoscaling: {enabled: false, minReplicas: 50}}`,
		`article: {podDisruptionBudget: {enabled: false, maxUnavailable: 0}}`,
		`tag: {podDisruptionBudget: {maxUnavailable: 50%}}`,
		`{mariadb: {enabled: false}, tag: {database: {host: a, existingSecret: s}}, article: {database: {host: b, existingSecret: t}}}`,
		`{` + external + `, redis: {enabled: false}}`,
		`tag: {replicas: 0}`,
	} {
		t.Run(values, func(t *testing.T) { render(t, values) })
	}
}

// Everything that is wrong is said at once, and once.
func TestAllRefusalsAtOnce(t *testing.T) {
	got := refusal(t, `{rollout: {preStopSeconds: 0, marginSeconds: 1}, gateway: {enabled: true}, externalRedis: {host: r}}`)
	for _, says := range []string{"- rollout.preStopSeconds is", "- rollout.marginSeconds is", "- gateway.enabled=true", "- externalRedis.host names"} {
		require.Equal(t, 1, strings.Count(got, says), says)
	}
	require.Equal(t, 1, strings.Count(refusal(t, `mariadb: {enabled: false}`), "leaves no database"), "though it leaves two services without one")
}

// What the chart derives can't be set behind its back, neither in the file nor in the environment.
func TestSettingsOfTheChart(t *testing.T) {
	both := map[string]any{
		"Server.Host": "x", "Server.HttpPort": 1, "Server.AdminHost": "x", "Server.AdminPort": 1, "Server.ReadTimeout": "1s",
		"Server.RequestTimeout": "1s", "Server.WriteTimeout": "1s", "Server.DrainDelay": "0s", "Server.ShutdownTimeout": "1s",
		"Database.DBType": "sqlite", "Database.Host": "x", "Database.Username": "x", "Database.Password": "x", "Database.PasswordFile": "x",
		"Database.DBName": "x", "Database.TLS": "true", "Feed.Token": "x", "Feed.TokenFile": "x", "Log.LogSavePath": "x",
		"Tracing.Endpoint": "x",
	}
	own := map[string]map[string]any{
		"tag":     {"Redis.Host": "x", "Redis.Username": "x", "Redis.Password": "x", "Redis.PasswordFile": "x", "Redis.TLS": true},
		"article": {"Feed.URL": "http://x"},
	}
	for _, service := range services {
		settings := maps.Clone(both)
		maps.Copy(settings, own[service])
		config, environment := map[string]map[string]any{}, []map[string]string{}
		for key, value := range settings {
			section, name, _ := strings.Cut(key, ".")
			if config[section] == nil {
				config[section] = map[string]any{}
			}
			config[section][name] = value
			environment = append(environment, map[string]string{"name": variableOf(key), "value": "1"})
		}
		values, err := yaml.Marshal(map[string]any{service: map[string]any{"config": config, "extraEnv": environment}})
		require.NoError(t, err)
		got := refusal(t, string(values))
		for key := range settings {
			require.Contains(t, got, "- "+service+".config."+key+" is the chart's to set")
			require.Contains(t, got, "- "+service+".extraEnv has "+variableOf(key)+", which is the chart's to set")
		}
	}
	require.Contains(t, refusal(t, `tag: {extraEnv: [{name: ACHILLES_CONFIG, value: x}]}`), "leave it out")
	require.Contains(t, refusal(t, `tag: {extraEnv: [{name: ACHILLES_TRACING_ENDPOINT, value: x}]}`), "set tracing.endpoint instead")
	require.Contains(t, refusal(t, `tag: {extraEnv: [{name: GOMEMLIMIT, value: x}]}`), "set resources.limits.memory instead")
	require.Contains(t, refusal(t, `tag: {config: {Server: {DrainDelay: 1s}}}`), "set rollout.drainSeconds instead")
}

// Every setting that the chart writes by itself is one of those.
func TestNothingDerivedCanBeSet(t *testing.T) {
	values := `{redis: {enabled: false}, externalRedis: {host: r, username: u, existingSecret: s}, tracing: {endpoint: "http://o"}`
	all := render(t, values+`}`)
	for _, service := range services {
		var variables, environment []string
		for section, keys := range settingsOf(t, all, service) {
			for key := range keys {
				if name := section + "." + key; name != "Log.Level" && name != "Server.ReadHeaderTimeout" { // defaults, which may be replaced
					variables = append(variables, variableOf(name))
					environment = append(environment, "{name: "+variableOf(name)+"}")
				}
			}
		}
		got := refusal(t, values+", "+service+": {extraEnv: ["+strings.Join(environment, ", ")+"]}}")
		for _, variable := range variables {
			require.Contains(t, got, service+".extraEnv has "+variable)
		}
	}
}

func variableOf(key string) string {
	return "ACHILLES_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}
