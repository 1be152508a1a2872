// Package kustomize generates the manifests in deploy/kustomize from the Helm chart, and tests the overlays. Both are rendered
// by libraries, so that neither program is needed.
package kustomize

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"

	"github.com/achilles-blog/achilles/test/services"
)

const (
	chartDir = "deploy/helm/achilles"
	dir      = "deploy/kustomize"
	header   = "# Generated from the Helm chart by \"make chart\". Do not edit.\n"
)

// The values of the chart for each part.
const (
	baseValues = `
mariadb: {enabled: false}
redis: {enabled: false}
database: {host: unknown, existingSecret: achilles-database}
auth: {existingSecret: achilles-auth}
feed: {existingSecret: achilles-feed}
`
	componentValues = baseValues + `
externalRedis: {host: unknown}
serviceDefaults: {autoscaling: {enabled: true}}
ingress: {enabled: true}
gateway: {enabled: true, parentRefs: [{name: public}]}
monitoring: {podMonitor: {enabled: true}}
`
	// The claim of pods that share it.
	claimValues = baseValues + `
files: {storage: claim, claim: {accessModes: [ReadWriteMany]}}
rollout: {shutdownSeconds: 63}
`
	serverValues = `
mariadb: {existingSecret: achilles-database}
redis: {existingSecret: achilles-redis}
`
)

// Generate returns the generated files by their path below root, the repository.
func Generate(root string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, part := range []struct {
		values string
		file   func(o object) string // path below dir; "" for the objects of other parts
	}{{baseValues, baseFile}, {componentValues, componentFile}, {claimValues, claimFile}, {serverValues, serverFile}} {
		objects, err := render(filepath.Join(root, chartDir), part.values)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if file := part.file(o); file != "" {
				if err := add(files, filepath.Join(dir, file), o); err != nil {
					return nil, fmt.Errorf("%s %s: %w", o.kind(), o.name(), err)
				}
			}
		}
	}
	all, err := services.Read(root)
	if err != nil {
		return nil, err
	}
	files[filepath.Join(dir, "base/services/kustomization.yaml")], err = kustomization(root, services.Names(all))
	return files, err
}

// add adds an object to a file.
func add(files map[string][]byte, file string, o object) error {
	separator := "---\n"
	if files[file] == nil {
		separator = header
	}
	text, err := o.manifest()
	files[file] = append(append(files[file], separator...), text...)
	return err
}

func baseFile(o object) string {
	switch o.kind() {
	case "ConfigMap":
		return "base/services/" + o.component() + "-settings.yaml"
	case "Deployment", "Service", "PodDisruptionBudget":
		return "base/services/" + o.component() + ".yaml"
	case "Pod":
		if strings.HasSuffix(o.name(), "-check") { // Helm alone has the tests of the network policies
			return "base/services/check.yaml"
		}
	case "ServiceAccount":
		return "base/services/serviceaccount.yaml"
	}
	return ""
}

func componentFile(o object) string {
	return map[string]string{
		"HorizontalPodAutoscaler": "components/autoscaling/horizontalpodautoscaler.yaml",
		"HTTPRoute":               "components/httproute/httproute.yaml",
		"Ingress":                 "components/ingress/ingress.yaml",
		"NetworkPolicy":           "components/network-policy/networkpolicy.yaml",
		"PodMonitor":              "components/monitoring/podmonitor.yaml",
	}[o.kind()]
}

func claimFile(o object) string {
	if o.kind() == "PersistentVolumeClaim" {
		return "components/files-claim/persistentvolumeclaim.yaml"
	}
	return ""
}

func serverFile(o object) string {
	if c := o.component(); c == "mariadb" || c == "redis" {
		return "components/servers/" + c + ".yaml"
	}
	return ""
}

// kustomization returns the kustomization of base/services.
func kustomization(root string, names []string) ([]byte, error) {
	chart, err := loader.Load(filepath.Join(root, chartDir))
	if err != nil {
		return nil, err
	}
	var resources, settings, images strings.Builder
	for _, name := range names {
		_, _ = fmt.Fprintf(&resources, "  - %s.yaml\n", name)
		_, _ = fmt.Fprintf(&settings, "  - name: achilles-%s\n    files: [settings.yaml=%[1]s-settings.yaml]\n    options:\n      labels: {app.kubernetes.io/component: %[1]s}\n", name)
		_, _ = fmt.Fprintf(&images, "  - name: achilles-blog/%s\n    newTag: %s\n", name, chart.Metadata.AppVersion)
	}
	return fmt.Append(nil, header, `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization

resources:
  - serviceaccount.yaml
  - check.yaml
`, resources.String(), `
# The hash in a generated name changes with the content: a change replaces the pods,
# and a pod that is rolled back finds its previous settings.
configMapGenerator:
`, settings.String(), `
images:
`, images.String()), nil
}

// render returns the objects of the chart with values, which are YAML.
func render(chart, values string) ([]object, error) {
	text, err := renderText(chart, "default", values)
	if err != nil {
		return nil, err
	}
	var objects []object
	for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
		var document yaml.Node
		switch err := decoder.Decode(&document); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, err
		}
		if o := (object{&document}); o.kind() != "" {
			objects = append(objects, o)
		}
	}
}

// renderText renders the chart as helm install does in a namespace.
func renderText(chart, namespace, values string) (string, error) {
	loaded, err := loader.Load(chart)
	if err != nil {
		return "", err
	}
	given, err := common.ReadValues([]byte(values))
	if err != nil {
		return "", err
	}
	release := common.ReleaseOptions{Name: "achilles", Namespace: namespace, Revision: 1, IsInstall: true}
	input, err := util.ToRenderValues(loaded, given, release, nil)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(loaded, input)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") {
			text.WriteString("\n---\n" + files[name])
		}
	}
	return text.String(), nil
}

// encode returns YAML as people indent it.
func encode(value any) ([]byte, error) {
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	err := encoder.Encode(value)
	return text.Bytes(), err
}
