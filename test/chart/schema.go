package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"
)

type object = map[string]any

// schemaOf makes the JSON schema that Helm holds values against.
func schemaOf(values *value, configs string) ([]byte, error) {
	schema, err := values.schemaOf()
	if err != nil {
		return nil, err
	}
	definitions := sharedDefinitions()
	for _, service := range []string{"tag", "article"} {
		if definitions[service+"Config"], err = configSchema(filepath.Join(configs, service+".yaml")); err != nil {
			return nil, err
		}
	}
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	schema["title"] = "Values of the Helm chart achilles"
	schema["definitions"] = definitions
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err = encoder.Encode(schema)
	return text.Bytes(), err
}

// schemaOf describes one value: its type by its default, the rest by its comment.
func (v *value) schemaOf() (object, error) {
	schema := object{}
	if _, referred := v.schema["$ref"]; !referred {
		kind, err := typeOf(v.node)
		if err != nil && v.schema["type"] == nil && v.schema["enum"] == nil {
			return nil, fmt.Errorf("%s: %w", v.key(), err)
		}
		schema["type"] = kind
	}
	maps.Copy(schema, v.schema)
	if v.about != "" {
		schema["description"] = v.about
	}
	if v.closed {
		return schema, v.closeSchema(schema)
	}
	if v.node.Kind == yaml.SequenceNode && schema["items"] == nil {
		return nil, fmt.Errorf("%s: is a list: add # @schema {items: …}", v.key())
	}
	return schema, nil
}

// closeSchema allows the keys that there are, and requires them: a null in a user's values takes one away.
func (v *value) closeSchema(schema object) error {
	if len(v.children) == 0 {
		return fmt.Errorf("%s: is an empty map: add # @schema {additionalProperties: …}", v.key())
	}
	properties, required := object{}, []string{}
	for _, child := range v.children {
		name := child.path[len(child.path)-1]
		if child.isLeaf() && child.about == "" {
			return fmt.Errorf("%s: has no description: add a comment # -- …", child.key())
		}
		var err error
		if properties[name], err = child.schemaOf(); err != nil {
			return err
		}
		if (child.node.Kind == yaml.ScalarNode || child.closed) && child.node.Tag != "!!null" {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	schema["additionalProperties"], schema["properties"], schema["required"] = false, properties, required
	return nil
}

func typeOf(node *yaml.Node) (string, error) {
	switch node.Kind {
	case yaml.MappingNode:
		return "object", nil
	case yaml.SequenceNode:
		return "array", nil
	}
	switch node.Tag {
	case "!!str":
		return "string", nil
	case "!!int":
		return "integer", nil
	case "!!bool":
		return "boolean", nil
	}
	return "", errors.New("its default doesn't tell its type: add # @schema {type: …}")
}

const (
	durationPattern = `^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)?$`
	// hostPattern is of a name, with or without a wildcard, and not of an address.
	hostPattern = `^(\*\.)?([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)*[a-z]([-a-z0-9]*[a-z0-9])?$`
	// networkPattern is of an address or network; what it takes for one with IPv6, a service may still refuse.
	networkPattern = `^(` + octet + `(\.` + octet + `){3}(/([12]?[0-9]|3[0-2]))?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(/([1-9]?[0-9]|1[01][0-9]|12[0-8]))?)$`
	octet          = `([1-9]?[0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])`
)

var duration = regexp.MustCompile(`^([0-9.]+(ms|h|m|s))+$`)

// configSchema describes a service's settings by the file that shows every key there is.
func configSchema(file string) (object, error) {
	content, err := os.ReadFile(file) // #nosec G304 -- of this repository
	if err != nil {
		return nil, err
	}
	var sections map[string]map[string]any
	if err := yaml.Unmarshal(content, &sections); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	all := object{}
	for section, keys := range sections {
		properties := object{}
		for key, value := range keys {
			properties[key] = settingSchema(value)
		}
		all[section] = closedObject(properties)
	}
	return closedObject(all), nil
}

func settingSchema(value any) object {
	switch value := value.(type) {
	case bool:
		return object{"type": "boolean"}
	case int, float64: // which of the two the service knows
		return object{"type": "number"}
	case []any:
		return object{"type": "array", "items": object{"type": "string"}}
	case string:
		if duration.MatchString(value) { // a bare number is seconds
			return object{"type": []string{"string", "number"}, "pattern": durationPattern, "minimum": 0}
		}
	}
	return object{"type": "string"}
}

func closedObject(properties object) object {
	return object{"type": "object", "additionalProperties": false, "properties": properties}
}

// sharedDefinitions are shapes of Kubernetes that several values have.
func sharedDefinitions() object {
	text, whole := object{"type": "string"}, object{"type": "integer"}
	list := func(items object) object { return object{"type": "array", "items": items} }
	quantities := object{"type": "object", "additionalProperties": object{"type": []string{"string", "number"}}}
	selector := closedObject(object{
		"matchLabels": object{"type": "object", "additionalProperties": text},
		"matchExpressions": list(closedObject(object{
			"key": text, "operator": object{"enum": []string{"In", "NotIn", "Exists", "DoesNotExist"}}, "values": list(text),
		})),
	})
	scaling := closedObject(object{
		"stabilizationWindowSeconds": whole, "selectPolicy": object{"enum": []string{"Max", "Min", "Disabled"}},
		"tolerance": object{"type": []string{"string", "number"}},
		"policies":  list(closedObject(object{"type": object{"enum": []string{"Pods", "Percent"}}, "value": whole, "periodSeconds": whole})),
	})
	return object{
		"host":      object{"type": "string", "maxLength": 253, "pattern": hostPattern},
		"network":   object{"type": "string", "pattern": networkPattern},
		"resources": closedObject(object{"requests": quantities, "limits": quantities}),
		"behavior":  closedObject(object{"scaleUp": scaling, "scaleDown": scaling}),
		"peer": closedObject(object{
			"namespaceSelector": selector, "podSelector": selector,
			"ipBlock": closedObject(object{"cidr": text, "except": list(text)}),
		}),
	}
}
