package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/frontmatter"
)

// image is a file that a post shows.
type image struct {
	// Reference is how the text names it.
	Reference string
	Digest    string // of its content
	file      string // its path
}

// images returns the files that the text and the cover name, and notes what is left out.
func (r *run) images(ctx context.Context, post, content, cover string, result *Result) (images []image, err error) {
	seen := map[string]bool{}
	add := func(reference, what string) {
		if err != nil || seen[reference] || isElsewhere(reference) {
			return
		}
		seen[reference] = true
		found := image{Reference: reference, file: r.resolve(post, reference)}
		var problem string
		if problem, err = r.judgeImage(ctx, &found); problem != "" {
			result.LeftOut = append(result.LeftOut, fmt.Sprintf("%s %s: %s", what, reference, problem))
			return
		}
		images = append(images, found)
	}
	frontmatter.ReplaceImages(content, func(reference string) string {
		add(reference, "image")
		return reference
	})
	if cover != "" {
		add(cover, "cover")
	}
	return images, err
}

// judgeImage sets the digest of an image, or says why it is left out. An error ends the import.
func (r *run) judgeImage(ctx context.Context, one *image) (problem string, err error) {
	switch {
	case one.file == "":
		return "there is no such file in the folder", nil
	case r.Files == nil:
		return "files are not imported, because Files.URL is not set; put it where readers reach it, and write its address", nil
	}
	opened, err := r.folder.Open(one.file)
	if err != nil {
		return withoutPath(err).Error(), nil
	}
	defer func() { _ = opened.Close() }()
	one.Digest, err = r.Files.Digest(ctx, path.Base(one.file), opened)
	if errors.Is(err, ErrNoFile) {
		return strings.TrimSuffix(err.Error(), ": "+ErrNoFile.Error()), nil
	}
	if err != nil {
		err = fmt.Errorf("the image %s: %w", one.Reference, err)
	}
	return "", err
}

// isElsewhere reports whether a reference is an address, not a path.
func isElsewhere(reference string) bool {
	return strings.HasPrefix(reference, "//") || strings.HasPrefix(reference, "#") || strings.Contains(reference, "{{") || strings.Contains(reference, "{%") || scheme.MatchString(reference)
}

var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// resolve returns the path of the file that a reference in a post means, "" if there is none: it is
// beside the post, in its folder of assets (Hexo), or if it begins with a slash, where generators
// have the files of the site.
func (r *run) resolve(post, reference string) string {
	reference, _, _ = strings.Cut(reference, "#")
	reference, _, _ = strings.Cut(reference, "?")
	if unescaped, err := url.PathUnescape(reference); err == nil {
		reference = unescaped
	}
	folders := []string{path.Dir(post), strings.TrimSuffix(post, path.Ext(post))}
	if strings.HasPrefix(reference, "/") {
		folders = []string{"static", "source", ".", "assets"}
	}
	for _, folder := range folders {
		file := path.Join(folder, reference)
		if !fs.ValidPath(file) {
			continue
		}
		if info, err := fs.Stat(r.folder, file); err == nil && info.Mode().IsRegular() {
			return file
		}
	}
	return ""
}

// storeImages stores images and writes their addresses into the text and the cover.
func (r *run) storeImages(ctx context.Context, draft *article.Draft, cover string, images []image) error {
	addresses := map[string]string{}
	for _, one := range images {
		stored, err := r.store(ctx, one)
		if err != nil {
			return fmt.Errorf("the image %s: %w", one.Reference, err)
		}
		addresses[one.Reference] = stored.Address
		if one.Reference == cover {
			draft.CoverFileID = &stored.ID
		}
	}
	content := frontmatter.ReplaceImages(*draft.Content, func(reference string) string {
		return cmp.Or(addresses[reference], reference)
	})
	draft.Content = &content
	return nil
}

func (r *run) store(ctx context.Context, one image) (Stored, error) {
	opened, err := r.folder.Open(one.file)
	if err != nil {
		return Stored{}, withoutPath(err)
	}
	defer func() { _ = opened.Close() }()
	return r.Files.Store(ctx, path.Base(one.file), opened)
}
