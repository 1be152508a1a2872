package oci

import (
	"archive/tar"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push sends a v1.Image or a v1.ImageIndex to a registry under ref, such as
// registry/prefix/tag:0.1.0, with the credentials of docker login. An insecure
// registry is spoken to without TLS.
func Push(ctx context.Context, artifact remote.Taggable, ref string, insecure bool) error {
	options := []name.Option{name.StrictValidation}
	if insecure {
		options = append(options, name.Insecure)
	}
	parsed, err := name.ParseReference(ref, options...)
	if err != nil {
		return fmt.Errorf("%s is no name of an image, such as registry/prefix/tag:0.1.0: %w", ref, err)
	}
	if err := remote.Push(parsed, artifact, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("pushing %s: %w", ref, err)
	}
	return nil
}

// WriteArchive writes a v1.Image or a v1.ImageIndex into one file, an OCI image
// layout, which Docker, containerd, Podman and kind load under the name ref.
// The same image makes the same file.
func WriteArchive(path string, artifact remote.Taggable, ref string) error {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return fmt.Errorf("%s is no name of an image, such as prefix/tag:0.1.0: %w", ref, err)
	}
	tagged, ok := named.(reference.NamedTagged)
	if !ok {
		return fmt.Errorf("%s lacks a tag: write it as in prefix/tag:0.1.0", ref)
	}
	dir, err := os.MkdirTemp("", "achilles-oci-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := writeLayout(dir, artifact, tagged); err != nil {
		return err
	}
	return packDirectory(dir, path)
}

func writeLayout(dir string, artifact remote.Taggable, name reference.NamedTagged) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	// By these two the loaders find the name, which they want written out.
	names := layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          name.String(),
		"org.opencontainers.image.ref.name": name.Tag(),
	})
	switch artifact := artifact.(type) {
	case v1.ImageIndex:
		return path.AppendIndex(artifact, names)
	case v1.Image:
		return path.AppendImage(artifact, names)
	default:
		return fmt.Errorf("%T is neither an image nor an index", artifact)
	}
}

// packDirectory writes the files below dir in a fixed order and without the
// times and owners that they happen to have.
func packDirectory(dir, path string) (err error) {
	target, err := os.Create(path) // #nosec G304 -- where the caller wants it
	if err != nil {
		return err
	}
	defer func() {
		if closed := target.Close(); err == nil {
			err = closed
		}
	}()
	out := tar.NewWriter(target)
	err = filepath.WalkDir(dir, func(at string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := os.ReadFile(at) // #nosec G304 -- what was just written
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, at)
		if err != nil {
			return err
		}
		if err := out.WriteHeader(&tar.Header{Name: filepath.ToSlash(relative), Mode: 0o644, Size: int64(len(body))}); err != nil {
			return err
		}
		_, err = out.Write(body)
		return err
	})
	if err != nil {
		return err
	}
	return out.Close()
}
