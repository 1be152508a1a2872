package settings

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Source holds the sources of settings besides the defaults.
type Source struct {
	File    string         // a YAML file; "" for none
	Content []byte         // its content, if that has been read; nil to read it
	Flags   *pflag.FlagSet // parsed, with the flags of BindFlags; nil for none
	Environ []string       // "NAME=value" each, as from os.Environ
}

// Load fills the configuration to which dst points, and which holds the defaults. It reports all errors at once, one per line,
// with the key, the value (unless it is a secret), what is allowed, and the source of the value. After an error the
// configuration must not be used.
func Load(dst any, src Source) error {
	_, err := fill(dst, src)
	return err
}

// fill is Load, and returns how it went.
func fill(dst any, src Source) (*loading, error) {
	known, err := describe(dst)
	if err != nil {
		return nil, err
	}
	l := &loading{schema: known, viper: viper.New(), from: map[string]string{}, broken: map[string]bool{}}
	l.readFile(src.File, src.Content)
	l.readEnviron(src.Environ)
	l.readFlags(src.Flags)
	l.assign()
	l.readSecrets()
	l.validate()
	return l, errors.Join(l.problems...)
}

// loading is one run of Load.
type loading struct {
	schema     *schema
	viper      *viper.Viper
	from       map[string]string // the source of each value that is not the default
	problems   []error
	broken     map[string]bool // sections with a value that could not be assigned
	incomplete bool            // the file could not be read
}

func (l *loading) fail(err error) {
	l.problems = append(l.problems, err)
	var p *problem
	if !errors.As(err, &p) {
		return
	}
	for name := p.key; name != ""; name, _ = split(name) {
		l.broken[name] = true
	}
}

// merge overrides settings of earlier sources.
func (l *loading) merge(layer map[string]any) {
	if err := l.viper.MergeConfigMap(layer); err != nil {
		l.fail(err)
	}
}

// put stores a value under a dotted key, in nested maps as viper needs them.
func put(layer map[string]any, key string, value any) {
	name, rest, nested := strings.Cut(strings.ToLower(key), ".")
	if !nested {
		layer[name] = value
		return
	}
	inner, ok := layer[name].(map[string]any)
	if !ok {
		inner = map[string]any{}
		layer[name] = inner
	}
	put(inner, rest, value)
}

func (l *loading) readFlags(flags *pflag.FlagSet) {
	if flags == nil {
		return
	}
	for _, f := range l.schema.fields {
		flag := flags.Lookup(f.flag())
		if flag == nil {
			continue
		}
		if value, ok := flag.Value.(*flagValue); ok && value.set {
			if err := l.viper.BindFlagValue(f.key, typedFlag{flag.Name, value}); err != nil {
				l.fail(err)
			}
			l.from[f.key] = "flag --" + flag.Name
		}
	}
}

// assign converts and stores the values of the sources.
func (l *loading) assign() {
	for _, f := range l.schema.fields {
		if l.from[f.key] == "" {
			continue
		}
		if err := f.set(l.viper.Get(f.key)); err != nil {
			l.fail(l.locate("", err))
		}
	}
}

// readSecrets reads each Secret for which a field with the same name and the suffix File names a file.
func (l *loading) readSecrets() {
	for _, f := range l.schema.fields {
		name, ok := l.schema.field(f.key + "File")
		if !f.secret() || !ok || name.value.String() == "" {
			continue
		}
		if l.from[f.key] != "" && f.value.String() != "" {
			note := fmt.Sprintf("is set, and so is %s (from %s); keep one of them", name.key, l.origin(name.key))
			l.fail(&problem{key: f.key, note: note, from: l.origin(f.key)})
			continue
		}
		text, err := readSecret(name.value.String())
		if err != nil {
			l.fail(&problem{key: name.key, note: err.Error(), from: l.origin(name.key)})
			continue
		}
		f.value.SetString(text)
		l.from[f.key] = "file " + name.value.String()
	}
}

// maxSecret is the maximum size of a secret in bytes. It keeps a wrong path, such as that of a disk image, out of memory.
const maxSecret = 64 << 10

// readSecret returns the content of a file without line ends at its end.
func readSecret(path string) (string, error) {
	file, err := os.Open(path) // #nosec G304 -- the user names the file
	if err != nil {
		return "", fmt.Errorf("the file %s %s", path, reason(err))
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("the file %s %s", path, reason(err))
	}
	text := strings.TrimRight(string(content), "\r\n")
	switch {
	case len(content) > maxSecret:
		return "", fmt.Errorf("the file %s is longer than %d bytes: it cannot be a secret", path, maxSecret)
	case text == "":
		return "", fmt.Errorf("the file %s is empty: write the secret into it, or remove the setting", path)
	}
	return text, nil
}

// validate checks each section whose values could be assigned, and then, if there is no error, the whole configuration.
func (l *loading) validate() {
	for _, s := range l.schema.sections {
		if s.name != "" && !l.broken[s.name] && !l.incomplete {
			l.check(s)
		}
	}
	if len(l.problems) == 0 {
		l.check(l.schema.sections[0])
	}
}

func (l *loading) check(s section) {
	if err := l.schema.validate(s); err != nil {
		for _, one := range flatten(err) {
			l.fail(l.locate(s.name, one))
		}
	}
}

// locate adds the section and the source of the value to a problem, and masks a secret.
func (l *loading) locate(parent string, err error) error {
	p, ok := err.(*problem)
	if !ok {
		if parent == "" {
			return err
		}
		return fmt.Errorf("%s: %w", parent, err)
	}
	full := *p
	if f, ok := l.schema.field(join(parent, p.key)); ok {
		full.key = f.key
	} else if _, whole := l.schema.field(p.key); !whole {
		full.key = join(parent, p.key)
	}
	if f, ok := l.schema.field(full.key); ok {
		full.from = l.origin(f.key)
		if f.secret() && full.got != "" {
			full.got = mask
		}
	}
	return &full
}

// origin returns the source of a value, or "" if none was loaded.
func (l *loading) origin(key string) string {
	if l.from == nil {
		return ""
	}
	return cmp.Or(l.from[key], theDefaults)
}

const theDefaults = "the defaults"
