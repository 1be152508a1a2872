package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/services"
)

const (
	version   = "v9.8.7"
	commit    = "0123456789abcdef0123456789abcdef01234567"
	buildTime = "2026-01-02T03:04:05Z"
	imageTag  = "9.8"

	// The limit of an image, unpacked. That of the article service has the clients of S3, 15 MB.
	limit = 55_000_000
)

func stamp() map[string]string {
	return map[string]string{"VERSION": version, "COMMIT": commit, "BUILD_TIME": buildTime}
}

// TestMakeImages compares the images of `make images ENGINE=oci` with those of Docker.
func TestMakeImages(t *testing.T) {
	if testing.Short() {
		t.Skip("programs are compiled for two platforms")
	}
	all, err := services.Read(repository)
	require.NoError(t, err)
	names := services.Names(all)
	dir := makeImages(t)
	for _, service := range names {
		t.Run(service, func(t *testing.T) {
			archive := filepath.Join(dir, service+".tar")
			index := open(t, archive, service)
			checkDockerLoad(t, archive, service, find(t, index, v1.Platform{OS: "linux", Architecture: "amd64"}))
			for _, arch := range []string{"amd64", "arm64"} {
				files := checkImage(t, index, service, v1.Platform{OS: "linux", Architecture: arch})
				if runtime.GOOS == "linux" && runtime.GOARCH == arch {
					checkVersion(t, files[service].body)
					checkDocker(t, files, service)
				}
			}
		})
	}
	checkRepeatable(t, dir, names)
}

func makeImages(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	command := exec.CommandContext(t.Context(), "make", "images", "ENGINE=oci", "IMAGE_DIR="+dir, "IMAGE_TAG="+imageTag)
	for name, value := range stamp() {
		command.Args = append(command.Args, name+"="+value)
	}
	command.Dir = repository
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
	return dir
}

// open reads an archive as a loader does.
func open(t *testing.T, archive, service string) v1.ImageIndex {
	t.Helper()
	file, err := os.Open(archive) // #nosec G304 -- what was just made
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	dir := t.TempDir()
	for path, entry := range entries(t, file) {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(dir, path), entry.body, 0o600))
	}
	all, err := layout.ImageIndexFromPath(dir)
	require.NoError(t, err)
	manifest, err := all.IndexManifest()
	require.NoError(t, err)
	require.Len(t, manifest.Manifests, 1)
	assert.Equal(t, "docker.io/achilles-blog/"+service+":"+imageTag, manifest.Manifests[0].Annotations["io.containerd.image.name"])
	assert.Equal(t, imageTag, manifest.Manifests[0].Annotations["org.opencontainers.image.ref.name"])
	index, err := all.ImageIndex(manifest.Manifests[0].Digest)
	require.NoError(t, err)
	require.NoError(t, validate.Index(index))
	return index
}

// checkDockerLoad reads an archive as Docker does without the containerd image
// store: the first of the platforms.
func checkDockerLoad(t *testing.T, archive, service string, want v1.Image) {
	t.Helper()
	tag, err := name.NewTag("achilles-blog/" + service + ":" + imageTag)
	require.NoError(t, err)
	image, err := tarball.ImageFromPath(archive, &tag)
	require.NoError(t, err)
	require.NoError(t, validate.Image(image))
	wantConfig, err := want.ConfigName()
	require.NoError(t, err)
	gotConfig, err := image.ConfigName()
	require.NoError(t, err)
	assert.Equal(t, wantConfig, gotConfig)
	wantManifest, err := want.Manifest()
	require.NoError(t, err)
	gotManifest, err := image.Manifest()
	require.NoError(t, err)
	require.Len(t, gotManifest.Layers, len(wantManifest.Layers))
	for i, layer := range wantManifest.Layers {
		assert.Equal(t, layer.Digest, gotManifest.Layers[i].Digest)
	}
}

func find(t *testing.T, index v1.ImageIndex, platform v1.Platform) v1.Image {
	t.Helper()
	manifest, err := index.IndexManifest()
	require.NoError(t, err)
	require.Len(t, manifest.Manifests, 2)
	for _, entry := range manifest.Manifests {
		if entry.Platform.Equals(platform) {
			image, err := index.Image(entry.Digest)
			require.NoError(t, err)
			return image
		}
	}
	require.Fail(t, "no image for "+platform.String())
	return nil
}

// entry is a file of an image.
type entry struct {
	mode fs.FileMode
	body []byte // a link's target
}

func entries(t *testing.T, stream io.Reader) map[string]entry {
	t.Helper()
	found := map[string]entry{}
	for in := tar.NewReader(stream); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err)
		body, err := io.ReadAll(io.MultiReader(strings.NewReader(header.Linkname), in))
		require.NoError(t, err)
		assert.Zero(t, header.Uid+header.Gid, "%s is root's, so that the service cannot change it", header.Name)
		found[strings.TrimSuffix(header.Name, "/")] = entry{mode: header.FileInfo().Mode(), body: body}
	}
}

func files(t *testing.T, image v1.Image) map[string]entry {
	t.Helper()
	stream := mutate.Extract(image)
	defer func() { _ = stream.Close() }()
	return entries(t, stream)
}

// checkImage checks the configuration and the content of an image and returns its
// files.
func checkImage(t *testing.T, index v1.ImageIndex, service string, platform v1.Platform) map[string]entry {
	t.Helper()
	image := find(t, index, platform)
	config, err := image.ConfigFile()
	require.NoError(t, err)
	assert.Equal(t, dockerConfig(t, service, platform), config.Config, "Docker and make images ENGINE=oci disagree")
	assert.Equal(t, "65532:65532", config.Config.User)
	assert.Equal(t, []string{"/service"}, config.Config.Entrypoint)
	assert.Equal(t, []string{"serve"}, config.Config.Cmd)
	assert.Equal(t, map[string]string{
		"org.opencontainers.image.title":       "achilles-" + service,
		"org.opencontainers.image.description": "The " + service + " service of Achilles",
		"org.opencontainers.image.version":     version,
		"org.opencontainers.image.revision":    commit,
		"org.opencontainers.image.created":     buildTime,
		"org.opencontainers.image.source":      "https://github.com/achilles-blog/achilles",
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}, config.Config.Labels)

	inside := files(t, image)
	size := 0
	var names []string
	for name, entry := range inside {
		names = append(names, name)
		size += len(entry.body)
	}
	assert.Equal(t, fs.ModeSymlink, inside["service"].mode.Type())
	assert.Equal(t, service, string(inside["service"].body))
	assert.ElementsMatch(t, []string{service, "service", "etc", "etc/ssl", "etc/ssl/certs", "etc/ssl/certs/ca-certificates.crt", "tmp", "var", "var/lib", "var/lib/achilles"}, names,
		"one program, no shell")
	assert.Less(t, size, limit)
	t.Logf("%s for %s: %.1f MB", service, platform, float64(size)/1e6)
	program, err := elf.NewFile(bytes.NewReader(inside[service].body))
	require.NoError(t, err)
	assert.Equal(t, map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[platform.Architecture], program.Machine)
	libraries, err := program.ImportedLibraries()
	require.NoError(t, err)
	assert.Empty(t, libraries)
	return inside
}

// checkVersion starts the program of the image.
func checkVersion(t *testing.T, body []byte) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(program, body, 0o700)) // #nosec G306 -- a program
	output, err := exec.CommandContext(t.Context(), program, "version").CombinedOutput()
	require.NoError(t, err, "%s", output)
	assert.Contains(t, string(output), fmt.Sprintf("%s (commit %s, built %s", version, commit, buildTime))
}

// checkDocker compares the files with those that the Dockerfile puts into its image.
func checkDocker(t *testing.T, want map[string]entry, service string) {
	t.Helper()
	root := build(t, service)
	var names []string
	require.NoError(t, fs.WalkDir(os.DirFS(root), ".", func(path string, found fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		names = append(names, path)
		info, err := found.Info()
		require.NoError(t, err)
		assert.Equal(t, want[path].mode, info.Mode(), path)
		return nil
	}))
	assert.Len(t, names, len(want))
	body, err := os.ReadFile(filepath.Join(root, service)) // #nosec G304 -- what was just compiled
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want[service].body, body), "the Dockerfile does not compile as the Makefile does: compare GO_BUILD")
}

// checkRepeatable makes the archives of the same programs again.
func checkRepeatable(t *testing.T, dir string, names []string) {
	t.Helper()
	before := map[string][sha256.Size]byte{}
	for _, service := range names {
		before[service] = sum(t, filepath.Join(dir, service+".tar"))
	}
	require.NoError(t, images(t.Context(), append([]string{
		"--dir", dir, "--platforms", "linux/amd64,linux/arm64", "--tag", imageTag,
		"--version", version, "--commit", commit, "--created", buildTime,
	}, names...), io.Discard))
	for _, service := range names {
		assert.Equal(t, before[service], sum(t, filepath.Join(dir, service+".tar")), "the same %s makes another archive", service)
	}
}

func sum(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	body, err := os.ReadFile(path) // #nosec G304 -- what was just made
	require.NoError(t, err)
	return sha256.Sum256(body)
}

// The pushed image is that of the archive.
func TestPush(t *testing.T) {
	host := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer host.Close()
	to := strings.TrimPrefix(host.URL, "http://") + "/some/prefix"
	dir := t.TempDir()
	for _, arch := range []string{"amd64", "arm64"} {
		compile(t, arch, filepath.Join(dir, "linux", arch, "small"))
	}
	var said bytes.Buffer
	require.NoError(t, images(t.Context(), []string{
		"--dir", dir, "--platforms", "linux/amd64,linux/arm64", "--tag", imageTag, "--created", buildTime, "--push", to, "small",
	}, &said))
	ref, err := name.ParseReference(to + "/small:" + imageTag)
	require.NoError(t, err)
	assert.Equal(t, ref.Name()+"\n", said.String())
	pushed, err := remote.Index(ref)
	require.NoError(t, err)
	archived := open(t, filepath.Join(dir, "small.tar"), "small")
	checkDockerLoad(t, filepath.Join(dir, "small.tar"), "small", find(t, archived, v1.Platform{OS: "linux", Architecture: "amd64"}))
	want, err := archived.Digest()
	require.NoError(t, err)
	got, err := pushed.Digest()
	require.NoError(t, err)
	assert.Equal(t, want, got)
}

func compile(t *testing.T, arch, path string) {
	t.Helper()
	if testing.Short() {
		t.Skip("programs are compiled")
	}
	source := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o600))
	command := exec.CommandContext(t.Context(), "go", "build", "-o", path, source)
	command.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
}

func TestInvalidArguments(t *testing.T) {
	dir := t.TempDir()
	compile(t, "amd64", filepath.Join(dir, "linux/amd64/small"))
	compile(t, "amd64", filepath.Join(dir, "linux/arm64/small"))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "linux/riscv64"), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "linux/amd64/text"), []byte("#!/bin/sh"), 0o600))
	arguments := func(platforms, tag, created, name string) []string {
		return []string{"--dir", dir, "--platforms", platforms, "--tag", tag, "--created", created, name}
	}
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"nothing", nil, "are needed. See: images --help"},
		{"an unknown flag", []string{"--no"}, "See: images --help"},
		{"no tag", arguments("linux/amd64", "", buildTime, "small"), "--tag"},
		{"a tag that is none", arguments("linux/amd64", "a b", buildTime, "small"), "not the name of an image"},
		{"a tag that is two", arguments("linux/amd64", "1:2", buildTime, "small"), "not the name of an image"},
		{"no time", arguments("linux/amd64", "1", "today", "small"), `"today" is not a time`},
		{"no platform", arguments("linux/amd64,", "1", buildTime, "small"), `"", which is not a platform such as linux/amd64`},
		{"another system", arguments("darwin/arm64", "1", buildTime, "small"), `"darwin/arm64", which is not a platform`},
		{"another machine's program", arguments("linux/arm64", "1", buildTime, "small"), "build it with GOOS=linux GOARCH=arm64"},
		{"no program", arguments("linux/amd64", "1", buildTime, "text"), "build it with GOOS=linux"},
		{"a program that is missing", arguments("linux/amd64", "1", buildTime, "other"), "no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			assert.ErrorContains(t, images(t.Context(), test.args, io.Discard), test.want)
		})
	}
}
