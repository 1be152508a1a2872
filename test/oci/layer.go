package oci

import (
	"archive/tar"
	"bytes"
	"cmp"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// file is one entry of a layer.
type file struct {
	path  string      // from the root, without a slash in front
	mode  fs.FileMode // with the kind: a plain file, a directory or a symbolic link
	owner int         // user and group
	body  []byte      // a link's target
}

// image returns an image of one layer that holds the files. The same arguments
// make the same image, to the last bit.
func image(files []file, platform v1.Platform, config v1.Config, created time.Time) (v1.Image, error) {
	layer, err := newLayer(files, created)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	base, err = mutate.ConfigFile(base, &v1.ConfigFile{
		Architecture: platform.Architecture, OS: platform.OS, Variant: platform.Variant,
		Created: v1.Time{Time: created}, Config: config, RootFS: v1.RootFS{Type: "layers"},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(base, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: created}}})
}

func newLayer(files []file, modified time.Time) (v1.Layer, error) {
	var packed bytes.Buffer
	out := tar.NewWriter(&packed)
	for _, f := range withParents(files) {
		if err := add(out, f, modified); err != nil {
			return nil, err
		}
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil }
	return tarball.LayerFromOpener(opener, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

func add(out *tar.Writer, f file, modified time.Time) error {
	header := tar.Header{Name: f.path, ModTime: modified, Uid: f.owner, Gid: f.owner, Mode: bits(f.mode), Format: tar.FormatPAX}
	switch f.mode.Type() {
	case fs.ModeDir:
		header.Typeflag, header.Name = tar.TypeDir, f.path+"/"
	case fs.ModeSymlink:
		header.Typeflag, header.Linkname = tar.TypeSymlink, string(f.body)
	default:
		header.Typeflag, header.Size = tar.TypeReg, int64(len(f.body))
	}
	if err := out.WriteHeader(&header); err != nil || header.Typeflag != tar.TypeReg {
		return err
	}
	_, err := out.Write(f.body)
	return err
}

// bits is a mode as a tar file writes it, where Go's sticky bit is another one.
func bits(mode fs.FileMode) int64 {
	if mode&fs.ModeSticky != 0 {
		return int64(mode.Perm()) | 0o1000
	}
	return int64(mode.Perm())
}

// withParents adds the directories that the files are in and puts all in order.
func withParents(files []file) []file {
	all := map[string]file{}
	for _, f := range files {
		all[f.path] = f
		for dir := path.Dir(f.path); dir != "."; dir = path.Dir(dir) {
			if _, there := all[dir]; !there {
				all[dir] = file{path: dir, mode: fs.ModeDir | 0o755}
			}
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b file) int { return cmp.Compare(a.path, b.path) })
}
