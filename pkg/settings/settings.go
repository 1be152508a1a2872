package settings

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Source is where settings come from, besides the defaults.
type Source struct {
	File    string         // a YAML file; "" for none
	Flags   *pflag.FlagSet // parsed, with the flags of BindFlags; nil for none
	Environ []string       // "NAME=value" each, as from os.Environ
}

// Load fills the configuration that dst points to, which holds the defaults, from the file, the environment and the flags,
// each overriding the one before. Everything that is wrong is reported at once, one error a line, with the key, the value
// (never a secret's), what is allowed and where it came from. After an error the configuration must not be used.
func Load(dst any, src Source) error {
	known, err := describe(dst)
	if err != nil {
		return err
	}
	l := &loading{schema: known, viper: viper.New(), from: map[string]string{}, broken: map[string]bool{}}
	l.readFile(src.File)
	l.readEnviron(src.Environ)
	l.readFlags(src.Flags)
	l.assign()
	l.readSecrets()
	l.validate()
	return errors.Join(l.problems...)
}

// loading is one run of Load.
type loading struct {
	schema     *schema
	viper      *viper.Viper
	from       map[string]string // where a key's value came from, for those that are not defaults
	problems   []error
	broken     map[string]bool // sections that do not hold what the sources say
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

// merge lays settings over those that are there.
func (l *loading) merge(layer map[string]any) {
	if err := l.viper.MergeConfigMap(layer); err != nil {
		l.fail(err)
	}
}

// put stores a value under a dotted key, in nested maps as viper wants them.
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

// assign converts what the sources say and stores it; what they do not mention keeps its default.
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

// readSecrets fills every Secret whose neighbour, named like it with File behind, names a file.
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
	}
}

// maxSecret is far above any key or password, and below what a wrong path such as a disk image would put into memory.
const maxSecret = 64 << 10

// readSecret returns a file's content without the line end that editors and echo put behind it.
func readSecret(path string) (string, error) {
	file, err := os.Open(path) // #nosec G304 -- whoever starts the program names the file
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
		return "", fmt.Errorf("the file %s is empty: write the secret into it, or do not name it", path)
	}
	return text, nil
}

// validate asks every section that holds what the sources say, and then the whole if all of them are well.
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

// locate completes a problem by its section and by where the value came from, and covers a secret.
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

func (l *loading) origin(key string) string {
	if from := l.from[key]; from != "" {
		return from
	}
	return "the defaults"
}
