package service

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/achilles-blog/achilles/scaffold/fields"
)

const (
	listFile    = "services/services.yaml"
	workFile    = "go.work"
	codesFile   = "pkg/errcode/code.go"
	errorsFile  = "docs/errors.md"
	generatedBy = "make generate"
)

// repository is the repository in the directory root.
type repository struct {
	root   string
	module string // path of its modules
	list   []entry
}

// entry is a service of the list.
type entry struct {
	Name      string
	Port      int
	AdminPort int `yaml:"adminPort"`
	Paths     []string
	Follows   []string
	Issuer    bool
	Resources []struct {
		Name   string
		Path   string
		Fields []fields.Field
	}
}

func open(root string) (*repository, error) {
	r := &repository{root: root}
	text, err := r.read("pkg/go.mod")
	if err != nil {
		return nil, fmt.Errorf("%w: run it in the root of the repository, as make does", err)
	}
	found := regexp.MustCompile(`(?m)^module (\S+)/pkg$`).FindStringSubmatch(string(text))
	if found == nil {
		return nil, fmt.Errorf("pkg/go.mod declares no module that ends with /pkg")
	}
	r.module = found[1]
	if text, err = r.read(listFile); err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(text, &r.list); err != nil {
		return nil, fmt.Errorf("%s: %w", listFile, err)
	}
	return r, nil
}

func (r *repository) path(name string) string { return filepath.Join(r.root, filepath.FromSlash(name)) }

func (r *repository) read(name string) ([]byte, error) {
	return os.ReadFile(r.path(name))
}

func (r *repository) write(name string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(r.path(name)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(r.path(name), text, 0o644)
}

// edit replaces a file by what change makes of it.
func (r *repository) edit(name string, change func(text string) (string, error)) error {
	text, err := r.read(name)
	if err != nil {
		return err
	}
	changed, err := change(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return r.write(name, []byte(changed))
}

func (r *repository) has(name string) bool {
	_, err := os.Lstat(r.path(name))
	return err == nil
}

func (r *repository) service(name string) (entry, bool) {
	i := slices.IndexFunc(r.list, func(e entry) bool { return e.Name == name })
	if i < 0 {
		return entry{}, false
	}
	return r.list[i], true
}

func (r *repository) names() (names []string) {
	for _, e := range r.list {
		names = append(names, e.Name)
	}
	return names
}

// ports returns the first ports that no service has.
func (r *repository) ports() (port, admin int) {
	port, admin = 8081, 9081
	for _, e := range r.list {
		port, admin = max(port, e.Port+1), max(admin, e.AdminPort+1)
	}
	return port, admin
}

// checkFree returns an error if something has the names of a resource already.
func (r *repository) checkFree(added Resource) error {
	for _, e := range r.list {
		for _, has := range e.Resources {
			if has.Name == added.Name || fields.Plural(has.Name) == added.Plural || has.Path == added.Path {
				return fmt.Errorf("the service %s has the resource %s at %s: choose another name for %s, or another PLURAL", e.Name, has.Name, has.Path, added.Name)
			}
		}
		if slices.Contains(e.Paths, added.Path) {
			return fmt.Errorf("the service %s has the path %s: choose another name or PLURAL", e.Name, added.Path)
		}
	}
	for _, name := range []string{added.codesFile(), "services/" + added.Service + "/internal/" + added.Name, "services/" + added.Service + "/internal/bootstrap/" + added.Plural + ".go"} {
		if r.has(name) {
			return fmt.Errorf("%s exists: choose another name than %s", name, added.Name)
		}
	}
	text, err := r.read(codesFile)
	if err == nil && regexp.MustCompile(`\b(Get`+added.Type()+`|List`+added.Types()+`)Failed\b`).Match(text) {
		err = fmt.Errorf("%s has codes of %s already: choose another name", codesFile, added.Name)
	}
	return err
}

func (r Resource) codesFile() string { return "pkg/errcode/" + r.Name + ".go" }

// codesVar is the variable of the resource's codes.
func (r Resource) codesVar() string { return r.Name + "Codes" }

var codeNumber = regexp.MustCompile(`\b20(\d\d)\d{4}\b`)

// nextNumber returns the first number of a module of codes that is higher than all others.
func (r *repository) nextNumber() (int, error) {
	files, err := filepath.Glob(r.path("pkg/errcode/*.go"))
	if err != nil {
		return 0, err
	}
	highest := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		for _, found := range codeNumber.FindAllSubmatch(text, -1) {
			if n, err := strconv.Atoi(string(found[1])); err == nil {
				highest = max(highest, n)
			}
		}
	}
	if highest >= 99 {
		return 0, fmt.Errorf("pkg/errcode has codes up to 2099: there are no more modules")
	}
	return highest + 1, nil
}

// nextMigration returns the version of the next migration of a service.
func (r *repository) nextMigration(service string) (string, error) {
	highest := issuerMigration // also in services that don't issue tokens: another one may some day
	for _, dialect := range []string{"mysql", "sqlite"} {
		entries, err := os.ReadDir(r.path("services/" + service + "/migrations/" + dialect))
		if err != nil {
			return "", err
		}
		for _, e := range entries {
			digits, _, _ := strings.Cut(e.Name(), "_")
			if n, err := strconv.Atoi(digits); err == nil {
				highest = max(highest, n)
			}
		}
	}
	text, err := r.read("services/" + service + "/migrations/migrations.go")
	if err != nil {
		return "", err
	}
	for _, found := range regexp.MustCompile(`(?:\{|, )(\d+): *\w+\.Schema`).FindAllSubmatch(text, -1) {
		if n, err := strconv.Atoi(string(found[1])); err == nil {
			highest = max(highest, n)
		}
	}
	return fmt.Sprintf("%04d", highest+1), nil
}

// addCodes adds the codes of a resource.
func (r *repository) addCodes(added Resource) error {
	text, err := added.execute("resource/errcode.go")
	if err != nil {
		return err
	}
	if err := r.write(added.codesFile(), text); err != nil {
		return err
	}
	if err := r.edit(codesFile, func(text string) (string, error) { return insertLast(text, "definitions", added.codesVar()) }); err != nil {
		return err
	}
	rows, err := added.execute("resource/errors.md")
	if err != nil {
		return err
	}
	return r.edit(errorsFile, func(text string) (string, error) {
		last := regexp.MustCompile(`(?m)^\| 20\d{6} \|.*\n\z`)
		if !last.MatchString(text) {
			return "", fmt.Errorf("doesn't end with the table of codes: move it there")
		}
		return text + string(rows), nil
	})
}

// removeCodes removes the codes of a resource.
func (r *repository) removeCodes(name string) error {
	gone := Resource{Name: name}
	text, err := r.read(gone.codesFile())
	if err != nil {
		return err
	}
	number := codeNumber.FindSubmatch(text)
	if number == nil {
		return fmt.Errorf("%s has no codes", gone.codesFile())
	}
	if err := os.Remove(r.path(gone.codesFile())); err != nil {
		return err
	}
	if err := r.edit(codesFile, func(text string) (string, error) { return removeElement(text, "definitions", gone.codesVar()) }); err != nil {
		return err
	}
	return r.edit(errorsFile, func(text string) (string, error) {
		return regexp.MustCompile(`(?m)^\| 20`+string(number[1])+`\d{4} \|.*\n`).ReplaceAllString(text, ""), nil
	})
}

// insertLast appends an element to the list of a name: to the arguments of the call, or the
// elements of the composite literal, that is the value of the variable of that name or the
// result of the function.
func insertLast(text, name, element string) (string, error) {
	elements, end, err := elementsOf(text, name)
	if err != nil {
		return "", err
	}
	if len(elements) > 0 {
		element = ", " + element
	}
	return text[:end] + element + text[end:], nil
}

// removeElement removes what insertLast has inserted.
func removeElement(text, name, element string) (string, error) {
	elements, _, err := elementsOf(text, name)
	if err != nil {
		return "", err
	}
	for i, e := range elements {
		from, to := int(e.Pos())-1, int(e.End())-1
		if text[from:to] != element {
			continue
		}
		switch {
		case i > 0:
			from = int(elements[i-1].End()) - 1
		case len(elements) > 1:
			to = int(elements[1].Pos()) - 1
		}
		return text[:from] + text[to:], nil
	}
	return "", fmt.Errorf("%s lacks %s", name, element)
}

// elementsOf returns the elements of a list, and the offset of its end.
func elementsOf(text, name string) (elements []ast.Expr, end int, err error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", text, parser.SkipObjectResolution)
	if err != nil {
		return nil, 0, err
	}
	for _, d := range file.Decls {
		var value ast.Expr
		switch d := d.(type) {
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if v, ok := s.(*ast.ValueSpec); ok && v.Names[0].Name == name && len(v.Values) == 1 {
					value = v.Values[0]
				}
			}
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == name && d.Body != nil && len(d.Body.List) == 1 {
				if s, ok := d.Body.List[0].(*ast.ReturnStmt); ok && len(s.Results) == 1 {
					value = s.Results[0]
				}
			}
		}
		switch v := value.(type) {
		case *ast.CallExpr:
			return v.Args, int(v.Rparen) - 1, nil
		case *ast.CompositeLit:
			return v.Elts, int(v.Rbrace) - 1, nil
		}
	}
	return nil, 0, fmt.Errorf("%s is not a call or a composite literal, which could be extended: restore it, git log shows it", name)
}

// addUse adds a module to the workspace, and removeUse removes it.
func (r *repository) addUse(service string) error {
	return r.edit(workFile, func(text string) (string, error) {
		before, after, found := strings.Cut(text, "use (\n")
		block, rest, ended := strings.Cut(after, ")")
		if !found || !ended {
			return "", fmt.Errorf("has no block use ( … )")
		}
		lines := append(strings.SplitAfter(strings.TrimSuffix(block, "\n"), "\n"), "\t./services/"+service+"\n")
		for i := range lines {
			lines[i] = strings.TrimSuffix(lines[i], "\n") + "\n"
		}
		slices.Sort(lines)
		return before + "use (\n" + strings.Join(lines, "") + ")" + rest, nil
	})
}

func (r *repository) removeUse(service string) error {
	return r.edit(workFile, func(text string) (string, error) {
		return strings.Replace(text, "\t./services/"+service+"\n", "", 1), nil
	})
}

// listed returns the entry of a service and its resource for the list.
func (r Resource) listed() string {
	var text bytes.Buffer
	fmt.Fprintf(&text, "- name: %s\n  port: %d\n  adminPort: %d\n  paths: [%s]\n", r.Service, r.Port, r.AdminPort, r.Path)
	if r.Follows != nil {
		fmt.Fprintf(&text, "  follows: [%s]\n", r.Follows.Service)
	}
	text.WriteString("  resources:\n")
	return text.String() + r.listedResource()
}

func (r Resource) listedResource() string {
	var text bytes.Buffer
	fmt.Fprintf(&text, "  - name: %s\n    path: %s\n    fields:\n", r.Name, r.Path)
	for _, f := range r.Fields {
		fmt.Fprintf(&text, "    - %s\n", f.Field)
	}
	return text.String()
}

// addToList adds a service, or a resource to one, to the list.
func (r *repository) addToList(added Resource) error {
	return r.edit(listFile, func(text string) (string, error) {
		if added.First {
			return strings.TrimSuffix(text, "\n") + "\n" + added.listed(), nil
		}
		from, to, err := entryAt(text, added.Service)
		if err != nil {
			return "", err
		}
		changed := paths.ReplaceAllString(text[from:to], "${1}, "+added.Path+"]")
		if !strings.Contains(changed, added.Path+"]") {
			return "", fmt.Errorf("the paths of %s are no list in one line, as in paths: [/api/v1/tags]: write them like this", added.Service)
		}
		return text[:from] + changed + added.listedResource() + text[to:], nil
	})
}

var paths = regexp.MustCompile(`(?m)^(  paths: \[[^\]]*)\]`)

func (r *repository) removeFromList(service string) error {
	return r.edit(listFile, func(text string) (string, error) {
		from, to, err := entryAt(text, service)
		return text[:from] + text[to:], err
	})
}

// entryAt returns where the entry of a service begins and ends in the list.
func entryAt(text, service string) (from, to int, err error) {
	begin := regexp.MustCompile(`(?m)^- name: ` + regexp.QuoteMeta(service) + `\n`).FindStringIndex(text)
	if begin == nil {
		return 0, 0, fmt.Errorf("has no entry that begins with the line - name: %s", service)
	}
	to = len(text)
	if next := regexp.MustCompile(`(?m)^- `).FindStringIndex(text[begin[1]:]); next != nil {
		to = begin[1] + next[0]
	}
	return begin[0], to, nil
}
