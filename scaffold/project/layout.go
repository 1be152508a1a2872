package project

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/achilles-blog/achilles/scaffold/service"
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
	Issuer  bool
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

// issues reports whether the service issues the tokens. Versions before the field had the route only.
func (s listed) issues() bool { return s.Issuer || slices.Contains(s.Paths, tokens) }

// chooseServices returns the services of a version that a new project keeps, in the order of the
// list. wanted are their names with commas or spaces between them; if there is none, the first is
// kept.
func chooseServices(all []listed, wanted string) ([]string, error) {
	names := strings.FieldsFunc(wanted, func(r rune) bool { return r == ',' || r == ' ' })
	for _, name := range names {
		if !slices.ContainsFunc(all, func(s listed) bool { return s.Name == name }) {
			return nil, fmt.Errorf("SERVICES: there is no service %q; there are: %s", name, strings.Join(namesOf(all), ","))
		}
	}
	if len(names) == 0 && len(all) > 0 {
		names = []string{all[0].Name}
	}
	var kept []string
	for _, s := range all {
		if slices.Contains(names, s.Name) {
			kept = append(kept, s.Name)
		}
	}
	return kept, checkFollowed(all, kept)
}

// checkFollowed returns an error if a service is kept without one that it follows.
func checkFollowed(all []listed, kept []string) error {
	for _, s := range all {
		for _, followed := range s.Follows {
			if slices.Contains(kept, s.Name) && !slices.Contains(kept, followed) {
				return fmt.Errorf("SERVICES: %s follows the changes of %s, which would be left out: keep both or neither", s.Name, followed)
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

// keepOnly leaves the services out that are not kept, and makes the first that is kept issue the
// tokens if the one that does is left out. It returns the packages whose tests are left out.
func keepOnly(files tree, all []listed, to Names) ([]string, error) {
	if to.Origin == nil {
		return nil, nil
	}
	var left []listed
	for _, s := range all {
		if !slices.Contains(to.Origin.Services, s.Name) {
			left = append(left, s)
			leaveOut(files, to.Name, s.Name)
		}
	}
	if len(left) == 0 {
		return nil, nil
	}
	if i := slices.IndexFunc(all, listed.issues); i >= 0 && slices.Contains(namesOf(left), all[i].Name) && len(to.Origin.Services) > 0 {
		if err := makeIssuer(files, to.Module, to.Origin.Services[0]); err != nil {
			return nil, err
		}
	}
	return leaveTestsOut(files, left), nil
}

// makeIssuer makes a service issue the tokens.
func makeIssuer(files tree, module, name string) error {
	bootstrap, migrations := "services/"+name+"/internal/bootstrap/bootstrap.go", "services/"+name+"/migrations/migrations.go"
	withCode, withTable, err := service.WithIssuer(module, string(files[bootstrap].content), string(files[migrations].content))
	if err != nil {
		return fmt.Errorf("SERVICES: the service that issues the tokens is left out, and %s can't issue them: %w", name, err)
	}
	list, err := service.ListIssuer(string(files[servicesFile].content), name)
	if err != nil {
		return fmt.Errorf("%s: %w", servicesFile, err)
	}
	for file, text := range map[string]string{bootstrap: withCode, migrations: withTable, servicesFile: list} {
		files[file] = entry{files[file].kind, []byte(text)}
	}
	return nil
}

// leaveTestsOut removes the tests of packages of shared code if they speak of a service that is left
// out, by its name or its paths. It returns the packages.
func leaveTestsOut(files tree, left []listed) []string {
	var words []string
	for _, s := range left {
		words = append(words, `\b`+regexp.QuoteMeta(s.Name)+`\b`)
		for _, path := range s.Paths {
			if path != tokens {
				words = append(words, regexp.QuoteMeta(path)+`\b`)
			}
		}
	}
	speaks := regexp.MustCompile(strings.Join(words, "|"))
	packages := map[string]bool{}
	for file, e := range files {
		if sharedTest(file) && speaks.Match(e.content) {
			packages[path.Dir(file)] = true
		}
	}
	for file := range files {
		if sharedTest(file) && packages[path.Dir(file)] {
			delete(files, file)
		}
	}
	return slices.Sorted(maps.Keys(packages))
}

// sharedTest reports whether the file has tests that are not those of a service or of pkg.
func sharedTest(file string) bool {
	return strings.HasSuffix(file, "_test.go") && (strings.HasPrefix(file, "test/") || strings.HasPrefix(file, "scaffold/"))
}

// leaveOut removes a service from the files of a version. name is that of the project.
func leaveOut(files tree, name, left string) {
	for file := range files {
		if ofService(file, name, left) {
			delete(files, file)
		}
	}
	for file, pattern := range map[string]string{
		"go.work":    `(?m)^\s*\./services/` + left + `\n`,
		servicesFile: `(?m)^- name: ` + left + `\n(?:(?:[^-\n][^\n]*)?\n)*`,
	} {
		if old, exists := files[file]; exists {
			files[file] = entry{old.kind, regexp.MustCompile(pattern).ReplaceAll(old.content, nil)}
		}
	}
}

// ofService reports whether a file exists only for the service left.
func ofService(file, name, left string) bool {
	return strings.HasPrefix(file, "services/"+left+"/") || slices.Contains([]string{
		"deploy/config/" + left + ".yaml",
		"deploy/systemd/" + name + "@" + left + ".socket",
		"deploy/kustomize/base/services/" + left + ".yaml",
		"deploy/kustomize/base/services/" + left + "-settings.yaml",
	}, file)
}
