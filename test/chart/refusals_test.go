package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"

	"github.com/achilles-blog/achilles/test/process"
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
		// Access.
		{`tag: {config: {Auth: {Issuer: blog}}}`, []string{`tag.config.Auth.Issuer is "blog"`, `article.config.Auth.Issuer is "achilles"`, "set both to the same"}},
		{`{tag: {config: {Auth: {Audience: a}}}, article: {config: {Auth: {Audience: b}}}}`, []string{`tag.config.Auth.Audience is "a"`, "refuse every token"}},
		{`auth: {keysKey: keySet}`, []string{`auth.keysKey is "keySet"`, "auth.existingSecret is empty", "leave auth.keysKey out"}},
		{`trustedProxies: [ingress-nginx]`, []string{"trustedProxies/0", "pattern"}},
		{`tag: {extraEnv: [{name: ACHILLES_AUTH_ISSUER, value: x}]}`, []string{"tag.extraEnv has ACHILLES_AUTH_ISSUER", "set tag.config.Auth.Issuer instead"}},
		{`article: {extraEnv: [{name: ACHILLES_AUTH_AUDIENCE, value: x}]}`, []string{"set article.config.Auth.Audience instead"}},
		// Routes.
		{`gateway: {enabled: true}`, []string{"gateway.parentRefs is empty", "name one"}},
		{`ingress: {enabled: true, hosts: [a.example], tls: [{secretName: s, hosts: [b.example]}]}`, []string{"b.example", "none of ingress.hosts (a.example)"}},
		{`ingress: {hosts: ["http://blog.example"]}`, []string{"ingress/hosts/0", "pattern"}},
		{`ingress: {hosts: ["*"]}`, []string{"ingress/hosts/0", "pattern"}},
		{`ingress: {hosts: [10.0.0.1]}`, []string{"ingress/hosts/0", "pattern"}},
		{`ingress: {hosts: ["blog.example:80"]}`, []string{"ingress/hosts/0", "pattern"}},
		{`ingress: {tls: [{hosts: [blog.example/]}]}`, []string{"ingress/tls/0/hosts/0", "pattern"}},
		{`gateway: {hostnames: [Blog.example]}`, []string{"gateway/hostnames/0", "pattern"}},
		{`gateway: {hostnames: ["a.*.example"]}`, []string{"gateway/hostnames/0", "pattern"}},
		{`monitoring: {podMonitor: {interval: often}}`, []string{"podMonitor/interval", "pattern"}},
		// Traces.
		{`tracing: {endpoint: "otel:4318"}`, []string{`tracing.endpoint is "otel:4318"`, "no base URL", "http://otel-collector.monitoring:4318"}},
		{`tracing: {endpoint: "https://otel:abc"}`, []string{"no base URL"}},
		{`tracing: {endpoint: "http://otel:4318?a=b"}`, []string{"no base URL", "query"}},
		{`tracing: {endpoint: "http://otel:4318/x#b"}`, []string{"no base URL", "fragment"}},
		{`tracing: {endpoint: "http://me:secret@otel:4318"}`, []string{`"http://…@otel:4318"`, "no base URL", "user"}},
		{`tracing: {endpoint: "http://otel:4318/v1/traces"}`, []string{"/v1/traces by themselves", "take it out"}},
		// Settings that don't go together; TestTheServiceRefusesTheSame has more.
		{`tag: {config: {Database: {Timeout: 15s}}}`, []string{"tag.config.Database.Timeout is 15s", "less than 15s"}},
		{`{rollout: {requestSeconds: 2}, article: {config: {Database: {Timeout: 2.0}}}}`, []string{"article.config.Database.Timeout is 2", "less than 2s"}},
		{`tag: {config: {Server: {ReadHeaderTimeout: 16s}}}`, []string{"tag.config.Server.ReadHeaderTimeout is 16s", "at most 15s"}},
		{`tag: {config: {Health: {StaleAfter: 7s}}}`, []string{"tag.config.Health.StaleAfter is 7s", "CheckInterval (5s)", "CheckTimeout (2s)"}},
		{`tag: {config: {Database: {MaxOpenConns: 0}}}`, []string{"tag.config.Database.MaxOpenConns is 0", "1 or more"}},
		{`tag: {config: {Database: {MaxOpenConns: 9}}}`, []string{"tag.config.Database.MaxIdleConns is 10", "at most 9"}},
		{`tag: {config: {Feed: {Retention: a week}}}`, []string{"tag/config/Feed/Retention", "pattern"}},
		// Values that nobody reads.
		{`database: {port: 3307}`, []string{"database.port is for a database server of yours", "mariadb.enabled=false"}},
		{`database: {usernameKey: u, passwordKey: p, tls: "true"}`, []string{"- database.usernameKey is", "- database.passwordKey is", "- database.tls is"}},
		{`tag: {database: {port: 3306, username: u, usernameKey: u}}`, []string{"- tag.database.port is", "- tag.database.username is", "- tag.database.usernameKey is"}},
		{`article: {database: {passwordKey: p, tls: "false"}}`, []string{"- article.database.passwordKey is", "- article.database.tls is"}},
		{`article: {database: {existingSecret: s}}`, []string{"article.database.existingSecret is for"}},
		{`externalRedis: {tls: true}`, []string{"externalRedis.tls is set", "set it to the host"}},
		{`{redis: {enabled: false}, externalRedis: {port: 6380, username: u, existingSecret: s, passwordKey: k}}`,
			[]string{"- externalRedis.port is set", "- externalRedis.username is set", "- externalRedis.existingSecret is set", "- externalRedis.passwordKey is set"}},
		// Replicas.
		{`tag: {autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 4}}`, []string{"tag.autoscaling.minReplicas (5)", "maxReplicas (4)"}},
		{`tag: {autoscaling: {enabled: true}, resources: null}`, []string{"tag.resources.requests.cpu", "such as to 100m"}},
		{`article: {autoscaling: {enabled: true}, resources: {requests: {cpu: null}}}`, []string{"article.resources.requests.cpu", "such as to 100m"}},
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
		`ingress: {enabled: true, hosts: [localhost, "*.blog.example", xn--bcher-kva.example, 1.blog-2.example]}`,
		`tracing: {endpoint: "http://[fd00::1]:4318/collector/"}`,
		`{mariadb: {enabled: false}, database: {host: db, port: 3307, usernameKey: u, passwordKey: p, tls: "true", existingSecret: s}}`,
		`{redis: {enabled: false}, externalRedis: {host: r, port: 6380, tls: true}}`,
		`enabled: false`,
		`auth: {existingSecret: s, keysKey: keySet}`,
		`{tag: {config: {Auth: {Issuer: blog, Lifetime: 5m}}}, article: {config: {Auth: {Issuer: blog, Lifetime: 10m}}}}`,
		`tag: {config: {Auth: {Audience: achilles}}}`,
	} {
		t.Run(values, func(t *testing.T) { render(t, values) })
	}
}

// What the service would refuse at its start, and no sooner, the chart refuses.
func TestTheServiceRefusesTheSame(t *testing.T) {
	all := render(t, `rollout: {requestSeconds: 3}`)
	for config, refused := range map[string]bool{
		`Database: {Timeout: 3s}`: true, `Database: {Timeout: 2999ms}`: false, `Database: {Timeout: 0m2.5s}`: false, `Database: {Timeout: 0h0m3s}`: true,
		`Database: {Timeout: "3"}`: true, `Database: {Timeout: 2}`: false, `Database: {Timeout: 10000000}`: true, `Database: {Timeout: soon}`: true,
		`Database: {Timeout: 0m2}`: false, `Database: {Timeout: 2s500}`: true, `Database: {Timeout: -1s}`: true, `Database: {Timeout: -1}`: true, `Database: {Timeout: ""}`: true,
		`Server: {ReadHeaderTimeout: 3.001s}`: true, `Server: {ReadHeaderTimeout: 3s}`: false,
		`Health: {StaleAfter: 7s}`: true, `Health: {StaleAfter: 7001ms}`: false, `Health: {CheckInterval: 28s}`: true, `Health: {CheckInterval: 27.9s}`: false,
		`Health: {CheckTimeout: 25s}`: true, `Health: {CheckTimeout: 24s}`: false, `Health: {CheckInterval: 1m, StaleAfter: 1m2s}`: true,
		`Health: {CheckInterval: 1m, StaleAfter: 1m3s}`: false,
		`Database: {MaxOpenConns: 9}`:                   true, `Database: {MaxOpenConns: 10}`: false, `Database: {MaxIdleConns: 31}`: true, `Database: {MaxIdleConns: 30}`: false,
		`Database: {MaxOpenConns: 0, MaxIdleConns: 0}`: true, `Database: {MaxOpenConns: 1, MaxIdleConns: 1}`: false,
		`Database: {MaxOpenConns: -1}`: true,
	} {
		t.Run(config, func(t *testing.T) {
			t.Parallel()
			var own map[string]map[string]any
			require.NoError(t, yaml.Unmarshal([]byte(config), &own))
			settings := settingsOf(t, all, "tag")
			for section, keys := range own {
				if settings[section] == nil {
					settings[section] = map[string]any{}
				}
				maps.Copy(settings[section], keys)
			}
			text, err := yaml.Marshal(settings)
			require.NoError(t, err)
			p, exit := process.Run(t, process.Service(t, "tag"), nil, "migrate", "--config", localCopy(t, string(text)))
			require.Equal(t, 1, exit)
			require.Equal(t, refused, !strings.Contains(p.Stderr(), "cannot be used"), "the service: %s", p.Stderr())
			_, problems, err := template(t, helms(t)[0], `{rollout: {requestSeconds: 3}, tag: {config: {`+config+`}}}`)
			require.Equal(t, refused, err != nil, "the chart: %s", problems)
		})
	}
}

// And so with the networks of proxies, by their notation alone.
func TestTheServiceRefusesTheSameNetworks(t *testing.T) {
	for network, refused := range map[string]bool{
		"10.0.0.0/8": false, "192.0.2.7": false, "0.0.0.0/0": false, "10.0.0.255/32": false, "10.1.2.3/8": false, "::/0": false, "fd00::1": false, "::ffff:10.0.0.1": false,
		"10.0.0.0/33": true, "10.0.0": true, "10.0.0.256": true, "010.0.0.1": true, "10.0.0.1/08": true, "10.0.0.0/": true, "10.0.0.0/8/8": true,
		"fd00::/129": true, "fd00::g": true, "proxy": true, "proxy:80": true, "10.0.0.1:80": true, "*": true,
	} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			values := `trustedProxies: ["` + network + `"]`
			_, problems, err := template(t, helms(t)[0], values)
			require.Equal(t, refused, err != nil, "the chart: %s", problems)
			text := `{Server: {TrustedProxies: ["` + network + `"]}, Database: {DBType: mysql, Username: a}}`
			p, exit := process.Run(t, process.Service(t, "tag"), nil, "migrate", "--config", localCopy(t, text))
			require.Equal(t, 1, exit)
			require.Equal(t, refused, !strings.Contains(p.Stderr(), "cannot be used"), "the service: %s", p.Stderr())
		})
	}
}

// A null takes a default away, as Helm has it; what is left is a chart without it.
func TestNulls(t *testing.T) {
	values, err := readValues(chart + "/values.yaml")
	require.NoError(t, err)
	nulls := []string{"--set", "ingress.enabled=true,monitoring.podMonitor.enabled=true,monitoring.prometheusRule.enabled=true,monitoring.dashboard.enabled=true"}
	var visit func(v *value)
	visit = func(v *value) {
		for _, child := range v.children {
			visit(child)
		}
		if v.isLeaf() && v.node.Kind != yamlv3.ScalarNode {
			nulls = append(nulls, "--set", v.key()+"=null")
		}
	}
	visit(values)
	require.Greater(t, len(nulls), 80)
	for _, helm := range helms(t) {
		text, problems, err := template(t, helm, ``, nulls...)
		require.NoError(t, err, "%s: %s", helm, problems)
		decode(t, text)
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
		"Server.TrustedProxies": []string{"::1"}, "Auth.KeysFile": "x",
		"Redis.Host": "x", "Redis.Username": "x", "Redis.Password": "x", "Redis.PasswordFile": "x", "Redis.TLS": true,
		"Database.DBType": "sqlite", "Database.Host": "x", "Database.Username": "x", "Database.Password": "x", "Database.PasswordFile": "x",
		"Database.DBName": "x", "Database.TLS": "true", "Feed.Token": "x", "Feed.TokenFile": "x", "Log.LogSavePath": "x",
		"Tracing.Endpoint": "x",
	}
	own := map[string]map[string]any{
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
