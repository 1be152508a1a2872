package frontmatter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"
)

// fields are the values of front matter by their names in lower case.
type fields map[string]value

type kind uint8

const (
	null kind = iota
	scalar
	list
	table
)

// value is a value of front matter.
type value struct {
	line   int
	kind   kind
	text   string // of a scalar, as it is written
	list   []value
	fields fields // of a table
}

// add adds a field, unless there is one with its name.
func (f fields) add(name string, v value) error {
	name = strings.ToLower(name)
	if before, found := f[name]; found {
		return wrong(v.line, "the field %q is there twice, also in line %d: remove one of them", name, before.line)
	}
	f[name] = v
	return nil
}

// converter converts the values of a format.
type converter struct {
	first  int // the line of the file in which the front matter begins
	values int // that were converted
}

// enter counts a value, and returns an error if there are too many.
func (c *converter) enter(line, depth int) error {
	c.values++
	switch {
	case c.values > maxValues:
		return wrong(line, "the front matter has more than %d values: remove some, or their aliases", maxValues)
	case depth > maxDepth:
		return wrong(line, "the values are nested more than %d levels deep: remove some levels, or the alias", maxDepth)
	}
	return nil
}

var yamlError = regexp.MustCompile(`^yaml: (?:unmarshal errors:\s+)?(?:line (\d+): )?`)

func parseYAML(matter string, first int) (fields, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(matter), &document); err != nil {
		text := err.Error()
		line, found := first, yamlError.FindStringSubmatch(text)
		if found != nil {
			if n, err := strconv.Atoi(found[1]); err == nil {
				line = first + n - 1
			}
			text = text[len(found[0]):]
		}
		return nil, wrong(line, "the YAML is malformed: %s; put texts into quotation marks that have a colon or # in them, and indent by blanks", text)
	}
	c := converter{first: first}
	if len(document.Content) == 0 {
		return fields{}, nil // empty, or only comments
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return fields{}, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, wrong(first, "the front matter has no fields such as title: Hello; if it is none, write *** instead of --- for a line across the page")
	}
	v, err := c.yaml(root, 0)
	return v.fields, err
}

func (c *converter) yaml(node *yaml.Node, depth int) (v value, err error) {
	v.line = c.first + node.Line - 1
	if err := c.enter(v.line, depth); err != nil {
		return v, err
	}
	switch node.Kind {
	case yaml.AliasNode:
		return c.yaml(node.Alias, depth+1)
	case yaml.SequenceNode:
		v.kind = list
		for _, one := range node.Content {
			element, err := c.yaml(one, depth+1)
			if err != nil {
				return v, err
			}
			v.list = append(v.list, element)
		}
	case yaml.MappingNode:
		v.kind, v.fields = table, fields{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			if err := c.yamlField(v.fields, node.Content[i], node.Content[i+1], depth+1); err != nil {
				return v, err
			}
		}
	case yaml.ScalarNode:
		if node.Tag == "!!null" {
			return v, nil
		}
		v.kind, v.text = scalar, node.Value
	}
	return v, nil
}

func (c *converter) yamlField(to fields, key, node *yaml.Node, depth int) error {
	line := c.first + key.Line - 1
	if key.Kind != yaml.ScalarNode {
		return wrong(line, "the name of a field must be a text")
	}
	if key.Tag == "!!merge" {
		return wrong(line, "merged fields (<<) are not supported: write the fields themselves")
	}
	v, err := c.yaml(node, depth)
	if err != nil {
		return err
	}
	v.line = line
	return to.add(key.Value, v)
}

func parseTOML(matter string, first int) (fields, error) {
	document, err := unmarshalTOML(matter)
	if err != nil {
		line := first
		var at *toml.DecodeError
		if errors.As(err, &at) {
			row, _ := at.Position()
			line += row - 1
		}
		return nil, wrong(line, "the TOML is malformed: %s; put texts into quotation marks", strings.TrimPrefix(err.Error(), "toml: "))
	}
	c := converter{first: first}
	v, err := c.decoded(document, first, 0)
	for name, one := range v.fields {
		one.line = first + lineOfKey(matter, name)
		v.fields[name] = one
	}
	return v.fields, err
}

// leapSecond matches a time with a leap second, which TOML has, and its package hasn't.
var leapSecond = regexp.MustCompile(`(=\s*\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:)60`)

// unmarshalTOML decodes TOML. As in ParseTime, a leap second becomes the one before.
func unmarshalTOML(matter string) (document map[string]any, err error) {
	if err = toml.Unmarshal([]byte(matter), &document); err == nil {
		return document, nil
	}
	document = nil
	if toml.Unmarshal([]byte(leapSecond.ReplaceAllString(matter, "${1}59")), &document) == nil {
		return document, nil
	}
	return nil, err
}

// lineOfKey returns the line of a field in TOML, from 0; 0 if it is not found.
func lineOfKey(matter, name string) int {
	n := 0
	for line := range strings.Lines(matter) {
		line = strings.ToLower(strings.TrimLeft(line, " \t[\"'"))
		if after, found := strings.CutPrefix(line, name); found && strings.ContainsAny(after[:min(1, len(after))], " \t=].\"'") {
			return n
		}
		n++
	}
	return 0
}

// decoded converts a value of TOML or JSON.
func (c *converter) decoded(from any, line, depth int) (v value, err error) {
	v.line = line
	if err := c.enter(line, depth); err != nil {
		return v, err
	}
	switch from := from.(type) {
	case nil:
		return v, nil
	case []any:
		v.kind = list
		for _, one := range from {
			element, err := c.decoded(one, line, depth+1)
			if err != nil {
				return v, err
			}
			v.list = append(v.list, element)
		}
	case map[string]any:
		v.kind, v.fields = table, fields{}
		for name, one := range from {
			field, err := c.decoded(one, line, depth+1)
			if err == nil {
				err = v.fields.add(name, field)
			}
			if err != nil {
				return v, err
			}
		}
	case time.Time:
		v.kind, v.text = scalar, from.Format(time.RFC3339Nano)
	default: // texts, numbers, booleans, and local dates and times
		v.kind, v.text = scalar, fmt.Sprint(from)
	}
	return v, nil
}

// looksLikeJSON reports whether a text begins with front matter in JSON, not with a tag of a
// template.
func looksLikeJSON(text string) bool {
	rest, found := strings.CutPrefix(text, "{")
	rest = strings.TrimLeft(rest, " \t\r\n")
	return found && (strings.HasPrefix(rest, `"`) || strings.HasPrefix(rest, "}"))
}

func splitJSON(text string, line int) (parts, error) {
	decoder := json.NewDecoder(io.LimitReader(strings.NewReader(text), MaxSize+1))
	decoder.UseNumber()
	all := fields{}
	c := converter{first: line}
	at := func() int { return line + strings.Count(text[:decoder.InputOffset()], "\n") }
	malformed := func(err error) (parts, error) {
		var coded *Error
		if errors.As(err, &coded) {
			return parts{}, err
		}
		return parts{}, wrong(at(), "the JSON is malformed, or has more than %d bytes: %v", MaxSize, err)
	}
	if _, err := decoder.Token(); err != nil {
		return malformed(err)
	}
	for decoder.More() {
		if err := c.jsonField(decoder, all, at); err != nil {
			return malformed(err)
		}
	}
	if _, err := decoder.Token(); err != nil {
		return malformed(err)
	}
	end := int(decoder.InputOffset())
	after, rest, _ := cutLine(text[end:])
	if after != "" {
		return parts{}, wrong(at(), "a new line must follow the front matter")
	}
	format := func(string, int) (fields, error) { return all, nil }
	return parts{text[:end], line, format, withoutEmptyLine(rest)}, nil
}

func (c *converter) jsonField(decoder *json.Decoder, to fields, at func() int) error {
	name, err := decoder.Token()
	if err != nil {
		return err
	}
	line := at()
	var decoded any
	if err := decoder.Decode(&decoded); err != nil {
		return err
	}
	v, err := c.decoded(decoded, line, 1)
	if err != nil {
		return err
	}
	return to.add(fmt.Sprint(name), v)
}
