package settings

import (
	"net/url"
	"strings"
	"time"
)

// Explained is a setting with its value and where that comes from, for people.
type Explained struct {
	Key string
	// Value is the value as text. Secrets are asterisks, and so are accounts in URLs.
	Value string
	// Source is where the value comes from, such as "environment variable ACHILLES_LOG_LEVEL".
	Source string
	// Default reports whether no source has set it.
	Default bool
}

// Sources says where the values of a configuration come from, by the keys of those that are not the defaults.
type Sources map[string]string

// LoadSources does what [Load] does, and returns the sources of the values.
func LoadSources(dst any, src Source) (Sources, error) {
	l, err := fill(dst, src)
	if err != nil {
		return nil, err
	}
	return l.from, nil
}

// Explain returns every setting of the configuration to which dst points. It panics if dst is not a configuration.
func (s Sources) Explain(dst any) []Explained {
	known, err := describe(dst)
	if err != nil {
		panic(err)
	}
	all := make([]Explained, len(known.fields))
	for i, f := range known.fields {
		source, set := s[f.key]
		if !set {
			source = theDefaults
		}
		all[i] = Explained{Key: f.key, Value: f.shown(), Source: source, Default: !set}
	}
	return all
}

// shown returns the value without secrets.
func (f field) shown() string {
	switch value := f.value.Interface().(type) {
	case Secret:
		return value.String()
	case time.Duration:
		return shortDuration(value)
	case []string:
		shown := make([]string, len(value))
		for i, item := range value {
			shown[i] = withoutAccount(item)
		}
		return strings.Join(shown, ", ")
	}
	return withoutAccount(f.text())
}

// withoutAccount masks the account in a URL, which may have a password.
func withoutAccount(text string) string {
	if !strings.Contains(text, "@") {
		return text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Opaque != "":
		return mask // nobody knows what it is
	case u.User == nil:
		return text
	}
	u.User = nil
	return strings.Replace(u.String(), "//", "//"+mask+"@", 1)
}
