package settings

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/pkg/spelling"
)

var (
	secretType   = reflect.TypeFor[Secret]()
	durationType = reflect.TypeFor[time.Duration]()
	listType     = reflect.TypeFor[[]string]()
)

// field is a setting: its key, the struct field that holds it, and the tags of the field.
type field struct {
	key      string
	value    reflect.Value
	usage    string
	negative bool
	rules    string // of go-playground/validator
	allowed  string // what the rules allow; "" to derive it from them
	live     bool   // changes while the process runs
}

func (f field) flag() string     { return strings.ToLower(f.key) }
func (f field) variable() string { return variable(f.key) }
func (f field) secret() bool     { return f.value.Type() == secretType }

// section is a struct of settings. The whole configuration is the section with the name "".
type section struct {
	name  string
	value reflect.Value
}

// schema describes the settings of a configuration.
type schema struct {
	fields   []field
	sections []section
}

// describe returns the schema of the configuration to which dst points.
func describe(dst any) (*schema, error) {
	value := reflect.ValueOf(dst)
	if value.Kind() != reflect.Pointer || value.IsNil() || value.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("settings: %T is not a pointer to a configuration struct", dst)
	}
	s := &schema{}
	return s, s.add("", value.Elem())
}

func (s *schema) add(name string, value reflect.Value) error {
	s.sections = append(s.sections, section{name, value})
	return s.addFields(name, value)
}

func (s *schema) addFields(section string, value reflect.Value) error {
	for i := range value.NumField() {
		if err := s.addField(section, value.Type().Field(i), value.Field(i)); err != nil {
			return err
		}
	}
	return nil
}

func (s *schema) addField(section string, tags reflect.StructField, value reflect.Value) error {
	name, options, _ := strings.Cut(tags.Tag.Get("mapstructure"), ",")
	key := join(section, cmp.Or(name, tags.Name))
	switch {
	case !tags.IsExported(), name == "-":
		return nil
	case options == "squash":
		return s.addFields(section, value)
	case value.Kind() == reflect.Struct:
		return s.add(key, value)
	case kindOf(value.Type()) == "":
		return fmt.Errorf("settings: %s has the type %s, which no setting can have", key, value.Type())
	}
	f := field{
		key: key, value: value, usage: tags.Tag.Get("usage"), negative: tags.Tag.Get("allow") == "negative",
		rules: tags.Tag.Get("validate"), allowed: tags.Tag.Get("allowed"), live: tags.Tag.Get("live") == "true",
	}
	if f.rules != "" && f.allowedByRules() == "" {
		return fmt.Errorf("settings: %s needs a tag allowed, which describes what its rules %q allow", key, f.rules)
	}
	s.fields = append(s.fields, f)
	return nil
}

// field returns the setting with the key. Case does not matter.
func (s *schema) field(key string) (field, bool) {
	for _, f := range s.fields {
		if strings.EqualFold(f.key, key) {
			return f, true
		}
	}
	return field{}, false
}

// section returns the section with the name. Case does not matter.
func (s *schema) section(name string) (section, bool) {
	for _, found := range s.sections {
		if strings.EqualFold(found.name, name) {
			return found, true
		}
	}
	return section{}, false
}

// names returns the names of the settings and subsections of a section.
func (s *schema) names(in string) []string {
	var all []string
	add := func(key string) {
		parent, name := split(key)
		if name != "" && strings.EqualFold(parent, in) {
			all = append(all, name)
		}
	}
	for _, sub := range s.sections {
		add(sub.name)
	}
	for _, f := range s.fields {
		add(f.key)
	}
	return all
}

// unknown returns the error for a key that is not in the schema.
func (s *schema) unknown(key, from string) error {
	if end := strings.IndexAny(key, ":="); end >= 0 {
		key = key[:end+1] // what follows may be a secret, as in {Password:secret}
		return &problem{key: key + mask, note: "is no setting; write a colon and a space after its name, as in Name: value", from: from}
	}
	parent, name := split(key)
	if known, ok := s.section(parent); ok {
		parent, key = known.name, join(known.name, name)
	}
	note, all := "no such setting", s.names(parent)
	if near := spelling.Nearest(name, all); near != "" {
		note += "; did you mean " + join(parent, near) + "?"
	}
	place := "sections"
	if parent != "" {
		place = "keys of " + parent
	}
	return &problem{key: key, note: fmt.Sprintf("%s; the %s are %s", note, place, strings.Join(all, ", ")), from: from}
}

func join(parent, name string) string {
	if parent == "" {
		return name
	}
	return parent + "." + name
}

func split(key string) (parent, name string) {
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		return key[:i], key[i+1:]
	}
	return "", key
}
