// Package oci makes container images without a container engine: those of the
// services, as services/Dockerfile makes them, and stand-ins for the official
// images of MariaDB and Redis from the programs of this machine.
package oci

import (
	"bytes"
	"debug/elf"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// searchPath is what BuildKit gives an image that is made from scratch.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Build identifies the build of the program in an image. Created is also the time
// of all files in the image, so that the same build makes the same image.
type Build struct {
	Version string
	Commit  string
	Created time.Time
}

// Service returns the image of a service's static program, which becomes /name:
// the image that services/Dockerfile makes of the same source.
func Service(program, name string, platform v1.Platform, build Build) (v1.Image, error) {
	body, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	if err := checkStatic(body, platform); err != nil {
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return image([]file{
		{path: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, body: certificates()},
		{path: "tmp", mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{path: "var/lib/achilles", mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{path: name, mode: 0o755, body: body},
		{path: "service", mode: fs.ModeSymlink | 0o777, body: []byte(name)},
	}, platform, v1.Config{
		User: "65532:65532", WorkingDir: "/", Env: []string{searchPath},
		Entrypoint: []string{"/service"}, Cmd: []string{"serve"}, Labels: build.labels(name),
		ArgsEscaped: true, // of no meaning on Linux, but BuildKit says it, and the two are held equal
	}, build.Created)
}

// Index returns the images of one program for several platforms as one.
func Index(images ...v1.Image) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, image := range images {
		config, err := image.ConfigFile()
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image, Descriptor: v1.Descriptor{Platform: config.Platform()},
		})
	}
	return index, nil
}

func (b Build) labels(name string) map[string]string {
	const prefix = "org.opencontainers.image."
	return map[string]string{
		prefix + "title":       "achilles-" + name,
		prefix + "description": "The " + name + " service of Achilles",
		prefix + "version":     b.Version,
		prefix + "revision":    b.Commit,
		prefix + "created":     b.Created.UTC().Format(time.RFC3339),
		prefix + "source":      "https://github.com/achilles-blog/achilles",
		prefix + "licenses":    "Apache-2.0",
	}
}

// checkStatic returns an error unless the program is static and of the platform.
func checkStatic(program []byte, platform v1.Platform) error {
	parsed, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return fmt.Errorf("not a program for Linux (%w): build it with GOOS=linux", err)
	}
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[platform.Architecture]
	if platform.OS != "linux" || machine != parsed.Machine {
		return fmt.Errorf("a program for %v, not for %s: build it with GOOS=%s GOARCH=%s",
			parsed.Machine, platform, platform.OS, platform.Architecture)
	}
	for _, segment := range parsed.Progs {
		if segment.Type == elf.PT_INTERP {
			return errors.New("needs shared libraries, which the image has none of: build it with CGO_ENABLED=0")
		}
	}
	return nil
}

// certificates returns the root certificates that browsers trust, except those
// that are trusted under constraints, which PEM cannot express.
func certificates() []byte {
	var text bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return text.Bytes()
}
