// Package project begins projects of one's own from this repository, under other names, and merges
// later versions of it into them.
package project

import (
	"errors"
	"fmt"
	"go/token"
	"go/types"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// File is the path of the file that has the names of a project.
const File = "PROJECT"

// maxName is the maximum length of a name in bytes: the names of Kubernetes objects begin with it.
const maxName = 20

// Names are what a project is called.
type Names struct {
	Module string  `yaml:"module"` // path that the modules begin with
	Name   string  `yaml:"name"`   // one word, in lower case
	Title  string  `yaml:"title"`  // the name in sentences
	Images string  `yaml:"images"` // what the names of images begin with
	Origin *Origin `yaml:"origin,omitempty"`
}

// Origin is what a project was made from.
type Origin struct {
	Address  string   `yaml:"address"`  // of its repository
	Commit   string   `yaml:"commit"`   // the version of which everything was taken over
	Services []string `yaml:"services"` // those of its services that were kept
}

var (
	moduleElement = regexp.MustCompile(`^[A-Za-z0-9_~-]+(\.[A-Za-z0-9_~-]+)*$`)
	validName     = regexp.MustCompile(`^[a-z][a-z0-9]*$`)
	validImages   = regexp.MustCompile(`^[a-z0-9]+([_-][a-z0-9]+)*$`)
	validCommit   = regexp.MustCompile(`^[0-9a-f]{40,64}$`)
)

// parseNames returns the names that the content of a PROJECT file has.
func parseNames(text []byte) (Names, error) {
	var n Names
	if err := yaml.Unmarshal(text, &n); err != nil { // later versions may have more fields
		return n, fmt.Errorf("%s: %w", File, err)
	}
	err := n.check()
	if err == nil && n.Origin != nil && !validCommit.MatchString(n.Origin.Commit) {
		err = fmt.Errorf("origin.commit %q is not the hash of a commit", n.Origin.Commit)
	}
	if err != nil {
		return n, fmt.Errorf("%s: %w", File, err)
	}
	return n, nil
}

// check returns an error if a name is not allowed.
func (n Names) check() error {
	if err := checkModule(n.Module); err != nil {
		return err
	}
	switch {
	case !validName.MatchString(n.Name) || len(n.Name) > maxName:
		return fmt.Errorf("name %q is not allowed: it must be one word of at most %d lower-case letters and digits that begins with a letter, "+
			"as metrics, environment variables and Kubernetes objects are named after it; give NAME=", n.Name, maxName)
	case token.IsKeyword(n.Name) || types.Universe.Lookup(n.Name) != nil:
		return fmt.Errorf("name %q is not allowed: it is a word of Go; give another NAME=", n.Name)
	case strings.ToLower(n.Title) != n.Name || n.Title == n.Name || n.Title == strings.ToUpper(n.Name):
		return fmt.Errorf("title %q is not allowed: it must be %q with some capitals, such as %q; give another TITLE=", n.Title, n.Name, titleOf(n.Name))
	case !validImages.MatchString(n.Images):
		return fmt.Errorf("images %q is not allowed: it must be one word of lower-case letters, digits and - without a registry, "+
			"which is a setting of the chart; give another IMAGES=", n.Images)
	}
	return nil
}

// checkModule returns an error if other modules can't have paths below module.
func checkModule(module string) error {
	elements := strings.Split(module, "/")
	for _, element := range elements {
		if !moduleElement.MatchString(element) {
			return fmt.Errorf("module %q is not allowed: %q is no part of a module path, such as example.com/team/shop; give another MODULE=", module, element)
		}
	}
	if len(elements) < 2 || !strings.Contains(elements[0], ".") {
		return fmt.Errorf("module %q is not allowed: it must begin with the name of a server, such as example.com/team/shop; give another MODULE=", module)
	}
	return nil
}

func titleOf(name string) string {
	if name == "" {
		return ""
	}
	return strings.ToUpper(name[:1]) + name[1:]
}

// replacer returns what replaces the names of a project by others.
func (n Names) replacer(by Names) (*strings.Replacer, error) {
	pairs := []string{n.Module, by.Module}
	switch {
	case n.Images != n.Name:
		pairs = append(pairs, n.Images, by.Images)
	case by.Images != by.Name:
		return nil, errors.New("the images of the origin have its name, so those of the new project have its name, too: leave IMAGES= out")
	}
	pairs = append(pairs, n.Name, by.Name, n.Title, by.Title, strings.ToUpper(n.Name), strings.ToUpper(by.Name))
	return strings.NewReplacer(pairs...), nil
}

// format returns the content of the PROJECT file of a new project. head are the comments.
func (n Names) format(head []byte) ([]byte, error) {
	text, err := yaml.Marshal(n)
	return append(head, text...), err
}
