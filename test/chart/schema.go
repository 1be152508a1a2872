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

// schemaOf returns the JSON schema of the values. The folder configs has an example of each service's settings.
func schemaOf(values *value, names []string, configs string) ([]byte, error) {
	schema, err := values.schemaOf()
	if err != nil {
		return nil, err
	}
	definitions := sharedDefinitions()
	definitions["service"] = serviceSchema(schema)
	byName, everyConfig := object{}, []object{}
	for _, name := range names {
		if definitions[name+"Config"], err = configSchema(filepath.Join(configs, name+".yaml")); err != nil {
			return nil, err
		}
		config := object{"$ref": "#/definitions/" + name + "Config"}
		byName[name] = object{"allOf": []object{{"$ref": "#/definitions/service"}, {"properties": object{"config": nullable(config)}}}}
		everyConfig = append(everyConfig, config)
	}
	definitions["config"] = object{"type": "object", "allOf": everyConfig}
	schema["properties"].(object)["services"] = object{
		"type": "object", "description": values.child("services").about, "additionalProperties": false, "properties": byName,
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

// serviceSchema returns the schema of a service's values, of which none is required: those of serviceDefaults and database, and
// what only a single service can have.
func serviceSchema(values object) object {
	properties := values["properties"].(object)
	service := optional(properties["serviceDefaults"].(object))
	ofService, text := service["properties"].(object), object{"type": "string"}
	ofService["config"] = object{} // described for each service
	image := ofService["image"].(object)["properties"].(object)
	image["repository"], image["digest"] = text, object{"$ref": "#/definitions/digest"}
	database := optional(properties["database"].(object))
	database["properties"].(object)["name"] = object{"type": "string", "pattern": "^[A-Za-z0-9_$-]{1,64}$"}
	ofService["database"] = database
	return service
}

// optional returns a copy of the schema of a map without required keys. A null removes a map or a list.
func optional(schema object) object {
	copied := maps.Clone(schema)
	delete(copied, "required")
	properties := object{}
	for name, property := range schema["properties"].(object) {
		property := property.(object)
		switch kind := property["type"]; {
		case property["properties"] != nil:
			properties[name] = optional(property)
		case kind == "string" || kind == "integer" || kind == "boolean" || kind == nil && property["enum"] != nil:
			properties[name] = property
		default:
			properties[name] = nullable(property)
		}
	}
	copied["properties"] = properties
	return copied
}

func nullable(schema object) object {
	return object{"anyOf": []object{schema, {"type": "null"}}}
}

// schemaOf returns the schema of one value: its type is that of its default, the rest is in its comment.
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
		return nil, fmt.Errorf("%s is a list: add # @schema {items: …}", v.key())
	}
	return schema, nil
}

// closeSchema allows the keys of the default only, and requires them: a null in a user's values would remove one.
func (v *value) closeSchema(schema object) error {
	if len(v.children) == 0 {
		return fmt.Errorf("%s is an empty map: add # @schema {additionalProperties: …}", v.key())
	}
	properties, required := object{}, []string{}
	for _, child := range v.children {
		name := child.name()
		if !child.closed && child.about == "" {
			return fmt.Errorf("%s has no description: add a comment # -- …", child.key())
		}
		var err error
		if properties[name], err = child.schemaOf(); err != nil {
			return err
		}
		if (child.node.Kind == yaml.ScalarNode || child.closed) && !child.nullable() {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	schema["additionalProperties"], schema["properties"], schema["required"] = false, properties, required
	return nil
}

// nullable reports whether the value may be null, which Helm takes to remove its key.
func (v *value) nullable() bool {
	kinds, _ := v.schema["type"].([]any)
	return v.node.Tag == "!!null" || slices.Contains(kinds, any("null"))
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
	return "", errors.New("its default has no type: add # @schema {type: …}")
}

const (
	durationPattern = `^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)?$`
	// hostPattern matches a name, with or without a wildcard, but no address.
	hostPattern = `^(\*\.)?([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)*[a-z]([-a-z0-9]*[a-z0-9])?$`
)

var duration = regexp.MustCompile(`^([0-9.]+(ms|h|m|s))+$`)

// configSchema returns the schema of a service's settings, all of which are in its example configuration.
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
	case int, float64: // the service distinguishes them
		return object{"type": "number"}
	case []any:
		return object{"type": "array", "items": object{"type": "string"}}
	case string:
		if duration.MatchString(value) { // a number is in seconds
			return object{"$ref": "#/definitions/duration"}
		}
	}
	return object{"type": "string"}
}

func closedObject(properties object) object {
	return object{"type": "object", "additionalProperties": false, "properties": properties}
}

// sharedDefinitions returns the schemas that several values have in common.
func sharedDefinitions() object {
	text, whole := object{"type": "string"}, object{"type": "integer"}
	list := func(items object) object { return object{"type": "array", "items": items} }
	quantities := object{"type": "object", "additionalProperties": object{"type": []string{"string", "number", "null"}}}
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
		"digest":          object{"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
		"duration":        object{"type": []string{"string", "number"}, "pattern": durationPattern, "minimum": 0},
		"host":            object{"type": "string", "maxLength": 253, "pattern": hostPattern},
		"dnsConfig":       closedObject(object{"nameservers": list(text), "searches": list(text), "options": list(object{"type": "object"})}),
		"securityContext": object{"type": "object"},
		"resources":       closedObject(object{"requests": quantities, "limits": quantities}),
		"behavior":        closedObject(object{"scaleUp": scaling, "scaleDown": scaling}),
		"peer": closedObject(object{
			"namespaceSelector": selector, "podSelector": selector,
			"ipBlock": closedObject(object{"cidr": text, "except": list(text)}),
		}),
	}
}
