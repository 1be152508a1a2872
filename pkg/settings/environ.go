package settings

import (
	"regexp"
	"slices"
	"strings"
)

// EnvPrefix is the prefix of environment variables that are settings.
const EnvPrefix = "ACHILLES_"

// Kubernetes sets variables for each service of the namespace in each container. Those of a service named achilles-redis have
// the prefix of the section Redis.
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

// readEnviron reads the settings in the environment. It ignores variables of unknown sections, which other programs may use.
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

// sectionOf returns the section with whose name a variable begins, or "".
func (l *loading) sectionOf(rest string) string {
	for _, s := range l.schema.sections {
		name := s.name + "_"
		if s.name != "" && len(rest) > len(name) && strings.EqualFold(rest[:len(name)], name) {
			return s.name
		}
	}
	return ""
}
