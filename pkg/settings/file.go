package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"
)

// readFile reads the settings in the YAML file, if there is one. Unless content is nil, it is that of the file.
func (l *loading) readFile(file string, content []byte) {
	if file == "" {
		return
	}
	root, err := parseFile(file, content)
	var sections map[string]any
	if err == nil && root != nil {
		if err = root.Decode(&sections); err != nil {
			err = fmt.Errorf("configuration file %s: %s", file, withoutValues(strings.TrimPrefix(err.Error(), "yaml: ")))
		}
	}
	if err != nil {
		l.fail(err)
		l.incomplete = true
		return
	}
	reader := fileReader{loading: l, file: file, root: root, layer: map[string]any{}, seen: map[string]string{}}
	reader.walk(nil, sections)
	l.merge(reader.layer)
}

// maxFile is the maximum size of a configuration file in bytes. It keeps a wrong path, such as that of a log, out of memory.
const maxFile = 1 << 20

// ReadFile returns the content of a configuration file, for Source.Content. It reads at most maxFile+1 bytes, which Load rejects as
// too large.
func ReadFile(file string) ([]byte, error) {
	opened, err := os.Open(file) // #nosec G304 -- the user names the file
	if err != nil {
		return nil, err
	}
	return readAll(opened)
}

// errNotRegular is the error of a pipe, a device or a directory: reading it might block for ever.
var errNotRegular = errors.New("is not a regular file")

// readRegular is ReadFile for a regular file. It never blocks.
func readRegular(file string) ([]byte, error) {
	opened, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0) // #nosec G304 -- the user names the file
	if err != nil {
		return nil, err
	}
	info, err := opened.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return readAll(opened)
}

func readAll(opened *os.File) ([]byte, error) {
	defer func() { _ = opened.Close() }()
	return io.ReadAll(io.LimitReader(opened, maxFile+1))
}

// parseFile returns the root of the document, which is a mapping, or nil if the file is empty.
func parseFile(file string, content []byte) (root *yaml.Node, err error) {
	if content == nil {
		content, err = ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration file %s: %s; check --config and %s, or leave both out to run on the defaults",
			file, reason(err), FileVariable)
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("configuration file %s: is larger than 1 MiB: it cannot be a configuration; check --config and %s", file, FileVariable)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, next yaml.Node
	err = decoder.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("configuration file %s: %s", file, syntaxError(err, content))
	}
	if !errors.Is(decoder.Decode(&next), io.EOF) {
		return nil, fmt.Errorf("configuration file %s: holds more than one document; put all settings into one, "+
			"without --- between them", file)
	}
	root = document.Content[0]
	switch {
	case root.Tag == "!!null":
		return nil, nil
	case root.Kind != yaml.MappingNode:
		return nil, fmt.Errorf("configuration file %s: line %d: is not a list of sections; write for example Server: and, "+
			"indented below it, HttpPort: 8000", file, root.Line)
	}
	return root, nil
}

// reason returns the text of an error without the path, which the message around it contains.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this user"
	case errors.Is(err, syscall.EISDIR):
		return "is a directory, not a file"
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return "cannot be read: " + err.Error()
}

// quotedValue matches quotations of the file in a YAML error, which may be part of a secret, but not indicators such as ':'.
var quotedValue = regexp.MustCompile("'[^']{2,}'|`[^`]*`")

// syntaxError returns the message for malformed YAML. The parser reports the line on which the malformed construct begins, but
// not for the first line.
func syntaxError(err error, content []byte) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if name, ok := strings.CutPrefix(text, "unknown anchor '"); ok {
		name, _, _ = strings.Cut(name, "'")
		before, _, _ := bytes.Cut(content, []byte("*"+name))
		return fmt.Sprintf("line %d: a value that begins with * refers to an anchor that does not exist; if it is meant as a text, "+
			"put it in quotes", 1+bytes.Count(before, []byte("\n")))
	}
	if !strings.HasPrefix(text, "line ") {
		text = "line 1: " + text
	}
	return "near " + withoutValues(text)
}

func withoutValues(text string) string {
	return quotedValue.ReplaceAllString(strings.Join(strings.Fields(text), " "), mask)
}

// fileReader reads settings from the content of a file.
type fileReader struct {
	*loading
	file  string
	root  *yaml.Node
	layer map[string]any
	seen  map[string]string
}

func (r fileReader) walk(path []string, content map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(content)) {
		here := append(slices.Clone(path), name)
		r.take(here, strings.Join(here, "."), content[name])
	}
}

func (r fileReader) take(path []string, key string, value any) {
	from := r.origin(path)
	if f, ok := r.schema.field(key); ok {
		r.takeField(f, key, value, from)
		return
	}
	known, ok := r.schema.section(key)
	if !ok {
		r.fail(r.schema.unknown(key, from))
		return
	}
	switch value := value.(type) {
	case nil:
	case map[string]any:
		r.walk(path, value)
	default:
		note := "is a section: write its settings on the lines below it, indented: " + strings.Join(r.schema.names(key), ", ")
		r.fail(&problem{key: known.name, note: note, from: from})
	}
}

func (r fileReader) takeField(f field, key string, value any, from string) {
	if other, twice := r.seen[f.key]; twice {
		r.fail(&problem{key: f.key, note: fmt.Sprintf("is in the file twice, as %s and as %s; keep one", other, key), from: from})
		return
	}
	r.seen[f.key] = key
	if _, isMap := value.(map[string]any); isMap { // no other source could override it
		r.fail(&problem{key: f.key, got: show(value), allowed: f.allowedByType(), from: from})
		return
	}
	if value != nil { // an empty value keeps the default
		put(r.layer, f.key, value)
		r.from[f.key] = from
	}
}

func (r fileReader) origin(path []string) string {
	if line := lineOf(r.root, path); line > 0 {
		return fmt.Sprintf("%s line %d", r.file, line)
	}
	return r.file
}

// lineOf returns the line of a key, or 0 if an anchor contains it.
func lineOf(node *yaml.Node, path []string) int {
	for i := 0; i+1 < len(node.Content) && node.Kind == yaml.MappingNode; i += 2 {
		if node.Content[i].Value != path[0] {
			continue
		}
		if len(path) == 1 {
			return node.Content[i].Line
		}
		return lineOf(node.Content[i+1], path[1:])
	}
	return 0
}
