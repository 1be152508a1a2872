package project

import (
	"bytes"
	"fmt"
	"go/format"
	"path"
	"strings"
)

// transform returns the files that a version of the origin is in a project: with its names, without
// what is only the origin's own, and without the services that the project has not kept. It also
// returns the packages whose tests are left out, because they test a service that is.
func transform(files tree, to Names) (tree, []string, error) {
	from, err := namesOfTree(files)
	if err != nil {
		return nil, nil, err
	}
	replacer, err := from.replacer(to)
	if err != nil {
		return nil, nil, err
	}
	services, err := listedServices(files)
	if err != nil {
		return nil, nil, err
	}
	renamed := tree{}
	for file, e := range files {
		if own(file) {
			continue
		}
		target := replacer.Replace(file)
		if _, exists := renamed[target]; exists {
			return nil, nil, fmt.Errorf("two files of the origin would be called %s: give another NAME=", target)
		}
		if !verbatim(file) {
			e = rename(file, e, replacer)
		}
		renamed[target] = e
	}
	if page, exists := renamed[performanceFile]; exists {
		renamed[performanceFile] = entry{page.kind, withoutFigures(page.content)}
	}
	packages, err := keepOnly(renamed, services, to)
	return renamed, packages, err
}

// namesOfTree returns the names of a version.
func namesOfTree(files tree) (Names, error) {
	e, exists := files[File]
	if !exists {
		return Names{}, fmt.Errorf("the origin has no file %s in that version, so its names are unknown", File)
	}
	return parseNames(e.content)
}

// rename replaces the names in a file or in the target of a link. Go files stay formatted.
func rename(file string, e entry, replacer *strings.Replacer) entry {
	if e.kind != link && e.binary() {
		return e
	}
	content := []byte(replacer.Replace(string(e.content)))
	if path.Ext(file) == ".go" && !bytes.Equal(content, e.content) {
		if was, err := format.Source(e.content); err == nil && bytes.Equal(was, e.content) {
			if now, err := format.Source(content); err == nil {
				content = now
			}
		}
	}
	return entry{e.kind, content}
}

// checkCollision returns an error if the name is one that the files of the origin use for something else.
func checkCollision(files tree, from, to Names) error {
	if strings.Contains(to.Name, from.Name) || strings.Contains(to.Module, from.Module) || strings.Contains(to.Images, from.Name) {
		return fmt.Errorf("the names %s, %s and %s must not contain the origin's, %s: give others", to.Module, to.Name, to.Images, from.Name)
	}
	for file := range files {
		for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
			if path.Base(dir) == to.Name {
				return fmt.Errorf("name %q is not allowed: it is that of a service, a package or another directory, %s; give another NAME=", to.Name, dir)
			}
		}
	}
	return nil
}
