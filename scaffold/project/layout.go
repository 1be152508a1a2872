package project

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	servicesFile    = "services/services.yaml"
	changelogFile   = "CHANGELOG.md"
	noticeFile      = "NOTICE"
	performanceFile = "docs/performance.md"
)

// own reports whether a file is only the origin's own: its figures, and what PROJECT says of it. The
// changelog of a project is begun anew.
func own(file string) bool {
	return slices.Contains([]string{File, changelogFile, noticeFile, "docs/performance.svg", "docs/performance-growth.svg"}, file)
}

// verbatim reports whether a file keeps the names of the origin.
func verbatim(file string) bool { return file == "LICENSE" }

// figures is the line after which make bench-docs writes what it has measured.
const figures = "<!-- make bench-docs writes what follows -->\n"

// withoutFigures removes what was measured with the origin.
func withoutFigures(text []byte) []byte {
	before, _, found := bytes.Cut(text, []byte(figures))
	if !found {
		return text
	}
	return append(slices.Clip(before), figures...)
}

// generated reports whether make generate writes the whole file of a project of that name.
func generated(file, name string) bool {
	chart := "deploy/helm/" + name + "/"
	for _, pattern := range []string{
		"deploy/config/*.yaml", "deploy/systemd/*.socket", "docs/configuration.md", "deploy/observability/prometheusrule.yaml",
		chart + "files/*", chart + "values.schema.json", "services/*/docs/openapi.json",
	} {
		if matched, _ := path.Match(pattern, file); matched {
			return true
		}
	}
	return strings.HasPrefix(file, "deploy/kustomize/base/services/")
}

// region matches lines that make generate writes, in files that have other lines, too.
var region = regexp.MustCompile(`(?ms)^( *# BEGIN GENERATED (\S+)[^\n]*\n).*?(^ *# END GENERATED\n)`)

// withRegions returns text with the generated lines that from has in regions of the same names, in
// their order.
func withRegions(text, from []byte) []byte {
	lines := map[string][][]byte{}
	for _, found := range region.FindAllSubmatch(from, -1) {
		lines[string(found[2])] = append(lines[string(found[2])], found[0])
	}
	return region.ReplaceAllFunc(text, func(found []byte) []byte {
		name := string(region.FindSubmatch(found)[2])
		if len(lines[name]) == 0 {
			return found
		}
		first := lines[name][0]
		lines[name] = lines[name][1:]
		return first
	})
}

// tokens is the route by which a service issues the tokens that the other services accept.
const tokens = "/auth"

// listed is an entry of the list of services.
type listed struct {
	Name    string
	Paths   []string
	Follows []string
}

// listedServices returns the services of a version, each after those that it follows.
func listedServices(files tree) ([]listed, error) {
	var all []listed
	if err := yaml.Unmarshal(files[servicesFile].content, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", servicesFile, err)
	}
	return all, nil
}

// required returns the services that a project can't be without: the one that issues the tokens, and
// those that it follows.
func required(all []listed) []string {
	var names []string
	for _, s := range slices.Backward(all) {
		if slices.Contains(s.Paths, tokens) || slices.Contains(names, s.Name) {
			names = append(names, s.Name)
			names = append(names, s.Follows...)
		}
	}
	return names
}

// chooseServices returns the services of a version that a new project keeps, in the order of the
// list. wanted are their names with commas or spaces between them; if there is none, those that are
// required are kept.
func chooseServices(all []listed, wanted string) ([]string, error) {
	names := strings.FieldsFunc(wanted, func(r rune) bool { return r == ',' || r == ' ' })
	for _, name := range names {
		if !slices.ContainsFunc(all, func(s listed) bool { return s.Name == name }) {
			return nil, fmt.Errorf("SERVICES: there is no service %q; there are: %s", name, strings.Join(namesOf(all), ","))
		}
	}
	if len(names) == 0 {
		names = required(all)
	}
	var kept []string
	for _, s := range all {
		if slices.Contains(names, s.Name) {
			kept = append(kept, s.Name)
		} else if slices.Contains(s.Paths, tokens) {
			return nil, fmt.Errorf("SERVICES: %s issues the tokens of all services (%s), so it can't be left out", s.Name, tokens)
		}
	}
	return kept, checkFollowed(all, kept)
}

// checkFollowed returns an error if a service is kept without one that it follows.
func checkFollowed(all []listed, kept []string) error {
	for _, s := range all {
		for _, followed := range s.Follows {
			if slices.Contains(kept, s.Name) && !slices.Contains(kept, followed) {
				return fmt.Errorf("SERVICES: %s follows the changes of %s, so keep both or neither", s.Name, followed)
			}
		}
	}
	return nil
}

func namesOf(all []listed) []string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Name
	}
	return names
}

// leaveOut removes a service from the files of a version. name is that of the project.
func leaveOut(files tree, name, service string) {
	for file := range files {
		if ofService(file, name, service) {
			delete(files, file)
		}
	}
	for file, pattern := range map[string]string{
		"go.work":    `(?m)^\s*\./services/` + service + `\n`,
		servicesFile: `(?m)^- name: ` + service + `\n(?:(?:[^-\n][^\n]*)?\n)*`,
	} {
		if old, exists := files[file]; exists {
			files[file] = entry{old.kind, regexp.MustCompile(pattern).ReplaceAll(old.content, nil)}
		}
	}
}

// ofService reports whether a file exists only for the service.
func ofService(file, name, service string) bool {
	return strings.HasPrefix(file, "services/"+service+"/") || slices.Contains([]string{
		"deploy/config/" + service + ".yaml",
		"deploy/systemd/" + name + "@" + service + ".socket",
		"deploy/kustomize/base/services/" + service + ".yaml",
		"deploy/kustomize/base/services/" + service + "-settings.yaml",
	}, file)
}
