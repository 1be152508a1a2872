package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/achilles-blog/achilles/test/manifest"
	"github.com/achilles-blog/achilles/test/process"
)

// words are valid names that YAML doesn't read as strings unless they are quoted.
var words = []string{"y", "n", "true", "null", "e1", "2024", "1e3", "0x1f"}

// everywhere has WORD in every value that becomes a string of an object, with and without the bundled servers.
var everywhere = map[string]string{
	"bundled": `
nameOverride: "WORD"
fullnameOverride: "FULLNAME"
commonLabels: {a: "WORD"}
commonAnnotations: {a: "WORD"}
imagePullSecrets: [{name: "WORD"}]
serviceAccount: {name: "WORD", annotations: {a: "WORD"}}
services:
  tag: {image: {repository: "WORD"}, database: {name: "WORD"}}
  article: {image: {repository: "WORD"}, database: {name: "WORD"}}
serviceDefaults:
  image: {registry: "WORD", tag: "WORD"}
  extraEnv: [{name: A, value: "WORD"}]
  extraVolumes: [{name: "WORD", secret: {secretName: "WORD"}}]
  extraVolumeMounts: [{name: "WORD", mountPath: "WORD"}]
  podLabels: {b: "WORD"}
  podAnnotations: {b: "WORD"}
  nodeSelector: {a: "WORD"}
  tolerations: [{key: "WORD", value: "WORD"}]
  priorityClassName: "WORD"
  topologySpread: [{topologyKey: "WORD", whenUnsatisfiable: DoNotSchedule}]
  autoscaling: {enabled: true}
  service: {annotations: {a: "WORD"}}
mariadb:
  image: {repository: "WORD", tag: "WORD"}
  persistence: {enabled: true, storageClass: "WORD"}
  podAnnotations: {a: "WORD"}
  nodeSelector: {a: "WORD"}
  priorityClassName: "WORD"
redis: {image: {repository: "WORD", tag: "WORD"}, podAnnotations: {a: "WORD"}, nodeSelector: {a: "WORD"}, priorityClassName: "WORD"}
auth: {keysKey: "WORD"}
feed: {tokenKey: "WORD"}
ingress: {enabled: true, className: "WORD", annotations: {a: "WORD"}, tls: [{secretName: "WORD"}]}
gateway: {enabled: true, parentRefs: [{name: "WORD", namespace: "WORD", sectionName: "WORD"}], annotations: {a: "WORD"}}
networkPolicy: {extraFrom: [{podSelector: {matchLabels: {a: "WORD"}}}], egress: {externalCIDRs: ["WORD"]}}
monitoring:
  podMonitor: {enabled: true, labels: {b: "WORD"}}
  prometheusRule: {enabled: true, labels: {b: "WORD"}}
  dashboard: {enabled: true, labels: {b: "WORD"}, annotations: {b: "WORD"}}`,
	"external": `
fullnameOverride: "FULLNAME"
mariadb: {enabled: false}
redis: {enabled: false}
database: {host: "WORD", existingSecret: "WORD", passwordKey: "WORD", usernameKey: "WORD"}
externalRedis: {host: "WORD", username: "WORD", existingSecret: "WORD", passwordKey: "WORD"}
auth: {existingSecret: "WORD", keysKey: "WORD"}
serviceDefaults: {config: {Auth: {Issuer: "WORD", Audience: "WORD"}}}
feed: {existingSecret: "WORD", tokenKey: "WORD"}
networkPolicy: {egress: {externalCIDRs: ["WORD"]}}`,
	"servers": `
fullnameOverride: "FULLNAME"
mariadb: {existingSecret: "WORD", persistence: {enabled: true, existingClaim: "WORD"}}
redis: {existingSecret: "WORD"}`,
}

// Names stay strings: apart from the name the objects are the same for all words.
func TestNamesStayTexts(t *testing.T) {
	const plainWord, plainFullname = "plain-word", "plain-fullname"
	for name, values := range everywhere {
		plain := renderWord(t, values, plainWord, plainFullname)
		for _, word := range words {
			fullname := word
			if word[0] <= '9' { // with which no Service's name may begin
				fullname = "x-" + word
			}
			t.Run(name+" "+word, func(t *testing.T) {
				t.Parallel()
				want := strings.NewReplacer(plainWord, word, plainFullname, fullname).Replace(plain)
				require.JSONEq(t, want, renderWord(t, values, word, fullname))
			})
		}
	}
}

// renderWord renders the chart with a word in the values, as namespace and as name of the release. It returns the objects as
// JSON, without random and computed values.
func renderWord(t *testing.T, values, word, fullname string) string {
	t.Helper()
	text, problems, err := process.Outputs(strings.NewReplacer("WORD", word, "FULLNAME", fullname).Replace(values), helms(t)[0],
		"template", word, chart, "--namespace", word, "--values", "-")
	require.NoError(t, err, problems)
	all := withoutChance(decodeIn(t, word, text))
	manifest.Each(all, func(_ string, d *appsv1.Deployment) { delete(d.Spec.Template.Annotations, "checksum/settings") })
	manifest.Each(all, func(_ string, c *corev1.ConfigMap) {
		if _, ok := c.Data["settings.yaml"]; ok {
			c.Data = nil // compared as the services read it, by TestSettingsStayTexts
		}
	})
	delete(all, "ConfigMap "+fullname+"-dashboard")
	return marshal(t, all)
}

func TestSettingsStayTexts(t *testing.T) {
	for _, word := range words {
		values := strings.ReplaceAll(`{mariadb: {enabled: false}, services: {tag: {database: {name: "WORD"}, config: {Server: {ServedBy: "WORD"}}}}, database: {username: "WORD", host: db, existingSecret: s}}`, "WORD", word)
		settings := settingsOf(t, render(t, values), "tag")
		require.Equal(t, []any{word, word, word}, []any{settings["Database"]["DBName"], settings["Database"]["Username"], settings["Server"]["ServedBy"]})
	}
}

func TestTextsWithSigns(t *testing.T) {
	all := render(t, `{ingress: {enabled: true, className: "a: b", hosts: ["y"]}, services: {tag: {priorityClassName: "a #b"}}, mariadb: {persistence: {enabled: true, storageClass: "-"}}}`)
	require.Contains(t, marshal(t, all["Ingress achilles"]), `"ingressClassName":"a: b"`)
	require.Contains(t, marshal(t, all["Ingress achilles"]), `"host":"y"`)
	require.Equal(t, "a #b", podSpecs(all)["Deployment achilles-tag"].PriorityClassName)
	claim := manifest.Get[corev1.PersistentVolumeClaim](t, all, "achilles-mariadb")
	require.NotNil(t, claim.Spec.StorageClassName)
	require.Empty(t, *claim.Spec.StorageClassName, "none, instead of the cluster's default")
}

func marshal(t *testing.T, object any) string {
	t.Helper()
	text, err := json.Marshal(object)
	require.NoError(t, err)
	return string(text)
}

// The longest names and labels that Kubernetes derives from ours are valid.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("a", 53)
	for _, c := range [][2]string{{long, ``}, {"r", `nameOverride: ` + long[:44]}, {"r", `fullnameOverride: ` + long[:44]}, {long[:43] + "-b", ``}} {
		text, problems, err := process.Outputs(c[1], helms(t)[0], "template", c[0], chart, "--namespace", namespace, "--values", "-")
		require.NoError(t, err, problems)
		manifest.Each(decode(t, text), func(key string, s *appsv1.StatefulSet) {
			require.LessOrEqual(t, len(s.Name+"-0123456789"), 63, "the label controller-revision-hash of %s", key)
			require.NotContains(t, s.Name, "--")
		})
	}
}

func TestInvalidNames(t *testing.T) {
	long := strings.Repeat("a", 45)
	for _, values := range []string{
		`nameOverride: Blog`, `nameOverride: -a`, `nameOverride: ` + long, `fullnameOverride: a.b`, `fullnameOverride: "1a"`, `fullnameOverride: ` + long,
	} {
		require.Contains(t, rejection(t, values), "schema", values)
	}
	for _, release := range []string{"2024", "my.blog"} {
		_, problems, err := process.Outputs("", helms(t)[0], "template", release, chart, "--namespace", namespace)
		require.Error(t, err, release)
		require.Contains(t, problems, `would begin with "`+release+`-achilles"`)
		require.Contains(t, problems, "set fullnameOverride")
	}
}
