package service

import (
	"bytes"
	"embed"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"text/template"
)

//go:embed templates
var templates embed.FS

// serviceFiles returns the files that a service has once, by their path below its folder,
// with the templates that they are made of.
func serviceFiles() map[string]string {
	return map[string]string{
		"main.go": "main.go", "go.mod": "go.mod", "go.sum": "go.sum",
		"docs/docs.go": "docs.go", "docs/openapi.json": "openapi.json", "migrations/migrations.go": "migrations.go",
		"internal/bootstrap/bootstrap.go": "bootstrap.go", "internal/bootstrap/config.go": "config.go", "internal/bootstrap/bootstrap_test.go": "bootstrap_test.go",
	}
}

// render returns the files of a resource by their path below the folder of its service,
// with those that a service has once if it is the first.
func (r Resource) render() (map[string][]byte, error) {
	names := map[string]string{
		"migrations/mysql/" + r.Version + "_" + r.Name + ".sql": "resource/mysql.sql", "migrations/sqlite/" + r.Version + "_" + r.Name + ".sql": "resource/sqlite.sql",
		"internal/bootstrap/" + r.Plural + ".go": "resource/bootstrap.go",
	}
	if r.Follows != nil {
		feed := r.Follows.Name + "feed"
		names["internal/"+feed+"/"+feed+".go"], names["internal/"+feed+"/"+feed+"_test.go"] = "feed/feed.go", "feed/feed_test.go"
	}
	for folder, target := range map[string]string{"domain": r.Name, "store": r.StorePackage(), "api": r.API()} {
		entries, err := fs.ReadDir(templates, "templates/resource/"+folder)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			file := strings.TrimSuffix(e.Name(), ".tmpl")
			names["internal/"+target+"/"+r.fileName(folder, file)] = "resource/" + folder + "/" + file
		}
	}
	if r.First {
		for file, name := range serviceFiles() {
			names[file] = "service/" + name
		}
	}
	files := map[string][]byte{}
	for file, name := range names {
		text, err := r.execute(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(text) > 0 {
			files[file] = text
		}
	}
	return files, nil
}

// fileName returns the name of a file in one of the folders.
func (r Resource) fileName(folder, file string) string {
	switch {
	case folder == "domain" && file == "domain.go":
		return r.Name + ".go"
	case folder == "api" && file == "handlers.go":
		return r.Plural + ".go"
	case folder == "api" && file == "handlers_test.go":
		return r.Plural + "_test.go"
	default:
		return file
	}
}

// execute returns the formatted text that a template makes of r.
func (r Resource) execute(name string) ([]byte, error) {
	text, err := fs.ReadFile(templates, "templates/"+name+".tmpl")
	if err != nil {
		return nil, err
	}
	parsed, err := template.New(name).Parse(string(text))
	if err != nil {
		return nil, err
	}
	var made bytes.Buffer
	if err := parsed.Execute(&made, r); err != nil {
		return nil, err
	}
	switch path.Ext(name) {
	case ".go":
		return formatGo(made.Bytes())
	case ".sql":
		return []byte(alignSQL(made.String())), nil
	default:
		return made.Bytes(), nil
	}
}

// formatGo formats a file and removes the imports that it doesn't use, so that templates
// need no condition on each of them. Imports are grouped as the linter wants it.
func formatGo(text []byte) ([]byte, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", text, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("%w in\n%s", err, text)
	}
	used := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok {
				used[x.Name] = true
			}
		}
		return true
	})
	lines := strings.Split(string(text), "\n")
	for _, i := range file.Imports {
		if !used[importName(i)] && (i.Name == nil || i.Name.Name != "_") {
			lines[set.Position(i.Pos()).Line-1] = "\x00"
		}
	}
	pruned := strings.ReplaceAll(strings.Join(lines, "\n"), "\x00\n", "")
	pruned = emptyImports.ReplaceAllString(pruned, "")
	pruned = emptyLines.ReplaceAllString(strings.ReplaceAll(pruned, "(\n\n", "(\n"), "\n\n")
	return format.Source([]byte(strings.ReplaceAll(pruned, "\n\n)", "\n)")))
}

var (
	emptyImports = regexp.MustCompile(`(?m)^import \(\s*\)\n`)
	emptyLines   = regexp.MustCompile(`\n\n\n+`)
	version      = regexp.MustCompile(`^v[0-9]+$`)
)

// importName returns the name by which a file uses an import.
func importName(i *ast.ImportSpec) string {
	if i.Name != nil {
		return i.Name.Name
	}
	full, err := strconv.Unquote(i.Path.Value)
	if err != nil {
		return ""
	}
	if version.MatchString(path.Base(full)) {
		full = path.Dir(full)
	}
	return path.Base(full)
}
