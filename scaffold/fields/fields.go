// Package fields parses what a resource of a service has: its name and its fields, as
// the Makefile's targets new-service and new-resource take them and
// services/services.yaml lists them. Its errors say what to write instead.
package fields

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Type is the type of a field.
type Type string

// Types of fields.
const (
	String Type = "string" // a line of text of at most Field.Size characters
	Text   Type = "text"   // several lines of text, of at most MaxText characters
	Uint64 Type = "uint64" // from 0 to the largest integer that every database holds
	Int64  Type = "int64"
	Bool   Type = "bool"
	Time   Type = "time"
	State  Type = "state" // 1 enabled or 0 disabled; anonymous clients see what is enabled
)

const (
	// MaxString is the maximum size of a string: an index of MySQL holds no more with a state.
	MaxString = 700
	// MaxFiltered is the maximum size of a string by which lists can be filtered.
	MaxFiltered = 255
	// MaxText is the maximum number of characters in a text: so many fit into MySQL's type text.
	MaxText = 10_000
	// maxCharacters is the maximum number of characters in all fields of a resource, so that
	// a body, in which each may be escaped as 12 bytes, has at most 256 KiB.
	maxCharacters = 21_000
	// maxFields is the maximum number of fields: MySQL has at most 64 indexes in a table.
	maxFields = 24
	// maxName is the maximum length of a name, which is a part of names of tables and
	// indexes: MySQL's have at most 64 characters.
	maxName = 20
	// StateName is the name of a field of the type state.
	StateName = "state"
)

// Field is a field that clients can set.
type Field struct {
	Name string
	Type Type
	// Size is the maximum number of characters of a string.
	Size int
	// Optional says that the field may be left out. Then it is empty, 0 or false.
	Optional bool
	// Unique says that no two objects that are not deleted have the same value.
	Unique bool
}

const syntax = "write NAME:TYPE, with ? behind it if it may be left out, ! if it is unique; the types are " +
	"string(N), text, uint64, int64, bool, time and state: author:string(64) nickname:string(64)? slug:string(100)!"

var (
	field      = regexp.MustCompile(`^([^:()!? ]*):([a-z0-9]*)(?:\(([0-9]*)\))?([!?]*)$`)
	snake      = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*$`)
	identifier = regexp.MustCompile(`^[a-z][a-z0-9]*$`)
)

// UnmarshalText parses a field such as author:string(64)?.
func (f *Field) UnmarshalText(text []byte) error {
	parts := field.FindSubmatch(text)
	if parts == nil {
		return fmt.Errorf("field %q: %s", text, syntax)
	}
	parsed := Field{
		Name: string(parts[1]), Type: Type(parts[2]),
		Optional: strings.Contains(string(parts[4]), "?"), Unique: strings.Contains(string(parts[4]), "!"),
	}
	if len(parts[3]) > 0 {
		size, err := strconv.Atoi(string(parts[3]))
		if err != nil {
			return fmt.Errorf("field %q: %s is no size: %s", text, parts[3], syntax)
		}
		parsed.Size = size
	}
	if err := parsed.check(); err != nil {
		return fmt.Errorf("field %q: %w", text, err)
	}
	*f = parsed
	return nil
}

// String returns the text that UnmarshalText parses.
func (f Field) String() string {
	text := f.Name + ":" + string(f.Type)
	if f.Type == String {
		text += "(" + strconv.Itoa(f.Size) + ")"
	}
	if f.Optional {
		text += "?"
	}
	if f.Unique {
		text += "!"
	}
	return text
}

// MarshalText implements encoding.TextMarshaler.
func (f Field) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

func (f Field) check() error {
	types := []Type{String, Text, Uint64, Int64, Bool, Time, State}
	switch {
	case !slices.Contains(types, f.Type):
		return fmt.Errorf("%q is no type: %s", f.Type, syntax)
	case f.Type == String && (f.Size < 1 || f.Size > MaxString):
		return fmt.Errorf("a string has a size from 1 to %d, as in %s:string(64); longer ones are of the type text, of at most %d characters", MaxString, f.Name, MaxText)
	case f.Type != String && f.Size != 0:
		return fmt.Errorf("only a string has a size: write %s:%s", f.Name, f.Type)
	case f.Type == State && f.Name != StateName:
		return fmt.Errorf("a field of the type state is named %s: write %s:state", StateName, StateName)
	case f.Type != State && f.Name == StateName:
		return fmt.Errorf("%s is the name of the field that says whether an object is enabled: write %s:state, or choose another name", StateName, StateName)
	case f.Optional && (f.Type == State || f.Type == Time):
		return fmt.Errorf("a field of the type %s can't be optional: leave out the ?", f.Type)
	case f.Unique && (f.Optional || f.Type != String && f.Type != Uint64 || f.Size > MaxFiltered):
		return fmt.Errorf("a unique field is a uint64 or a string of at most %d characters, and not optional", MaxFiltered)
	}
	return checkFieldName(f.Name)
}

// characters returns the maximum number of characters of a value.
func (f Field) characters() int {
	switch f.Type {
	case String:
		return f.Size
	case Text:
		return MaxText
	default:
		return 20
	}
}

// Characters returns the maximum number of characters of the values of fields.
func Characters(all []Field) int {
	sum := 0
	for _, f := range all {
		sum += f.characters()
	}
	return sum
}

// Parse parses fields that are separated by spaces. It reports everything that is wrong.
func Parse(text string) ([]Field, error) {
	var all []Field
	var errs []error
	for word := range strings.FieldsSeq(text) {
		var f Field
		if err := f.UnmarshalText([]byte(word)); err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, f)
	}
	if errs == nil {
		errs = append(errs, Check(all))
	}
	return all, errors.Join(errs...)
}

// Check returns an error if the fields can't be those of one resource.
func Check(all []Field) error {
	if len(all) == 0 {
		return fmt.Errorf("there is no field: %s", syntax)
	}
	if len(all) > maxFields {
		return fmt.Errorf("%d fields are too many: a resource has at most %d", len(all), maxFields)
	}
	seen, unique := map[string]Field{}, ""
	for _, f := range all {
		if other, ok := seen[GoName(f.Name)]; ok {
			return fmt.Errorf("%s and %s have the same name in Go, %s: rename one of them", other, f, GoName(f.Name))
		}
		seen[GoName(f.Name)] = f
		if f.Unique && unique != "" {
			return fmt.Errorf("%s and %s are both unique: at most one field is", unique, f.Name)
		}
		if f.Unique {
			unique = f.Name
		}
	}
	if len(all) == 1 && all[0].Type == State {
		return fmt.Errorf("a resource needs a field beside its state: %s", syntax)
	}
	if sum := Characters(all); sum > maxCharacters {
		return fmt.Errorf("the fields may have %d characters together, but a request holds at most %d: make them shorter, or have fewer texts (%d each)", sum, maxCharacters, MaxText)
	}
	return nil
}
