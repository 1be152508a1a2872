// Package exporter writes articles as Markdown files with front matter, which package importer
// reads again.
package exporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/achilles-blog/achilles/services/article/internal/article"
	"github.com/achilles-blog/achilles/services/article/internal/frontmatter"
)

// Articles is the part of article.Service that an export uses.
type Articles interface {
	Export(ctx context.Context, viewer article.Viewer, after uint64, limit time.Duration, use func(article.Article) error) error
}

// Files are those that articles show.
type Files interface {
	// Open opens the file with an address in contents, and returns the name that it gets: the same
	// for the same content, and another one for another content. The error of an address that is
	// none of a file is fs.ErrNotExist.
	Open(ctx context.Context, address string) (name string, content io.ReadCloser, err error)
	// Address returns the address of a file.
	Address(id uint64) string
}

// Exporter writes all articles into a folder.
type Exporter struct {
	Articles Articles
	// Files is nil if the images of articles are not exported.
	Files Files
	// Limit is the maximum duration.
	Limit time.Duration
	// Progress is called from time to time with the number of articles that are written.
	Progress func(done int)
}

// Run writes a file for each article into a folder, which it creates; if it exists, it must be empty.
// The files are named by the slugs. Each has its content or isn't there at all, and the same
// articles are always the same files. Run returns the number of files.
func (e *Exporter) Run(ctx context.Context, folder string) (files int, err error) {
	if err := prepare(folder); err != nil {
		return 0, err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	err = e.Articles.Export(ctx, article.Authenticated, 0, e.Limit, func(a article.Article) error {
		if e.Progress != nil {
			e.Progress(files)
		}
		files++
		post := Post(a)
		if e.Files != nil && a.CoverFileID > 0 {
			post.Cover, post.CoverURL = e.Files.Address(a.CoverFileID), a.CoverImageURL
		}
		if err := e.exportImages(ctx, root, &post); err != nil {
			return err
		}
		return write(root, nameOf(a), strings.NewReader(post.Markdown()))
	})
	if err != nil {
		return files, fmt.Errorf("the export to %s is incomplete; empty the folder and export again: %w", folder, err)
	}
	return files, nil
}

// prepare creates a folder, or requires that it is empty.
func prepare(folder string) error {
	if err := os.MkdirAll(folder, 0o750); err != nil {
		return err
	}
	entries, err := os.ReadDir(folder)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("the folder %s is not empty, it has %s: choose another one, or empty it", folder, entries[0].Name())
	}
	return err
}

// nameOf returns the name of the file of an article. No other article has its slug.
func nameOf(a article.Article) string {
	return cmp.Or(a.Slug, fmt.Sprintf("article %d", a.ID)) + ".md" // a slug has no blanks
}

// write writes a file under another name first, so that it is there with all of its content.
func write(root *os.Root, name string, content io.Reader) error {
	temporary := path.Join(path.Dir(name), "."+path.Base(name)+".part")
	file, err := root.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, content)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, root.Remove(temporary))
	}
	return root.Rename(temporary, name)
}

// filesFolder is the folder of images.
const filesFolder = "files"

// exportImages writes the files that a post shows into filesFolder, and their paths into the post.
func (e *Exporter) exportImages(ctx context.Context, root *os.Root, post *frontmatter.Post) (err error) {
	if e.Files == nil {
		return nil
	}
	replace := func(address string) string {
		name, failed := e.exportImage(ctx, root, address)
		if failed != nil {
			if !errors.Is(failed, fs.ErrNotExist) {
				err = errors.Join(err, fmt.Errorf("the file %s: %w", address, failed))
			}
			return address
		}
		return name
	}
	post.Content = frontmatter.ReplaceImages(post.Content, replace)
	if post.Cover != "" {
		post.Cover = replace(post.Cover)
	}
	return err
}

// exportImage writes a file, unless it is there, and returns its path.
func (e *Exporter) exportImage(ctx context.Context, root *os.Root, address string) (string, error) {
	name, content, err := e.Files.Open(ctx, address)
	if err != nil {
		return "", err
	}
	defer func() { _ = content.Close() }()
	name = path.Join(filesFolder, name)
	if _, err := root.Stat(name); err == nil {
		return name, nil
	}
	if err := root.MkdirAll(filesFolder, 0o750); err != nil {
		return "", err
	}
	return name, write(root, name, content)
}

// Post returns an article as a post. Tags are in the order of their names: their ids differ from
// blog to blog.
func Post(a article.Article) frontmatter.Post {
	post := frontmatter.Post{
		Title: a.Title, Slug: a.Slug, Description: a.Desc, Cover: a.CoverImageURL, Date: a.PublishedAt, Updated: a.UpdatedAt,
		Draft: a.State == article.Disabled, Content: a.Content,
	}
	if !a.CreatedAt.Equal(a.PublishedAt) {
		post.Created = a.CreatedAt
	}
	for _, t := range a.Tags {
		if t.State == article.Enabled {
			post.Tags = append(post.Tags, t.Name)
		} else {
			post.HiddenTags = append(post.HiddenTags, t.Name)
		}
	}
	slices.SortFunc(post.Tags, strings.Compare)
	slices.SortFunc(post.HiddenTags, strings.Compare)
	return post
}
