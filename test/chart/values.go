package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// value is a key of values.yaml, with what the comment above it says.
type value struct {
	path     []string
	node     *yaml.Node
	about    string         // what follows "# -- "
	section  string         // the lines of a comment that are neither
	schema   map[string]any // what follows "# @schema "
	children []*value       // of a map whose keys are fixed
	closed   bool           // it is such a map
}

func (v *value) key() string { return strings.Join(v.path, ".") }

// isLeaf tells whether the value is set as a whole.
func (v *value) isLeaf() bool { return !v.closed }

func (v *value) child(name string) *value {
	if v == nil {
		return nil
	}
	i := slices.IndexFunc(v.children, func(c *value) bool { return c.path[len(c.path)-1] == name })
	if i < 0 {
		return nil
	}
	return v.children[i]
}

// fallback is the value of values.yaml as JSON.
func (v *value) fallback() string {
	var decoded any
	if err := v.node.Decode(&decoded); err != nil {
		return err.Error()
	}
	text, err := json.Marshal(decoded)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// readValues reads values.yaml as the children of one nameless value.
func readValues(file string) (*value, error) {
	content, err := os.ReadFile(file) // #nosec G304 -- of this repository
	if err != nil {
		return nil, err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	root := &value{node: document.Content[0], closed: true}
	if err := root.readChildren(nil); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return root, nil
}

// readChildren describes each key of a map. What has no comment of its own means what the same key of twin means.
func (v *value) readChildren(twin *value) error {
	for i := 0; i < len(v.node.Content); i += 2 {
		name := v.node.Content[i].Value
		child := &value{path: append(slices.Clone(v.path), name), node: v.node.Content[i+1]}
		if err := child.readComment(v.node.Content[i].HeadComment); err != nil {
			return fmt.Errorf("%s: %w", child.key(), err)
		}
		same := twin.child(name)
		if same != nil && child.about == "" {
			child.about, child.schema = same.about, same.schema
		}
		if child.key() == "article" {
			same = v.child("tag")
		}
		_, referred := child.schema["$ref"]
		_, free := child.schema["additionalProperties"]
		child.closed = child.node.Kind == yaml.MappingNode && !referred && !free
		if child.closed {
			if err := child.readChildren(same); err != nil {
				return err
			}
		}
		v.children = append(v.children, child)
	}
	return nil
}

func (v *value) readComment(comment string) error {
	for line := range strings.Lines(comment) {
		line = strings.TrimSpace(strings.TrimPrefix(line, "#"))
		if about, ok := strings.CutPrefix(line, "-- "); ok {
			v.about = about
		} else if schema, ok := strings.CutPrefix(line, "@schema "); ok {
			if err := yaml.Unmarshal([]byte(schema), &v.schema); err != nil {
				return err
			}
		} else {
			v.section = strings.TrimSpace(v.section + "\n" + line)
		}
	}
	return nil
}
