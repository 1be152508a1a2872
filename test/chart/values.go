package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// value is a key of values.yaml with its comment.
type value struct {
	path     []string
	node     *yaml.Node
	about    string         // the text after "# -- "
	section  string         // the other lines of the comment
	schema   map[string]any // the text after "# @schema "
	children []*value       // of a closed map
	closed   bool           // whether it is a map with fixed keys
}

func (v *value) key() string { return strings.Join(v.path, ".") }

func (v *value) name() string { return v.path[len(v.path)-1] }

// child returns the child with that name, which must exist.
func (v *value) child(name string) *value {
	return v.children[slices.IndexFunc(v.children, func(c *value) bool { return c.name() == name })]
}

// fallback returns the default as JSON.
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

// readValues returns a value without a name whose children are those of values.yaml.
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
	if err := root.readChildren(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return root, nil
}

// readChildren reads each key of a map.
func (v *value) readChildren() error {
	for i := 0; i < len(v.node.Content); i += 2 {
		name := v.node.Content[i].Value
		child := &value{path: append(slices.Clone(v.path), name), node: v.node.Content[i+1]}
		if err := child.readComment(v.node.Content[i].HeadComment); err != nil {
			return fmt.Errorf("%s: %w", child.key(), err)
		}
		_, referred := child.schema["$ref"]
		_, free := child.schema["additionalProperties"]
		child.closed = child.node.Kind == yaml.MappingNode && !referred && !free
		if child.closed {
			if err := child.readChildren(); err != nil {
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
