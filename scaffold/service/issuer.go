package service

import (
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
)

// The migration of the table of API clients has the same number in every service that issues
// tokens.
const issuerMigration = 3

// WithIssuer returns bootstrap.go and migrations.go of a service with the lines by which it
// issues the tokens of all services. module is the path of the repository's modules.
func WithIssuer(module, bootstrap, migrations string) (string, string, error) {
	bootstrap, err := bootstrapWithIssuer(module, bootstrap)
	if err != nil {
		return "", "", fmt.Errorf("bootstrap.go: %w", err)
	}
	if migrations, err = migrationsWithIssuer(module, migrations); err != nil {
		return "", "", fmt.Errorf("migrations.go: %w", err)
	}
	return bootstrap, migrations, nil
}

// bootstrapWithIssuer adds the commands to the function Command and the route to register.
func bootstrapWithIssuer(module, text string) (string, error) {
	elements, end, err := elementsOf(text, "Command")
	if err != nil {
		return "", err
	}
	for _, e := range elements {
		if pair, ok := e.(*ast.KeyValueExpr); ok && fmt.Sprint(pair.Key) == "Commands" {
			return "", errors.New("the service has commands of its own: make them arguments of issuer.Commands, as services/article has it, and call issuer.Register in the function register")
		}
	}
	text = text[:end] + "Commands: issuer.Commands(shared, migrations.All()),\n" + text[end:]
	end, err = lastReturn(text, "register")
	if err != nil {
		return "", err
	}
	text = text[:end] + "issuer.Register(base, binder)\n" + text[end:]
	return withImport(module, text)
}

// lastReturn returns the offset of the statement return nil at the end of the function, which has
// the variables base and binder.
func lastReturn(text, name string) (int, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "", text, parser.SkipObjectResolution)
	if err != nil {
		return 0, err
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil || f.Name.Name != name || f.Body == nil || len(f.Body.List) == 0 {
			continue
		}
		body := text[f.Pos()-1 : f.End()-1]
		last, ok := f.Body.List[len(f.Body.List)-1].(*ast.ReturnStmt)
		if ok && strings.Contains(body, "base *service.Service") && strings.Contains(body, "binder, err := ") {
			return int(last.Pos()) - 1, nil
		}
	}
	return 0, fmt.Errorf("the function %s has no variables base and binder, or doesn't end with return: call issuer.Register there by hand, as services/article has it", name)
}

func migrationsWithIssuer(module, text string) (string, error) {
	shared := regexp.MustCompile(`(?m)(Shared: map\[int64\]fs\.FS\{[^}\n]*)\}`)
	if !shared.MatchString(text) {
		return "", errors.New("the field Shared is no map[int64]fs.FS in one line: add issuer.Schema() by hand, as services/article has it")
	}
	if regexp.MustCompile(fmt.Sprintf(`(\{|, )%d:`, issuerMigration)).MatchString(text) {
		return "", fmt.Errorf("it has the migration %d, which is that of the issuer", issuerMigration)
	}
	text = shared.ReplaceAllString(text, fmt.Sprintf("${1}, %d: issuer.Schema()}", issuerMigration))
	return withImport(module, text)
}

// withImport adds the import of pkg/issuer beside the others of the module, and formats the file.
func withImport(module, text string) (string, error) {
	first := strings.Index(text, "\t\""+module+"/pkg/")
	if first < 0 {
		return "", fmt.Errorf("imports nothing of %s/pkg", module)
	}
	formatted, err := format.Source([]byte(text[:first] + "\t\"" + module + "/pkg/issuer\"\n" + text[first:]))
	return string(formatted), err
}

// ListIssuer returns the list of services with the service as the one that issues the tokens.
func ListIssuer(list, service string) (string, error) {
	from, to, err := entryAt(list, service)
	if err != nil {
		return "", err
	}
	entry := list[from:to]
	if !paths.MatchString(entry) {
		return "", fmt.Errorf("the paths of %s are no list in one line, as in paths: [/api/v1/tags]: write them like this", service)
	}
	return list[:from] + paths.ReplaceAllString(entry, "${1}, /auth]\n  issuer: true") + list[to:], nil
}
