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

// asset is a file that a post names.
type asset struct {
	// Reference is how the text names it, without query and fragment.
	Reference string
	Digest    string // of its content
	file      string // its path
}

// assets returns the files that the text and the cover name, and notes what is left out.
func (r *run) assets(ctx context.Context, post, content, cover string, result *Result) (assets []asset, err error) {
	seen := map[string]bool{}
	add := func(one frontmatter.Reference, what string) {
		if err != nil || seen[one.Path] || isElsewhere(one.Path) {
			return
		}
		seen[one.Path] = true
		found := asset{Reference: one.Path, file: r.resolve(post, one.Path)}
		if what == "link" && (found.file == "" || isPage(found.file)) {
			if r.IsAddress(one.Path) {
				result.Notes = append(result.Notes, fmt.Sprintf("the link %s is the address of a file of a blog: make sure that it is the right one in this blog", one.Path))
			}
			return // to another page
		}
		var problem string
		if problem, err = r.judgeAsset(ctx, &found); problem != "" {
			result.LeftOut = append(result.LeftOut, fmt.Sprintf("%s %s: %s", what, one.Path, problem))
			return
		}
		assets = append(assets, found)
	}
	images, links := references(content)
	for _, one := range images {
		add(one, "image")
	}
	if cover != "" {
		add(frontmatter.ParseReference(cover), "cover")
	}
	for _, one := range links {
		add(one, "link")
	}
	return assets, err
}

// references returns what a text names.
func references(content string) (images, links []frontmatter.Reference) {
	frontmatter.ReplaceReferences(content, func(one frontmatter.Reference) string {
		if one.Image {
			images = append(images, one)
		} else {
			links = append(links, one)
		}
		return one.Path
	})
	return images, links
}

// isPage reports whether a file is the source of a page, not a file that a page names.
func isPage(file string) bool {
	reason, markdown := judgeFormat(file, true)
	return markdown || reason != ""
}

// judgeAsset sets the digest of a file, or says why it is left out. An error ends the import.
func (r *run) judgeAsset(ctx context.Context, one *asset) (problem string, err error) {
	switch {
	case one.file == "":
		return "there is no such file in the folder, or it is hidden", nil
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
		err = fmt.Errorf("the file %s: %w", one.Reference, err)
	}
	return "", err
}

// isElsewhere reports whether a reference is an address, not a path.
func isElsewhere(reference string) bool {
	return reference == "" || strings.HasPrefix(reference, "//") || strings.Contains(reference, "{{") || strings.Contains(reference, "{%") || scheme.MatchString(reference)
}

var scheme = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)

// resolve returns the path of the file that a reference in a post means, "" if there is none: it is
// beside the post, in its folder of assets (Hexo), or if it begins with a slash, where generators
// have the files of the site. Hidden files are none that a post means.
func (r *run) resolve(post, reference string) string {
	if unescaped, err := url.PathUnescape(reference); err == nil {
		reference = unescaped
	}
	folders := []string{path.Dir(post), strings.TrimSuffix(post, path.Ext(post))}
	if strings.HasPrefix(reference, "/") {
		folders = []string{"static", "source", ".", "assets"}
	}
	for _, folder := range folders {
		file := path.Join(folder, reference)
		if !fs.ValidPath(file) || strings.Contains("/"+file, "/.") {
			continue
		}
		if info, err := fs.Stat(r.folder, file); err == nil && info.Mode().IsRegular() {
			return file
		}
	}
	return ""
}

// storeAssets stores files and writes their addresses into the text and the cover.
func (r *run) storeAssets(ctx context.Context, draft *article.Draft, cover string, assets []asset) error {
	addresses := map[string]string{}
	for _, one := range assets {
		stored, err := r.store(ctx, one)
		if err != nil {
			return fmt.Errorf("the file %s: %w", one.Reference, err)
		}
		addresses[one.Reference] = stored.Address
		if one.Reference == frontmatter.ParseReference(cover).Path {
			draft.CoverFileID = &stored.ID
		}
	}
	content := frontmatter.ReplaceReferences(*draft.Content, func(one frontmatter.Reference) string {
		return cmp.Or(addresses[one.Path], one.Path)
	})
	draft.Content = &content
	return nil
}

func (r *run) store(ctx context.Context, one asset) (Stored, error) {
	opened, err := r.folder.Open(one.file)
	if err != nil {
		return Stored{}, withoutPath(err)
	}
	defer func() { _ = opened.Close() }()
	return r.Files.Store(ctx, path.Base(one.file), opened)
}
