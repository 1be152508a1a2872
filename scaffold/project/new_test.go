package project

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestNewProjectHasItsNames(t *testing.T) {
	from := repository(t, origin())
	base := run(t, from, "git", "rev-parse", "HEAD")
	must(t, os.WriteFile(filepath.Join(from, "README.md"), []byte("not committed"), 0o600))
	dir := shop(t, from)

	for name, want := range map[string]string{
		"README.md":                       "# Shop\n\none\ntwo\nthree\nfour\nfive\nsix\n\nhttps://example.com/team/shop has Shop.\n",
		"pkg/metrics.go":                  "package pkg\n\n// Prefix begins the names of Shop's metrics.\nconst (\n\tPrefix = \"shop_\" // of shop\n\tEnv    = \"SHOP_\"\n)\n",
		"services/engine/main.go":         "package main\n\nimport _ \"example.com/team/shop/pkg\"\n\nfunc main() {}\n",
		"deploy/helm/shop/Chart.yaml":     "name: shop\n",
		"deploy/systemd/shop@.service":    "ExecStart=/opt/shop/%i\n",
		"docs/performance.md":             "# Performance\n\n" + figures,
		"docs/logo.bin":                   "rocket\x00logo",
		"LICENSE":                         origin()["LICENSE"],
		"services/services.yaml":          origin()["services/services.yaml"],
		"NOTICE":                          "Shop was made from https://example.org/acme/rocket, commit " + base + ", under the Apache License, Version 2.0, and was changed since.\n",
		"deploy/compose.yaml":             "services:\n# BEGIN GENERATED services\n  engine: shop/engine\n# END GENERATED\nvolumes: {}\n",
		"services/pilot/main.go":          origin()["services/pilot/main.go"],
		"deploy/config/pilot.yaml":        "pilot\n",
		"pkg/go.sum":                      "a v1 h1:x=\n",
		"docs/configuration.md":           "generated: engine, pilot\n",
		"deploy/config/engine.yaml":       "engine\n",
		"go.work":                         origin()["go.work"],
		"services/engine/internal/api.go": "package internal\n",
	} {
		if got := read(t, dir, name); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
		}
	}
	missing(t, dir, "docs/performance.svg", "deploy/helm/rocket")
	if strings.Contains(read(t, dir, "CHANGELOG.md"), "flies") {
		t.Error("the changelog is that of the origin")
	}
	names, err := parseNames([]byte(read(t, dir, File)))
	must(t, err)
	if names.Module != "example.com/team/shop" || names.Origin.Commit != base || strings.Join(names.Origin.Services, " ") != "engine pilot" {
		t.Errorf("%s has %+v %+v", File, names, names.Origin)
	}
	holds(t, read(t, dir, File), "# Names.\n")
	if status := run(t, dir, "git", "status", "--porcelain"); status != "" {
		t.Errorf("after the first commit there are changes: %s", status)
	}
	holds(t, run(t, dir, "git", "log", "--format=%s"), "Begin Shop")
}

// A file that could not be committed unchanged, because it is executable or a link, stays what it is.
func TestNewProjectKeepsLinksAndModes(t *testing.T) {
	from := repository(t, origin())
	must(t, os.Symlink("metrics.go", filepath.Join(from, "pkg/link-of-rocket")))
	must(t, os.Chmod(filepath.Join(from, "README.md"), 0o700)) // #nosec G302 -- executable
	commitFiles(t, from, files{"new": "new\n"})
	dir := shop(t, from)
	if target, err := os.Readlink(filepath.Join(dir, "pkg/link-of-shop")); err != nil || target != "metrics.go" {
		t.Errorf("the link leads to %q: %v", target, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "README.md")); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("README.md is not executable: %v", err)
	}
}

func TestNewProjectLeavesServicesOut(t *testing.T) {
	from := repository(t, origin())
	for services, left := range map[string]string{"engine": "engine", "": "engine", "pilot engine": "engine pilot", "engine,pilot": "engine pilot"} {
		dir := shop(t, from, "SERVICES="+services)
		names, err := parseNames([]byte(read(t, dir, File)))
		must(t, err)
		if got := strings.Join(names.Origin.Services, " "); got != left {
			t.Errorf("SERVICES=%s kept %s", services, got)
		}
		if left == "engine" {
			missing(t, dir, "services/pilot", "deploy/config/pilot.yaml")
			if list := read(t, dir, "services/services.yaml"); list != "# The list.\n- name: engine\n  port: 1\n  paths: [/auth]\n  issuer: true\n\n" {
				t.Errorf("the list is\n%s", list)
			}
			if work := read(t, dir, "go.work"); work != "go 1.26\n\nuse (\n\t./pkg\n\t./services/engine\n)\n" {
				t.Errorf("the workspace is\n%s", work)
			}
		}
	}
}

// What is not allowed is said in a sentence, and nothing is left behind.
func TestNewProjectRefuses(t *testing.T) {
	identify(t)
	from := repository(t, origin())
	parent := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(parent, "full/file"), 0o750))
	must(t, os.WriteFile(filepath.Join(parent, "file"), nil, 0o600))
	must(t, os.Symlink(from, filepath.Join(parent, "alias")))
	good := map[string]string{"MODULE": "example.com/team/shop", "DIR": filepath.Join(parent, "shop")}
	for change, want := range map[string]string{
		"MODULE=":                             "MODULE is missing",
		"MODULE=shop":                         "must begin with the name of a server",
		"MODULE=example.com/../shop":          `".." is no part of a module path`,
		"MODULE=example.com/a b":              `"a b" is no part of a module path`,
		"MODULE=example.com/shop/":            `"" is no part of a module path`,
		"MODULE=-x/shop;rm":                   "is no part of a module path",
		"MODULE=example.com/team/my-shop":     `name "my-shop" is not allowed`,
		"MODULE=example.org/acme/rocket/shop": "must not contain the origin's",
		"NAME=Shop":                           `name "Shop" is not allowed`,
		"NAME=9lives":                         `name "9lives" is not allowed`,
		"NAME=abcdefghijklmnopqrstu":          "at most 20",
		"NAME=func":                           "it is a word of Go",
		"NAME=string":                         "it is a word of Go",
		"NAME=engine":                         "it is that of a service, a package or another directory, services/engine",
		"NAME=pkg":                            "it is that of a service, a package or another directory, pkg",
		"NAME=rockets":                        "must not contain the origin's",
		"TITLE=Store":                         `it must be "shop" with some capitals, such as "Shop"`,
		"TITLE=shop":                          `it must be "shop" with some capitals`,
		"TITLE=SHOP":                          `it must be "shop" with some capitals`,
		"IMAGES=registry.example/shop":        "without a registry",
		"SERVICES=cook":                       `there is no service "cook"; there are: engine,pilot`,
		"SERVICES=pilot":                      "pilot follows the changes of engine, which would be left out: keep both or neither",
		"SERVICES=engine,cook":                `there is no service "cook"; there are: engine,pilot`,
		"COLOUR=red":                          "there is no COLOUR",
		"DIR=":                                "DIR is missing",
		"DIR=" + parent + "/full":             "exists and is not empty",
		"DIR=" + parent + "/file":             "can't be used",
		"DIR=" + parent + "/no/shop":          "can't be made",
		"DIR=" + from:                         "exists and is not empty",
		"DIR=" + from + "/shop":               "is in this repository",
		"DIR=" + parent + "/alias/shop":       "is in this repository",
	} {
		args := map[string]string{}
		for name, value := range good {
			args[name] = value
		}
		name, value, _ := strings.Cut(change, "=")
		args[name] = value
		maker, _ := tool()
		err := maker.New(t.Context(), from, args)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", change, err, want)
		}
	}
	left(t, parent, "alias", "file", "full")
	if changes := run(t, from, "git", "status", "--porcelain"); changes != "" {
		t.Errorf("the origin has changed: %s", changes)
	}
}

// left fails if a directory has other entries.
func left(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s has %v, want %v", dir, got, want)
	}
}

// After an error or Ctrl-C there is nothing, and an empty directory stays.
func TestNewProjectLeavesNothingHalf(t *testing.T) {
	identify(t)
	from := repository(t, origin())
	for name, generate := range map[string]func(context.CancelFunc) error{
		"an error": func(context.CancelFunc) error { return errors.New("no compiler") },
		"stopped":  func(stop context.CancelFunc) error { stop(); return nil },
	} {
		parent := t.TempDir()
		must(t, os.Mkdir(filepath.Join(parent, "shop"), 0o750))
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		maker := Tool{io.Discard, func(context.Context, string, io.Writer) error { return generate(stop) }}
		err := maker.New(ctx, from, map[string]string{"MODULE": "example.com/team/shop", "DIR": filepath.Join(parent, "shop")})
		fails(t, err, "nothing is left in")
		left(t, parent, "shop")
		left(t, filepath.Join(parent, "shop"))
		t.Log(name, err)
	}
}

func TestNewProjectNeedsAnIdentity(t *testing.T) {
	from := repository(t, origin())
	run(t, from, "git", "config", "--unset", "user.email")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	run(t, from, "git", "config", "user.useConfigOnly", "true")
	maker, _ := tool()
	err := maker.New(t.Context(), from, map[string]string{"MODULE": "example.com/team/shop", "DIR": filepath.Join(t.TempDir(), "shop")})
	fails(t, err, "git doesn't know who makes the first commit")
}

func TestLinksOutOfTheTreeAreRefused(t *testing.T) {
	identify(t)
	for target, name := range map[string]string{"../../outside": "pkg/x", "/etc/passwd": "x", "..": "x"} {
		from := repository(t, origin())
		must(t, os.Symlink(target, filepath.Join(from, name)))
		commitFiles(t, from, files{"new": "new\n"})
		maker, _ := tool()
		err := maker.New(t.Context(), from, map[string]string{"MODULE": "example.com/team/shop", "DIR": filepath.Join(t.TempDir(), "shop")})
		fails(t, err, "outside of its tree")
	}
	for _, name := range []string{"../x", "/x", "a/../../x", ".git/hooks/post-commit", ".GIT/config"} {
		fails(t, checkPath(name, ""), "outside of its tree")
	}
}

// A project can be the origin of others.
func TestProjectOfAProject(t *testing.T) {
	first := shop(t, repository(t, origin()))
	identify(t)
	dir := filepath.Join(t.TempDir(), "market")
	maker, _ := tool()
	must(t, maker.New(t.Context(), first, map[string]string{"MODULE": "example.com/other/market", "DIR": dir}))
	holds(t, read(t, dir, "README.md"), "# Market\n")
	holds(t, read(t, dir, "deploy/compose.yaml"), "market/engine")
	holds(t, read(t, dir, "NOTICE"), "Shop was made from https://example.org/acme/rocket", "Market was made from https://example.com/team/shop")
	if got := strings.Count(read(t, dir, File), "origin  "); got != 1 {
		t.Errorf("%s explains the origin %d times", File, got)
	}
	holds(t, read(t, dir, "CHANGELOG.md"), "https://example.com/other/market/commits/main")
}

// allowed are the files in which a project names what it was made from.
var allowed = regexp.MustCompile(`^(LICENSE|NOTICE|PROJECT)$`)

// Nothing of this repository's names is left in a project made from it, in texts and paths.
func TestNoNameIsLeft(t *testing.T) {
	const root = "../.."
	commit := run(t, root, "git", "rev-parse", "HEAD")
	all, err := readTree(t.Context(), root, commit)
	must(t, err)
	from, err := namesOfTree(all)
	must(t, err)
	names, err := newNames(map[string]string{"MODULE": "example.com/zoo/okapi"})
	must(t, err)
	names.Origin, err = newOrigin(all, commit, names, "", true)
	must(t, err)
	project, _, err := newTree(all, names)
	must(t, err)
	old := regexp.MustCompile(`(?i)` + regexp.QuoteMeta(from.Name) + `|` + regexp.QuoteMeta(from.Images))
	for file, e := range project {
		if found := old.Find(e.content); found != nil && !allowed.MatchString(file) {
			t.Errorf("%s has %q", file, found)
		}
		if old.MatchString(file) {
			t.Errorf("the path %s has a name of %s", file, from.Title)
		}
	}
	if len(project) < len(all)-10 {
		t.Errorf("only %d of %d files are left", len(project), len(all))
	}
}

// The first service that is kept issues the tokens if the one that does is left out, and the tests of
// what is left out go, too.
func TestNewProjectWithoutTheIssuer(t *testing.T) {
	const root = "../.."
	commit := run(t, root, "git", "rev-parse", "HEAD")
	all, err := readTree(t.Context(), root, commit)
	must(t, err)
	names, err := newNames(map[string]string{"MODULE": "example.com/zoo/okapi"})
	must(t, err)
	names.Origin, err = newOrigin(all, commit, names, "tag", false)
	must(t, err)
	project, untested, err := newTree(all, names)
	must(t, err)
	for file, want := range map[string][]string{
		"services/services.yaml":                       {"- name: tag\n  port: 8081\n  adminPort: 9081\n  paths: [/api/v1/tags, /auth]\n  issuer: true\n"},
		"services/tag/internal/bootstrap/bootstrap.go": {"\t\"example.com/zoo/okapi/pkg/idempotency/replay\"\n\t\"example.com/zoo/okapi/pkg/issuer\"\n", "\t\tCommands: issuer.Commands(shared, migrations.All()),\n", "\tissuer.Register(base, binder)\n\treturn nil\n"},
		"services/tag/migrations/migrations.go":        {"fs.FS{2: replay.Schema(), 3: issuer.Schema()}"},
		"go.work":                                      {"./services/tag\n"},
	} {
		holds(t, string(project[file].content), want...)
	}
	for file := range project {
		if strings.HasPrefix(file, "services/article/") || strings.Contains(file, "@article") || strings.HasPrefix(file, "test/client/") && strings.HasSuffix(file, "_test.go") {
			t.Errorf("%s is not left out", file)
		}
	}
	if strings.Contains(string(project["services/services.yaml"].content), "article") || strings.Contains(string(project["go.work"].content), "article") {
		t.Error("article is still listed")
	}
	holds(t, strings.Join(untested, " "), "test/client", "test/process")
	for _, kept := range []string{"test/services/places_test.go", "pkg/issuer/check_test.go"} {
		if _, exists := project[kept]; !exists {
			t.Errorf("%s is left out", kept)
		}
	}
}

// The services that others follow come along, or it is said.
func TestFollowedServicesAreKept(t *testing.T) {
	all := []listed{{Name: "engine"}, {Name: "pilot", Follows: []string{"engine"}, Paths: []string{"/auth"}}, {Name: "cook", Follows: []string{"engine"}}}
	kept, err := chooseServices(all, "")
	must(t, err)
	if got := strings.Join(kept, " "); got != "engine" {
		t.Errorf("kept are %s", got)
	}
	_, err = chooseServices(all, "pilot,cook")
	fails(t, err, "pilot follows the changes of engine, which would be left out: keep both or neither")
}

// Everything that make generate has started ends with it.
func TestStoppedGenerateLeavesNoProcess(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "Makefile"), []byte("generate:\n\t@sh -c 'sh -c \"echo started; sleep 3600; true\"; true'; true\n"), 0o600))
	out, in, err := os.Pipe()
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error)
	go func() {
		err := MakeGenerate(ctx, dir, in)
		_ = in.Close()
		ended <- err
	}()
	line := make([]byte, len("started\n"))
	_, err = io.ReadFull(out, line)
	must(t, err)
	stop()
	if err := <-ended; err == nil {
		t.Error("no error of a command that was stopped")
	}
	_, err = io.ReadAll(out) // ends when no process has the pipe
	must(t, err)
}
