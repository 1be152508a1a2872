package services

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/achilles-blog/achilles/"

// Services share only the packages of pkg, and inside a service the imports go
// main → bootstrap → {api, store, …} → domain. The linter holds the rules that do
// not depend on a service's name.
func TestImportsOfServices(t *testing.T) {
	all, err := Read(root)
	require.NoError(t, err)
	for _, s := range all {
		own := module + "services/" + s.Name
		forbidden := map[string][]string{}
		packages := imports(t, s.Name)
		require.Contains(t, packages, own)
		for i, r := range s.Resources {
			require.Contains(t, packages, own+"/internal/"+r.Name, "the domain of a resource is the package of its name")
			forbidden[own+"/internal/"+r.Name] = []string{own + "/"}
			forbidden[own+"/internal/"+s.APIPackages()[i]] = []string{own + "/internal/store", own + "/internal/" + r.Name + "store"}
			forbidden[own+"/internal/"+strings.TrimSuffix(s.APIPackages()[i], "api")+"store"] = []string{own + "/internal/api", own + "/internal/" + r.Name + "api"}
		}
		for path, imported := range packages {
			for _, one := range imported {
				if strings.HasPrefix(one, module+"services/") {
					require.True(t, one == own || strings.HasPrefix(one, own+"/"), "%s imports %s: services meet over the network only", path, one)
				}
				require.False(t, one == own+"/internal/bootstrap" && path != own && !strings.HasSuffix(path, "_test"), "%s imports bootstrap, which only main may", path)
				for _, prefix := range forbidden[path] {
					require.False(t, strings.HasPrefix(one, prefix), "%s imports %s", path, one)
				}
			}
		}
	}
}

// imports returns the imports of each package of a service, and those of its
// tests by the path with "_test" behind it.
func imports(t *testing.T, name string) map[string][]string {
	t.Helper()
	const format = `{{.ImportPath}} {{join .Imports " "}}
{{.ImportPath}}_test {{join .TestImports " "}} {{join .XTestImports " "}}`
	output := list(t, format, "./services/"+name+"/...")
	found := map[string][]string{}
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		found[fields[0]] = fields[1:]
	}
	return found
}

// Packages that serve HTTP, and the domains, do not depend on a database, not even
// indirectly.
func TestHTTPPackagesDependOnNoDatabase(t *testing.T) {
	packages := []string{"auth", "changefeed", "changefeed/follow", "changefeed/notify", "idempotency", "issuer/access", "issuer/api", "ratelimit", "requests", "responses", "server", "swagger"}
	for i, name := range packages {
		packages[i] = "./pkg/" + name
	}
	all, err := Read(root)
	require.NoError(t, err)
	for _, s := range all {
		internal := "./services/" + s.Name + "/internal/"
		for i, r := range s.Resources {
			packages = append(packages, internal+s.APIPackages()[i], internal+r.Name)
		}
		if _, err := os.Stat(filepath.Join(root, internal, "file")); err == nil {
			packages = append(packages, internal+"file")
		}
	}
	databases := []string{"gorm.io/", "github.com/go-sql-driver/", "github.com/pressly/goose", "github.com/glebarez/", "modernc.org/sqlite", module + "pkg/database",
		"gocloud.dev", "github.com/aws/"} // the storage of files
	output := list(t, `{{.ImportPath}} {{join .Deps " "}}`, packages...)
	require.Equal(t, len(packages), strings.Count(output, "\n"))
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		for _, dependency := range fields[1:] {
			for _, database := range databases {
				require.False(t, strings.HasPrefix(dependency, database), "%s depends on %s", fields[0], dependency)
			}
		}
	}
}

// list returns the output of go list, in the workspace.
func list(t *testing.T, format string, packages ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", append([]string{"list", "-f", format}, packages...)...)
	command.Dir, command.Env = root, append(os.Environ(), "GOWORK=") // make alone sets it to off
	output, err := command.Output()
	require.NoError(t, err)
	return string(output)
}

// The Go client is for other programs: it brings in only the standard library and the
// codes of errors.
func TestClientDependsOnTheStandardLibraryOnly(t *testing.T) {
	for dependency := range strings.FieldsSeq(list(t, `{{join .Deps "\n"}}`, "./pkg/client")) {
		first, _, _ := strings.Cut(dependency, "/")
		if strings.Contains(first, ".") {
			require.Equal(t, module+"pkg/errcode", dependency)
		}
	}
}
