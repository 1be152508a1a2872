package settings

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// BindFlags registers a flag for each setting of the configuration to which dst points. The flag's name is the key in lower
// case, but may be typed in any case. Its help is the field's usage tag, with the present value as the default and the name of
// the environment variable. The flags keep their texts for [Load]. The flag of a [Secret] is hidden and accepts no value; its
// error is [ErrSecretFlag]. BindFlags panics if dst is not a configuration.
func BindFlags(fs *pflag.FlagSet, dst any) {
	known, err := describe(dst)
	if err != nil {
		panic(err)
	}
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(strings.ToLower(name))
	})
	for _, f := range known.fields {
		if f.secret() {
			flag := fs.VarPF(secretFlag{known.secretSources(f)}, f.flag(), "", f.usage)
			flag.Hidden, flag.NoOptDefVal = true, "none" // so that it doesn't ask for a value
			continue
		}
		kind := kindOf(f.value.Type())
		flag := fs.VarPF(&flagValue{kind: kind}, f.flag(), "", help(f))
		if kind == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
}

func help(f field) string {
	text := f.text()
	switch {
	case text == "":
		text = "none"
	case kindOf(f.value.Type()) == "string":
		text = fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("%s (default %s; %s)", f.usage, text, f.variable())
}

// SecretUsages returns what the settings of type [Secret] are for and which variables set them, one a line: they have no flags.
func SecretUsages(dst any) string {
	known, err := describe(dst)
	if err != nil {
		panic(err)
	}
	var lines strings.Builder
	for _, f := range known.fields {
		if f.secret() {
			_, _ = fmt.Fprintf(&lines, "  %s: %s (environment or file only; %s)\n", f.key, f.usage, f.variable())
		}
	}
	return lines.String()
}

// ErrSecretFlag is the error of a secret on the command line. The error that wraps it says where to put the secret, and does not
// contain it.
var ErrSecretFlag = errors.New("is not accepted: flags can be seen in the list of processes")

// secretSources says where a secret comes from.
func (s *schema) secretSources(f field) string {
	text := "set the environment variable " + f.variable()
	if file, ok := s.field(f.key + "File"); ok {
		text += fmt.Sprintf(", or name a file that holds the secret with --%s or %s", file.flag(), file.variable())
	}
	return text
}

// secretFlag rejects every value.
type secretFlag struct{ sources string }

func (v secretFlag) Set(string) error { return fmt.Errorf("%w; %s", ErrSecretFlag, v.sources) }
func (v secretFlag) String() string   { return "" }
func (v secretFlag) Type() string     { return "string" }

// flagValue keeps a flag's text. Load converts it, so that errors of all sources are reported together, and without secrets.
type flagValue struct {
	kind  string
	typed string
	set   bool
}

// Set keeps the text. The flag of a list may be given several times.
func (v *flagValue) Set(text string) error {
	if v.kind == "list" && v.set {
		text = v.typed + "," + text
	}
	v.typed, v.set = text, true
	return nil
}

// String returns "": pflag prints it, and the text may be a secret.
func (v *flagValue) String() string { return "" }

// Type returns what --help shows after the flag's name.
func (v *flagValue) Type() string { return v.kind }

// typedFlag passes the text to viper without a conversion.
type typedFlag struct {
	name  string
	value *flagValue
}

func (t typedFlag) HasChanged() bool    { return t.value.set }
func (t typedFlag) Name() string        { return t.name }
func (t typedFlag) ValueString() string { return t.value.typed }
func (t typedFlag) ValueType() string   { return "string" }
