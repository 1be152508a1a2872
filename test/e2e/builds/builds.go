// Package builds compiles the services from source: as they are, with a newer
// schema, and broken on purpose. The source itself is never touched; the Go
// toolchain's overlay puts other files in its place.
package builds

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const versionStamp = "github.com/achilles-blog/achilles/pkg/buildinfo.version="

// Build is one program to compile.
type Build struct {
	// Service is tag or article.
	Service string
	// Version is what the program says of itself, and the tag of its image.
	Version string
	// Edits change files, Files add some; paths are below the root.
	Edits []Edit
	Files map[string]string
}

// Edit replaces a text that has to be in a file exactly once: when the source
// moves on, the build fails instead of silently being the ordinary one.
type Edit struct{ File, Old, New string }

// Newer is the next release of a service, which brings a migration.
func Newer(service, version string) Build {
	return Build{Service: service, Version: version, Files: map[string]string{
		"services/" + service + "/migrations/mysql/9001_note.sql":  migration(service),
		"services/" + service + "/migrations/sqlite/9001_note.sql": migration(service),
	}}
}

func migration(service string) string {
	return "-- +goose Up\nALTER TABLE blog_" + service + " ADD COLUMN note varchar(20) NULL;\n\n" +
		"-- +goose Down\nALTER TABLE blog_" + service + " DROP COLUMN note;\n"
}

// Program is the path of what Compile builds into a folder.
func (b Build) Program(folder string) string { return filepath.Join(folder, b.Version, b.Service) }

// Compile builds a static program for Linux into a folder and returns its path.
// root is the repository.
func (b Build) Compile(ctx context.Context, root, folder string) (string, error) {
	root, err := filepath.Abs(root) // an overlay that names other files is silently none
	if err != nil {
		return "", err
	}
	overlay, err := b.overlay(root, folder)
	if err != nil {
		return "", err
	}
	program := b.Program(folder)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-overlay", overlay, // #nosec G204 -- our own source
		"-tags=nomsgpack", "-gcflags=github.com/redis/go-redis/...=-l", // as the Makefile has it
		"-ldflags", "-s -w -X "+versionStamp+b.Version, "-o", program, ".")
	cmd.Dir = filepath.Join(root, "services", b.Service)
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOOS=linux") // as the images are made
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s %s: %w: %s", b.Service, b.Version, err, output)
	}
	return program, nil
}

// overlay writes the changed files and the list of them, and returns its path.
func (b Build) overlay(root, folder string) (string, error) {
	contents := map[string]string{}
	for path, content := range b.Files {
		contents[path] = content
	}
	for _, e := range b.Edits {
		if _, edited := contents[e.File]; !edited {
			source, err := os.ReadFile(filepath.Join(root, e.File)) // #nosec G304 -- our own source
			if err != nil {
				return "", err
			}
			contents[e.File] = string(source)
		}
		if found := strings.Count(contents[e.File], e.Old); found != 1 {
			return "", fmt.Errorf("%s: %s has %q %d times and not once: bring the edit up to date with the source", b.Version, e.File, e.Old, found)
		}
		contents[e.File] = strings.Replace(contents[e.File], e.Old, e.New, 1)
	}
	dir := filepath.Join(folder, b.Version, "overlay-"+b.Service)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	replace := map[string]string{}
	for path, content := range contents {
		file := filepath.Join(dir, strings.ReplaceAll(path, "/", "_"))
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, path)] = file
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "overlay.json"), os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o600)
}
