package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	yamlv3 "go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/achilles-blog/achilles/test/manifest"
	"github.com/achilles-blog/achilles/test/process"
)

const external = `mariadb: {enabled: false}, database: {host: db, existingSecret: s}`

// The error names the value and what to do.
func TestRejectedValues(t *testing.T) {
	for _, c := range []struct {
		values string
		says   []string
	}{
		// Timeouts.
		{`rollout: {terminationGracePeriodSeconds: 45}`, []string{"terminationGracePeriodSeconds is 45", "add up to 46", "at least 46"}},
		{`rollout: {terminationGracePeriodSeconds: 0}`, []string{"terminationGracePeriodSeconds is 0", "at least 46"}},
		{`rollout: {terminationGracePeriodSeconds: 46, drainSeconds: 6}`, []string{"drainSeconds 6", "at least 47"}},
		{`rollout: {drainSeconds: 2}`, []string{"drainSeconds is 2", "propagationSeconds", "at least 3"}},
		{`rollout: {propagationSeconds: 6}`, []string{"drainSeconds is 5", "at least 6"}},
		{`rollout: {marginSeconds: 17}`, []string{"rollout/marginSeconds", "minimum", "18"}},
		{`rollout: {preStopSeconds: 0}`, []string{"rollout/preStopSeconds", "minimum", "1"}},
		{`rollout: {requestSeconds: 1}`, []string{"rollout/requestSeconds", "minimum"}},
		{`rollout: {maxSurge: 0}`, []string{"rollout/maxSurge", "minimum"}},
		{`rollout: {maxSurge: "0%"}`, []string{"rollout/maxSurge", "pattern"}},
		{`rollout: {maxSurge: "one"}`, []string{"rollout/maxSurge", "pattern"}},
		// Images.
		{`services: {tag: {image: {digest: sha256:abc}}}`, []string{"services/tag/image/digest", "pattern"}},
		{`redis: {image: {digest: latest}}`, []string{"redis/image/digest", "pattern"}},
		// Databases.
		{`mariadb: {enabled: false}`, []string{"requires database.host", "requires database.existingSecret"}},
		{`{mariadb: {enabled: false}, database: {host: db}}`, []string{"requires database.existingSecret"}},
		{`{mariadb: {enabled: false}, database: {existingSecret: s}}`, []string{"requires database.host"}},
		{`{mariadb: {enabled: false}, services: {tag: {database: {host: db, existingSecret: s}}}}`, []string{"requires database.host"}},
		{`database: {host: db}`, []string{"database.host is set", "mariadb.enabled=false"}},
		{`database: {existingSecret: s}`, []string{"database.existingSecret is set"}},
		{`database: {port: 3307}`, []string{"database.port is set"}},
		{`database: {usernameKey: u, passwordKey: p, tls: "true"}`, []string{"- database.usernameKey is", "- database.passwordKey is", "- database.tls is"}},
		{`database: {username: u}`, []string{"- database.username is"}},
		{`services: {article: {database: {host: db}}}`, []string{"services.article.database.host is set", "mariadb.enabled=false"}},
		{`services: {tag: {database: {port: 3307, username: u, existingSecret: s}}}`,
			[]string{"- services.tag.database.port is", "- services.tag.database.username is", "- services.tag.database.existingSecret is"}},
		{`{mariadb: {enabled: false}, database: {host: "db:3306", existingSecret: s}}`, []string{"database/host", "pattern"}},
		{`mariadb: {persistence: {existingClaim: c}}`, []string{"existingClaim", "persistence.enabled=true"}},
		// Redis.
		{`externalRedis: {host: r}`, []string{"externalRedis.host is set", "redis.enabled=false"}},
		{`{redis: {enabled: false}, externalRedis: {host: "r:6379"}}`, []string{"externalRedis/host", "pattern"}},
		{`externalRedis: {addresses: ["r:6379"]}`, []string{"externalRedis.addresses is set", "redis.enabled=false"}},
		{`{redis: {enabled: false}, externalRedis: {addresses: [r]}}`, []string{"externalRedis/addresses", "pattern"}},
		{`{redis: {enabled: false}, externalRedis: {host: r, addresses: ["r:6379"]}}`, []string{"both set"}},
		{`{redis: {enabled: false}, externalRedis: {host: r, masterName: m}}`, []string{"externalRedis.addresses is empty"}},
		{`{redis: {enabled: false}, externalRedis: {addresses: ["r:1"], masterName: m, cluster: true}}`, []string{"externalRedis.cluster is set"}},
		{`{redis: {enabled: false}, externalRedis: {host: r, sentinelUsername: u, sentinelPasswordKey: p}}`,
			[]string{"- externalRedis.sentinelUsername is set", "- externalRedis.sentinelPasswordKey is set, but externalRedis.masterName", "existingSecret is empty"}},
		{`externalRedis: {tls: true}`, []string{"externalRedis.tls is set", "set externalRedis.host"}},
		{`{redis: {enabled: false}, externalRedis: {port: 6380, username: u, existingSecret: s, passwordKey: k}}`,
			[]string{"- externalRedis.port is set", "- externalRedis.username is set", "- externalRedis.existingSecret is set", "- externalRedis.passwordKey is set"}},
		// Tokens.
		{`services: {tag: {config: {Auth: {Issuer: blog}}}}`,
			[]string{`services.tag.config.Auth.Issuer is "blog"`, `services.article.config.Auth.Issuer is "achilles"`, "set serviceDefaults.config.Auth.Issuer"}},
		{`services: {tag: {config: {Auth: {Audience: a}}}, article: {config: {Auth: {Audience: b}}}}`,
			[]string{`services.tag.config.Auth.Audience is "a"`, "reject the tokens"}},
		// Routes.
		{`gateway: {enabled: true}`, []string{"gateway.parentRefs is empty", "name one"}},
		{`ingress: {hosts: ["http://blog.example"]}`, []string{"ingress/hosts/0", "pattern"}},
		{`ingress: {hosts: ["*"]}`, []string{"ingress/hosts/0", "pattern"}},
		{`ingress: {hosts: [10.0.0.1]}`, []string{"ingress/hosts/0", "pattern"}},
		{`ingress: {hosts: ["blog.example:80"]}`, []string{"ingress/hosts/0", "pattern"}},
		{`ingress: {tls: [{hosts: [blog.example/]}]}`, []string{"ingress/tls/0/hosts/0", "pattern"}},
		{`gateway: {hostnames: [Blog.example]}`, []string{"gateway/hostnames/0", "pattern"}},
		{`gateway: {hostnames: ["a.*.example"]}`, []string{"gateway/hostnames/0", "pattern"}},
		{`monitoring: {podMonitor: {interval: often}}`, []string{"podMonitor/interval", "pattern"}},
		{`gateway: {enabled: true, parentRefs: [{name: g}], timeoutSeconds: 17}`, []string{"gateway.timeoutSeconds is 17", "up to 18 s", "at least 18"}},
		{"gateway: {enabled: true, parentRefs: [{name: g}], timeoutSeconds: 62}\nfiles: {storage: s3, s3: {url: \"s3://f\"}}\nrollout: {shutdownSeconds: 63}",
			[]string{"gateway.timeoutSeconds is 62", "at least 63"}},
		{`services: {tag: {canary: {weight: 5}}}`, []string{"services.tag.canary.service is empty"}},
		{`services: {tag: {canary: {service: s}}}`, []string{"services.tag.canary.service is set", "gateway.enabled=true"}},
		{`services: {tag: {canary: {service: s, weight: 101}}}`, []string{"services/tag/canary/weight", "maximum"}},
		// Replicas.
		{`services: {tag: {autoscaling: {enabled: true}, resources: null}}`, []string{"services.tag.resources.requests.cpu", "such as to 100m"}},
		{`services: {article: {autoscaling: {enabled: true}, resources: {requests: {cpu: null}}}}`, []string{"services.article.resources.requests.cpu"}},
		{`serviceDefaults: {autoscaling: {enabled: true}, resources: null}`, []string{"services.tag.resources.requests.cpu", "services.article.resources.requests.cpu"}},
		{`services: {article: {podDisruptionBudget: {maxUnavailable: 0}}}`, []string{"podDisruptionBudget/maxUnavailable", "minimum"}},
		{`serviceDefaults: {podDisruptionBudget: {maxUnavailable: "0%"}}`, []string{"podDisruptionBudget/maxUnavailable", "pattern"}},
		// Settings.
		{`services: {tag: {config: {Feed: {Retention: a week}}}}`, []string{"services/tag/config/Feed/Retention", "pattern"}},
		{`serviceDefaults: {config: {App: {MaxContentBytes: 1}}}`, []string{"serviceDefaults/config/App", "MaxContentBytes"}},
		{`serviceDefaults: {config: {Server: {DrainDelay: 1s}}}`, []string{"services.tag.config.Server.DrainDelay is derived", "services.article.config.Server.DrainDelay"}},
	} {
		t.Run(c.values, func(t *testing.T) {
			got := rejection(t, c.values)
			for _, says := range c.says {
				require.Contains(t, got, says)
			}
		})
	}
}

func TestAcceptedValues(t *testing.T) {
	for _, values := range []string{
		`rollout: {terminationGracePeriodSeconds: null}`,
		`rollout: {maxSurge: "100%"}`,
		`serviceDefaults: {podDisruptionBudget: {maxUnavailable: 50%}}`,
		`{mariadb: {enabled: false}, services: {tag: {database: {host: a, existingSecret: s}}, article: {database: {host: b, existingSecret: t}}}}`,
		`{` + external + `, redis: {enabled: false}}`,
		`services: {tag: {replicas: 0}}`,
		`services: {tag: {replicas: null}}`,
		`serviceDefaults: {replicas: null}`,
		`{gateway: {enabled: true, parentRefs: [{name: g}], timeoutSeconds: 18}}`,
		`ingress: {enabled: true, hosts: [localhost, "*.blog.example", xn--bcher-kva.example, 1.blog-2.example]}`,
		`{mariadb: {enabled: false}, database: {host: db, port: 3307, usernameKey: u, passwordKey: p, tls: "true", existingSecret: s}}`,
		`{redis: {enabled: false}, externalRedis: {host: r, port: 6380, tls: true}}`,
		`enabled: false`,
		`auth: {keysKey: keyset}`,
		`{serviceDefaults: {config: {Auth: {Issuer: blog}}}, services: {tag: {config: {Auth: {Lifetime: 5m}}}}}`,
		`services: {tag: {config: {Auth: {Audience: achilles}}}}`,
	} {
		t.Run(values, func(t *testing.T) { render(t, values) })
	}
}

// All problems are reported together, each once.
func TestAllProblemsAtOnce(t *testing.T) {
	got := rejection(t, `{mariadb: {enabled: false}, rollout: {drainSeconds: 0, terminationGracePeriodSeconds: 1}, gateway: {enabled: true}, externalRedis: {host: r}}`)
	for _, says := range []string{
		"- rollout.drainSeconds is", "- rollout.terminationGracePeriodSeconds is", "- gateway.enabled=true", "- externalRedis.host is",
		"requires database.host", "requires database.existingSecret",
	} {
		require.Equal(t, 1, strings.Count(got, says), says)
	}
}

// The chart leaves the rest to the services, which reject these settings when they start. The pods of the previous revision
// serve meanwhile.
func TestServicesRejectTheirSettings(t *testing.T) {
	for values, setting := range map[string]string{
		`rollout: {shutdownSeconds: 17}`:                                                       "ShutdownTimeout",
		`rollout: {requestSeconds: 18}`:                                                        "ShutdownTimeout",
		`trustedProxies: [ingress-nginx]`:                                                      "TrustedProxies",
		`trustedProxies: [10.0.0.0/33]`:                                                        "TrustedProxies",
		`tracing: {endpoint: "otel:4318"}`:                                                     "Tracing.Endpoint",
		`tracing: {endpoint: "https://otel:abc"}`:                                              "Tracing.Endpoint",
		`tracing: {endpoint: "http://otel:4318?a=b"}`:                                          "Tracing.Endpoint",
		`tracing: {endpoint: "http://me:secret@otel:4318"}`:                                    "Tracing.Endpoint",
		`tracing: {endpoint: "http://otel:4318/v1/traces"}`:                                    "Tracing.Endpoint",
		`serviceDefaults: {config: {Database: {Timeout: 15s}}}`:                                "Timeout",
		`serviceDefaults: {config: {Database: {Timeout: 20}}}`:                                 "Timeout",
		`{rollout: {requestSeconds: 2}, serviceDefaults: {config: {Database: {Timeout: 2s}}}}`: "Timeout",
		`serviceDefaults: {config: {Server: {ReadHeaderTimeout: 16s}}}`:                        "ReadHeaderTimeout",
		`serviceDefaults: {config: {Health: {StaleAfter: 7s}}}`:                                "StaleAfter",
		`serviceDefaults: {config: {Health: {CheckInterval: 28s}}}`:                            "StaleAfter",
		`serviceDefaults: {config: {Database: {MaxOpenConns: 0}}}`:                             "MaxOpenConns",
		`serviceDefaults: {config: {Database: {MaxOpenConns: 9}}}`:                             "MaxIdleConns",
	} {
		t.Run(values, func(t *testing.T) {
			t.Parallel()
			all := render(t, values)
			for _, service := range serviceNames(t) {
				stderr := migrate(t, service, manifest.Get[corev1.ConfigMap](t, all, "achilles-"+service).Data["settings.yaml"])
				require.Contains(t, stderr, setting)
				require.NotContains(t, stderr, "cannot be used")
			}
		})
	}
}

// The services accept the settings of every values file: they report nothing but the database, which doesn't exist.
func TestServicesAcceptTheirSettings(t *testing.T) {
	for name, values := range matrix(t) {
		all := render(t, values)
		manifest.Each(all, func(key string, c *corev1.ConfigMap) {
			text, ok := c.Data["settings.yaml"]
			if !ok {
				return
			}
			service := key[strings.LastIndexByte(key, '-')+1:]
			t.Run(name+" "+service, func(t *testing.T) {
				t.Parallel()
				stderr := migrate(t, service, text)
				require.Contains(t, stderr, "cannot be used")
				require.NotContains(t, stderr, "settings.yaml", "a setting is rejected")
				require.NotContains(t, stderr, "no such setting")
			})
		})
	}
}

// migrate returns the errors of the command migrate with these settings, with secrets that exist and a database that doesn't.
func migrate(t *testing.T, service, settings string) string {
	t.Helper()
	p, exit := process.Run(t, process.Service(t, service), process.Settings{"Database.Username": "from-a-secret", "Database.MigrateWait": "0s"}, "migrate", "--config", localCopy(t, settings))
	require.Equal(t, 1, exit)
	return p.Stderr()
}

// A null removes a default, as everywhere in Helm; the chart renders without it.
func TestNulls(t *testing.T) {
	values, err := readValues(chart + "/values.yaml")
	require.NoError(t, err)
	nulls := []string{"--set", "ingress.enabled=true,monitoring.podMonitor.enabled=true,monitoring.prometheusRule.enabled=true,monitoring.dashboard.enabled=true"}
	var visit func(v *value)
	visit = func(v *value) {
		for _, child := range v.children {
			visit(child)
		}
		if !v.closed && v.node.Kind != yamlv3.ScalarNode && v.key() != "services" {
			nulls = append(nulls, "--set", v.key()+"=null")
			if key, ok := strings.CutPrefix(v.key(), "serviceDefaults."); ok {
				nulls = append(nulls, "--set", "services.tag."+key+"=null")
			}
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

// Settings that the chart derives from other values can't be set in config or extraEnv.
func TestDerivedSettings(t *testing.T) {
	values := `{redis: {enabled: false}, externalRedis: {host: r, username: u, existingSecret: s}, tracing: {endpoint: "http://o"}`
	all := render(t, values+`}`)
	for _, service := range serviceNames(t) {
		derived := settingsOf(t, all, service)
		maps.DeleteFunc(derived["Server"], func(key string, _ any) bool { return key == "ReadHeaderTimeout" || key == "ReadOnly" }) // defaults
		delete(derived, "Log")
		require.Greater(t, len(derived), 4)
		config, environment := marshal(t, derived), []string{}
		for section, settings := range derived {
			for key := range settings {
				environment = append(environment, "{name: "+variableOf(section+"."+key)+", value: x}")
			}
		}
		slices.Sort(environment)
		got := rejection(t, values+`, services: {`+service+`: {config: `+config+`, extraEnv: [`+strings.Join(environment, ", ")+`]}}}`)
		for section, settings := range derived {
			for key := range settings {
				require.Contains(t, got, "- services."+service+".config."+section+"."+key+" is derived from other values")
				require.Contains(t, got, "- services."+service+".extraEnv: "+variableOf(section+"."+key)+" is derived from other values")
			}
		}
	}
}

func variableOf(key string) string {
	return "ACHILLES_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}
