package importer

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

const (
	// maxDepth is how deep folders may be nested.
	maxDepth = 32
	// maxFiles is the maximum number of files of an import.
	maxFiles = 100_000
)

// site is what the folder of a generator has its posts in.
type site struct {
	name    string
	marks   []string // one of these is there
	folders []string // below which the posts are
	other   string   // why files elsewhere are no posts
}

// sites are in the order in which they are looked for.
var sites = []site{
	{"Hexo", []string{"source/_posts"}, []string{"source/_posts", "source/_drafts"}, "Hexo has its posts in source/_posts and source/_drafts; import a page by naming its file"},
	{"Jekyll", []string{"_posts"}, []string{"_posts", "_drafts"}, "Jekyll has its posts in _posts and _drafts; import a page by naming its file"},
	{"Hugo", []string{"hugo.toml", "hugo.yaml", "hugo.yml", "hugo.json", "config.toml", "archetypes"}, []string{"content"}, "Hugo has its posts in content"},
}

// generated are folders that have no posts, but copies of them, patterns, or those of others.
var generated = []string{"node_modules", "public", "_site", "themes", "vendor", "resources", "archetypes", "layouts", "scaffolds", "_includes", "_layouts", "_sass", "_data"}

// find returns the paths of the posts in the folder, and reports what else looks like one.
func (r *run) find() (files []string, err error) {
	own, found := r.site()
	err = fs.WalkDir(r.folder, ".", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			if file == "." {
				return err
			}
			r.Report(Result{File: file, Outcome: Invalid, Reason: fmt.Sprintf("it can't be read: %v", withoutPath(err))})
			return skipDir(entry)
		}
		if file == "." {
			return nil
		}
		reason, isPost := r.judge(file, entry, own, found)
		switch {
		case reason != "":
			r.Report(Result{File: file, Outcome: Skipped, Reason: reason})
			return skipDir(entry)
		case isPost && len(files) == maxFiles:
			return fmt.Errorf("the folder has more than %d posts: import its subfolders one by one", maxFiles)
		case isPost:
			files = append(files, file)
		}
		return nil
	})
	return files, err
}

// skipDir goes on behind a folder.
func skipDir(entry fs.DirEntry) error {
	if entry != nil && entry.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// site returns the kind of site that the folder has.
func (r *run) site() (site, bool) {
	for _, one := range sites {
		exists := func(name string) bool { _, err := fs.Stat(r.folder, name); return err == nil }
		if slices.ContainsFunc(one.marks, exists) && slices.ContainsFunc(one.folders, exists) {
			return one, true
		}
	}
	return site{}, false
}

// judge reports whether a file is a post, and why a file or folder that could be one is not.
func (r *run) judge(file string, entry fs.DirEntry, own site, found bool) (reason string, isPost bool) {
	name := entry.Name()
	switch {
	case strings.ToValidUTF8(file, "") != file:
		return "its name is not UTF-8: rename it", false
	case strings.HasPrefix(name, "."):
		return "it is hidden", false
	case entry.IsDir() && (name == "node_modules" || name == "_site" || slices.Contains(generated, file)):
		return "it has no posts of its own", false
	case entry.IsDir() && strings.Count(file, "/") >= maxDepth:
		return fmt.Sprintf("it is nested more than %d levels deep", maxDepth), false
	case entry.IsDir():
		return "", false
	}
	if entry.Type()&fs.ModeSymlink != 0 {
		if reason := r.judgeLink(file); reason != "" {
			return reason, false
		}
	}
	if reason, markdown := judgeFormat(name, found && own.contains(file)); !markdown {
		return reason, false
	}
	switch {
	case found && !own.contains(file):
		return own.other, false
	case strings.HasPrefix(name, "_index."):
		return "it is the list of a section, not an article", false
	case !entry.Type().IsRegular() && entry.Type()&fs.ModeSymlink == 0:
		return "it is no regular file", false
	}
	return "", true
}

// judgeLink says why a link is not followed.
func (r *run) judgeLink(file string) string {
	switch info, err := fs.Stat(r.folder, file); {
	case err != nil:
		return "it is a link to nothing, or out of the folder: put the file itself there"
	case info.IsDir():
		return "it is a link to a folder: import that folder by itself"
	case !info.Mode().IsRegular():
		return "it is a link to no regular file"
	}
	return ""
}

// judgeFormat reports whether a file is Markdown, and why it is left out if it is another format of
// texts. HTML is one among posts.
func judgeFormat(name string, amongPosts bool) (reason string, markdown bool) {
	switch strings.ToLower(path.Ext(name)) {
	case ".md", ".markdown", ".mdown", ".mkd":
		return "", true
	case ".mdx", ".org", ".adoc", ".asciidoc", ".rst", ".textile", ".pandoc":
		return "it is not Markdown: convert it to Markdown", false
	case ".html", ".htm":
		if amongPosts {
			return "it is HTML: convert it to Markdown", false
		}
	}
	return "", false
}

func (s site) contains(file string) bool {
	return slices.ContainsFunc(s.folders, func(folder string) bool { return strings.HasPrefix(file, folder+"/") })
}

// isReadme reports whether a file has a name that files about a folder have.
func isReadme(file string) bool {
	switch name, _, _ := strings.Cut(strings.ToLower(path.Base(file)), "."); name {
	case "readme", "license", "changelog", "contributing", "code_of_conduct", "security", "authors":
		return true
	}
	return false
}

// baseOf returns the name of a post: that of its file, or of its folder if it is the index of that.
func baseOf(file string) string {
	name := path.Base(file)
	base := strings.TrimSuffix(name, path.Ext(name))
	if stem, _, _ := strings.Cut(base, "."); stem == "index" && path.Dir(file) != "." {
		base = path.Base(path.Dir(file)) + strings.TrimPrefix(base, "index")
	}
	return norm.NFC.String(base)
}

// dated splits a name that begins with a date, as those of Jekyll's posts.
func dated(name string) (date, rest string, ok bool) {
	parts := strings.SplitN(name, "-", 4)
	if len(parts) < 4 || len(parts[0]) != 4 || !digits(parts[0]) || !digits(parts[1]) || !digits(parts[2]) || len(parts[1]) > 2 || len(parts[2]) > 2 {
		return "", name, false
	}
	return strings.Join(parts[:3], "-"), parts[3], true
}

func digits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}
