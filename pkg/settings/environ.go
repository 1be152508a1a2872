package settings

import (
	"regexp"
	"slices"
	"strings"
)

// EnvPrefix begins the name of every environment variable that is a setting.
const EnvPrefix = "ACHILLES_"

// Kubernetes puts variables for every service of the namespace into every container; those of a service named
// achilles-redis begin like the settings of the section Redis.
var (
	serviceLink = regexp.MustCompile(`(^|_)(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
	serviceAddr = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

func isServiceLink(name, value string) bool {
	return serviceLink.MatchString(name) || strings.HasSuffix(name, "_PORT") && serviceAddr.MatchString(value)
}

func variable(key string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// readEnviron takes the settings out of the environment. Variables of sections that do not exist belong to somebody else.
func (l *loading) readEnviron(environ []string) {
	known := map[string]field{}
	for _, f := range l.schema.fields {
		known[f.variable()] = f
	}
	layer := map[string]any{}
	for _, entry := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(entry, "=")
		rest, ours := strings.CutPrefix(name, EnvPrefix)
		if !ours || value == "" || isServiceLink(rest, value) {
			continue
		}
		from := "environment variable " + name
		if f, ok := known[name]; ok {
			put(layer, f.key, value)
			l.from[f.key] = from
		} else if parent := l.sectionOf(rest); parent != "" {
			key := join(parent, rest[len(parent)+1:])
			l.fail(l.schema.unknown(key, from))
		}
	}
	l.merge(layer)
}

// sectionOf finds the section that a variable's name begins with, or "".
func (l *loading) sectionOf(rest string) string {
	for _, s := range l.schema.sections {
		name := s.name + "_"
		if s.name != "" && len(rest) > len(name) && strings.EqualFold(rest[:len(name)], name) {
			return s.name
		}
	}
	return ""
}
