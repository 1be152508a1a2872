package oci

import (
	"archive/tar"
	"context"
	"encoding/json"
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
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Push sends a v1.Image or a v1.ImageIndex to a registry under ref, such as
// registry/prefix/tag:1.2.3, with the credentials of docker login; with insecure
// over plain HTTP.
func Push(ctx context.Context, artifact remote.Taggable, ref string, insecure bool) error {
	options := []name.Option{name.StrictValidation}
	if insecure {
		options = append(options, name.Insecure)
	}
	parsed, err := name.ParseReference(ref, options...)
	if err != nil {
		return fmt.Errorf("%s is not the name of an image, such as registry/prefix/tag:1.2.3: %w", ref, err)
	}
	if err := remote.Push(parsed, artifact, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("pushing %s: %w", ref, err)
	}
	return nil
}

// WriteArchive writes an index into one file, which Docker, containerd, Podman
// and kind load under the name ref. The file is an OCI image layout, which has
// every image, and a Docker archive, which has the first one. The same index
// makes the same file.
func WriteArchive(path string, index v1.ImageIndex, ref string) error {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return fmt.Errorf("%s is not the name of an image, such as prefix/tag:1.2.3: %w", ref, err)
	}
	tagged, ok := named.(reference.NamedTagged)
	if !ok {
		return fmt.Errorf("%s lacks a tag: write it as in prefix/tag:1.2.3", ref)
	}
	dir, err := os.MkdirTemp("", "achilles-oci-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := writeLayout(dir, index, tagged); err != nil {
		return err
	}
	if err := writeDockerManifest(dir, index, tagged); err != nil {
		return err
	}
	return packDirectory(dir, path)
}

func writeLayout(dir string, index v1.ImageIndex, name reference.NamedTagged) error {
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	// Loaders take the full name from one annotation and the tag from the other.
	return path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          name.String(),
		"org.opencontainers.image.ref.name": name.Tag(),
	}))
}

// writeDockerManifest adds manifest.json to a layout. Docker without the
// containerd image store reads no other, and it can name one platform only.
func writeDockerManifest(dir string, index v1.ImageIndex, name reference.NamedTagged) error {
	listed, err := index.IndexManifest()
	if err != nil {
		return err
	}
	if len(listed.Manifests) == 0 {
		return fmt.Errorf("%s has no image", name)
	}
	image, err := index.Image(listed.Manifests[0].Digest)
	if err != nil {
		return err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	described := tarball.Descriptor{Config: blob(manifest.Config), RepoTags: []string{reference.FamiliarString(name)}}
	for _, layer := range manifest.Layers {
		described.Layers = append(described.Layers, blob(layer))
	}
	body, err := json.Marshal(tarball.Manifest{described})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "manifest.json"), body, 0o600)
}

// blob is the path of a blob in a layout.
func blob(descriptor v1.Descriptor) string {
	return "blobs/" + descriptor.Digest.Algorithm + "/" + descriptor.Digest.Hex
}

// packDirectory writes the files below dir in a fixed order and without the
// times and owners of the files.
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
