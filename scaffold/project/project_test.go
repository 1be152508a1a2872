package project

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// files are those of a small origin, by their path.
type files map[string]string

// origin returns the files of a project that others are made from.
func origin() files {
	return files{
		File:                              "# Names.\nmodule: example.org/acme/rocket\nname: rocket\ntitle: Rocket\nimages: acme-images\n",
		"LICENSE":                         "Copyright the authors of Rocket\n",
		"CHANGELOG.md":                    "# Changelog\n\n- Rocket flies\n",
		"README.md":                       "# Rocket\n\none\ntwo\nthree\nfour\nfive\nsix\n\nhttps://example.org/acme/rocket has Rocket.\n",
		"go.work":                         "go 1.26\n\nuse (\n\t./pkg\n\t./services/engine\n\t./services/pilot\n)\n",
		"pkg/go.sum":                      "a v1 h1:x=\n",
		"pkg/metrics.go":                  "package pkg\n\n// Prefix begins the names of Rocket's metrics.\nconst (\n\tPrefix = \"rocket_\" // of rocket\n\tEnv    = \"ROCKET_\"\n)\n",
		"pkg/old.go":                      "package pkg\n",
		"docs/performance.md":             "# Performance\n\n" + figures + "\nRocket: 3 s\n",
		"docs/performance.svg":            "<svg/>\n",
		"docs/logo.bin":                   "rocket\x00logo",
		"docs/configuration.md":           "generated: engine, pilot\n",
		"deploy/helm/rocket/Chart.yaml":   "name: rocket\n",
		"deploy/systemd/rocket@.service":  "ExecStart=/opt/rocket/%i\n",
		"deploy/config/engine.yaml":       "engine\n",
		"deploy/config/pilot.yaml":        "pilot\n",
		"services/services.yaml":          "# The list.\n- name: engine\n  port: 1\n  paths: [/auth]\n  issuer: true\n\n- name: pilot\n  port: 2\n  follows: [engine]\n",
		"services/engine/main.go":         "package main\n\nimport _ \"example.org/acme/rocket/pkg\"\n\nfunc main() {}\n",
		"services/pilot/main.go":          "package main\n\nfunc main() {}\n",
		"deploy/compose.yaml":             "services:\n# BEGIN GENERATED services\n  engine: acme-images/engine\n# END GENERATED\nvolumes: {}\n",
		"services/engine/internal/api.go": "package internal\n",
	}
}

// repository makes a repository of files and returns its directory and last commit.
func repository(t *testing.T, content files) string {
	t.Helper()
	dir := t.TempDir()
	run(t, dir, "git", "init", "--quiet")
	run(t, dir, "git", "config", "user.name", "Tester")
	run(t, dir, "git", "config", "user.email", "tester@example.com")
	commitFiles(t, dir, content)
	return dir
}

// commitFiles writes files, of which those without content are deleted, and commits all.
func commitFiles(t *testing.T, dir string, content files) string {
	t.Helper()
	for name, text := range content {
		path := filepath.Join(dir, name)
		if text == "" {
			must(t, os.Remove(path))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(path), 0o750))
		must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	run(t, dir, "git", "add", "--all")
	run(t, dir, "git", "commit", "--quiet", "--message", "change")
	return run(t, dir, "git", "rev-parse", "HEAD")
}

// run runs a program and returns its output without spaces at its end.
func run(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env = dir, environment()
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, output)
	}
	return strings.TrimSpace(string(output))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tool returns a tool that generates nothing, and what it says.
func tool() (Tool, *bytes.Buffer) {
	var out bytes.Buffer
	return Tool{&out, func(context.Context, string, io.Writer) error { return nil }}, &out
}

// identify makes git know who commits, in every repository of the test.
func identify(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AUTHOR", "COMMITTER"} {
		t.Setenv("GIT_"+name+"_NAME", "Tester")
		t.Setenv("GIT_"+name+"_EMAIL", "tester@example.com")
	}
}

// shop makes a project of the origin, and returns its directory.
func shop(t *testing.T, from string, more ...string) string {
	t.Helper()
	identify(t)
	dir := filepath.Join(t.TempDir(), "shop")
	args := map[string]string{"MODULE": "example.com/team/shop", "DIR": dir}
	for _, arg := range more {
		name, value, _ := strings.Cut(arg, "=")
		args[name] = value
	}
	maker, _ := tool()
	must(t, maker.New(t.Context(), from, args))
	return dir
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name)) // #nosec G304 -- a file of the test
	must(t, err)
	return string(text)
}

// holds fails if a text lacks one of the parts.
func holds(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
}

// missing fails if one of the files exists.
func missing(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s exists: %v", name, err)
		}
	}
}

// fails fails if err isn't an error that has the parts.
func fails(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	holds(t, err.Error(), parts...)
}
