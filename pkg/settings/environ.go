package settings

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/achilles-blog/achilles/pkg/spelling"
)

// EnvPrefix is the prefix of environment variables that are settings.
const EnvPrefix = "ACHILLES_"

// FileVariable is the environment variable that names the configuration file.
const FileVariable = EnvPrefix + "CONFIG"

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

// readEnviron reads the settings in the environment. It ignores variables of unknown sections, which other programs may use, unless
// they are similar to a known one.
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
		} else if near := l.nearestVariable(rest); near != "" && name != FileVariable {
			l.fail(&problem{note: fmt.Sprintf("%s: no such setting; did you mean %s?", name, near)})
		}
	}
	l.merge(layer)
}

// nearestVariable returns the variable of which EnvPrefix+rest is most likely a misspelling, or "".
func (l *loading) nearestVariable(rest string) string {
	names := []string{strings.TrimPrefix(FileVariable, EnvPrefix)}
	for _, f := range l.schema.fields {
		names = append(names, strings.TrimPrefix(f.variable(), EnvPrefix))
	}
	if near := spelling.Nearest(rest, names); near != "" {
		return EnvPrefix + near
	}
	return ""
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
