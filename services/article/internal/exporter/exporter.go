// Package exporter writes articles as Markdown files with front matter, which package importer
// reads again.
package exporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
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

// ErrNoFile is wrapped by the error of Files.Open if a file is not there. The export goes on without
// it.
var ErrNoFile = errors.New("the file is not exported")

// Files are those that articles name.
type Files interface {
	// Address returns the address of a file in contents.
	Address(id uint64) string
	// Addresses returns all addresses of files that a text has.
	Addresses(text string) []string
	// Open opens the file with an address, and returns the name that it gets: the same for the same
	// content, and another one for another content.
	Open(ctx context.Context, address string) (name string, content io.ReadCloser, err error)
}

// Exporter writes all articles into a folder.
type Exporter struct {
	Articles Articles
	// Files is nil if no files are exported.
	Files Files
	// Limit is the maximum duration.
	Limit time.Duration
	// Progress is called from time to time with the number of articles that are written.
	Progress func(done int)
	// Note is called with what the file of an article lacks.
	Note func(file, text string)
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
		if e.Files != nil {
			if err := e.exportFiles(ctx, root, a, &post); err != nil {
				return err
			}
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

// filesFolder is the folder of files that articles name.
const filesFolder = "files"

// exported are the files that an article names.
type exported struct {
	paths    map[string]string // by their addresses
	problems map[string]string // why the file with an address is not exported
}

// exportFiles writes the files that an article names into filesFolder, and their paths into its post.
func (e *Exporter) exportFiles(ctx context.Context, root *os.Root, a article.Article, post *frontmatter.Post) (err error) {
	done := exported{map[string]string{}, map[string]string{}}
	export := func(address string) string {
		if err == nil {
			err = e.exportFile(ctx, root, address, done)
		}
		return done.paths[address]
	}
	post.Content = frontmatter.ReplaceReferences(post.Content, func(one frontmatter.Reference) string {
		if !slices.Equal(e.Files.Addresses(one.Path), []string{one.Path}) {
			return one.Path
		}
		return cmp.Or(export(one.Path), one.Path)
	})
	left := e.Files.Addresses(post.Content)
	if a.CoverFileID > 0 {
		address := e.Files.Address(a.CoverFileID)
		if cover := export(address); cover != "" {
			post.Cover, post.CoverURL = cover, a.CoverImageURL
		} else {
			left = append(left, address)
		}
	}
	slices.Sort(left)
	for _, address := range slices.Compact(left) {
		problem := cmp.Or(done.problems[address], "its address has a host, or is no link or image in Markdown or HTML")
		e.Note(nameOf(a), fmt.Sprintf("the file %s is not exported, and its address stays: %s", address, problem))
	}
	return err
}

// exportFile writes the file with an address, unless it is there.
func (e *Exporter) exportFile(ctx context.Context, root *os.Root, address string, done exported) error {
	if done.paths[address] != "" || done.problems[address] != "" {
		return nil
	}
	name, content, err := e.Files.Open(ctx, address)
	if errors.Is(err, ErrNoFile) {
		done.problems[address] = strings.TrimSuffix(err.Error(), ": "+ErrNoFile.Error())
		return nil
	}
	if err != nil {
		return fmt.Errorf("the file %s: %w", address, err)
	}
	defer func() { _ = content.Close() }()
	name = path.Join(filesFolder, name)
	done.paths[address] = name
	if _, err := root.Stat(name); err == nil {
		return nil
	}
	if err := root.MkdirAll(filesFolder, 0o750); err != nil {
		return err
	}
	if err := write(root, name, content); err != nil {
		return fmt.Errorf("the file %s: %w", address, err)
	}
	return nil
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
