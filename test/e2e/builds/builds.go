// Package builds compiles the services from source: as they are released, with
// a newer schema, and with fail points. The source itself is never touched; the
// Go toolchain's overlay adds the migrations of the newer schema.
package builds

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const versionStamp = "github.com/achilles-blog/achilles/pkg/buildinfo.version="

// Build is one program to compile.
type Build struct {
	// Service is the name of a service, such as tag.
	Service string
	// Version is the version of the program and the tag of its image.
	Version string
	// FailPoints compiles pkg/failpoint in.
	FailPoints bool
	// Migration is added to those of the service, unless it is empty.
	Migration string
}

// Newer is the next release of a service, which brings a migration of a resource's table.
func Newer(service, resource, version string) Build {
	return Build{Service: service, Version: version, Migration: "-- +goose Up\nALTER TABLE blog_" + resource + " ADD COLUMN note varchar(20) NULL;\n\n" +
		"-- +goose Down\nALTER TABLE blog_" + resource + " DROP COLUMN note;\n"}
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
	tags := "nomsgpack"
	if b.FailPoints {
		tags += ",failpoints"
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-overlay", overlay, // #nosec G204 -- our own source
		"-tags="+tags, "-gcflags=github.com/redis/go-redis/...=-l", // as the Makefile has it
		"-ldflags", "-s -w -X "+versionStamp+b.Version, "-o", program, ".")
	cmd.Dir = filepath.Join(root, "services", b.Service)
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOOS=linux") // as the images are made
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s %s: %w: %s", b.Service, b.Version, err, output)
	}
	return program, nil
}

// S3 builds an S3 server for the storage of files into a folder and returns its program.
func S3(ctx context.Context, root, folder string) (string, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	program := filepath.Join(folder, "versitygw")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/versity/versitygw/cmd/versitygw") // #nosec G204 -- constant
	cmd.Dir = filepath.Join(root, "test", "s3")
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the S3 server: %w: %s", err, output)
	}
	return program, nil
}

// overlay writes the migration and the list of files that the toolchain is to
// see, and returns the path of the list.
func (b Build) overlay(root, folder string) (string, error) {
	dir := filepath.Join(folder, b.Version, "overlay-"+b.Service)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	replace := map[string]string{}
	if b.Migration != "" {
		file := filepath.Join(dir, "9001_note.sql")
		if err := os.WriteFile(file, []byte(b.Migration), 0o600); err != nil {
			return "", err
		}
		for _, dialect := range []string{"mysql", "sqlite"} {
			replace[filepath.Join(root, "services", b.Service, "migrations", dialect, "9001_note.sql")] = file
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "overlay.json"), os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o600)
}
