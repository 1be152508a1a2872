package kustomize

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// object is a rendered object of the chart, with its comments.
type object struct{ document *yaml.Node }

func (o object) root() *yaml.Node {
	if len(o.document.Content) == 0 {
		return &yaml.Node{}
	}
	return o.document.Content[0]
}

func (o object) kind() string { return get(o.root(), "kind").Value }
func (o object) name() string { return get(o.root(), "metadata", "name").Value }
func (o object) component() string {
	return get(o.root(), "metadata", "labels", "app.kubernetes.io/component").Value
}

// manifest returns the object as YAML without what overlays add: the namespace, the labels that they set, the tags of the
// services' images. Of a ConfigMap with settings it returns the settings.
func (o object) manifest() ([]byte, error) {
	if settings := get(o.root(), "data", "settings.yaml").Value; settings != "" {
		return baseSettings(settings)
	}
	metadata := get(o.root(), "metadata")
	remove(metadata, "namespace")
	trim(metadata)
	switch o.kind() {
	case "Deployment":
		template := get(o.root(), "spec", "template")
		trim(get(template, "metadata"))
		environment(get(template, "spec"))
	case "Pod":
		return o.cronJob()
	}
	return encode(o.document)
}

// trim removes what an overlay or a hash replaces, and the hooks of Helm.
func trim(metadata *yaml.Node) {
	for _, field := range []string{"labels", "annotations"} {
		entries := get(metadata, field)
		for i := len(entries.Content) - 2; i >= 0; i -= 2 {
			key := entries.Content[i].Value
			if key == "app.kubernetes.io/managed-by" || key == "app.kubernetes.io/version" || strings.HasPrefix(key, "checksum/") || strings.HasPrefix(key, "helm.sh/") {
				entries.Content = slices.Delete(entries.Content, i, i+2)
			}
		}
		if len(entries.Content) == 0 {
			remove(metadata, field)
		}
	}
}

// environment adds the settings of the overlays to the containers of a pod, and removes the tags of their images.
func environment(pod *yaml.Node) {
	for _, container := range slices.Concat(get(pod, "initContainers").Content, get(pod, "containers").Content) {
		image := get(container, "image")
		image.Value, _, _ = strings.Cut(image.Value, ":")
		i := slices.IndexFunc(container.Content, func(n *yaml.Node) bool { return n.Value == "args" }) + 2
		added := "envFrom: [{configMapRef: {name: achilles-environment}}]"
		if len(get(container, "env").Content) == 0 {
			added += "\nenv: []" // which components add to
		}
		container.Content = slices.Insert(container.Content, i, parse(added).Content...)
	}
}

// baseSettings returns the settings that are the same in all overlays. The others are in the ConfigMap achilles-environment.
func baseSettings(text string) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		return nil, err
	}
	all := document.Content[0]
	for _, key := range []string{"Host", "TLS"} {
		remove(get(all, "Database"), key)
	}
	remove(all, "Log")
	return encode(all)
}

// cronJob returns a suspended CronJob that runs the pod.
func (o object) cronJob() ([]byte, error) {
	job := parse(`
# Writes and reads through the services. Run it with:
#   kubectl create job achilles-check --from=cronjob/achilles-check
apiVersion: batch/v1
kind: CronJob
metadata:
spec:
  suspend: true
  schedule: "@yearly"
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        metadata:
          labels:
        spec:
`)
	pod, template := o.root(), get(job, "spec", "jobTemplate", "spec", "template")
	environment(get(pod, "spec"))
	*get(job, "metadata") = *get(pod, "metadata")
	*get(template, "metadata", "labels") = *get(pod, "metadata", "labels")
	*get(template, "spec") = *get(pod, "spec")
	return encode(job)
}

// parse returns the root of a YAML text, which is a constant.
func parse(text string) *yaml.Node {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		panic(err)
	}
	return document.Content[0]
}

// get returns a value of nested maps, or an empty node.
func get(node *yaml.Node, path ...string) *yaml.Node {
	for _, key := range path {
		i := index(node, key)
		if i < 0 {
			return &yaml.Node{}
		}
		node = node.Content[i+1]
	}
	return node
}

func remove(node *yaml.Node, key string) {
	if i := index(node, key); i >= 0 {
		node.Content = slices.Delete(node.Content, i, i+2)
	}
}

// index returns the index of a key in a map, or -1.
func index(node *yaml.Node, key string) int {
	if node.Kind != yaml.MappingNode {
		return -1
	}
	for i := 0; i < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return i
		}
	}
	return -1
}
