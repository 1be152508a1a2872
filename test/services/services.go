// Package services reads services/services.yaml, the list of services from
// which everything that has to know all of them is made.
package services

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/achilles-blog/achilles/scaffold/fields"
)

// File is the path of the list in the repository.
const File = "services/services.yaml"

// Service is an entry of the list.
type Service struct {
	Name      string   // folder, program, image and metric label
	Port      int      // default port of the API
	AdminPort int      `yaml:"adminPort"` // default port of /metrics
	Paths     []string // prefixes of its public routes
	Issuer    bool     // whether it issues the tokens of all services
	Follows   []string // services whose change feed it reads
	Resources []Resource
}

// Resource is something that a service stores.
type Resource struct {
	Name   string // of one, the package of the domain
	Path   string // of all
	Fields []fields.Field
}

// APIPackages returns the packages of the service below internal that serve HTTP: api for
// the first resource, and one for each other that is not written by hand.
func (s Service) APIPackages() []string {
	packages := []string{"api"}
	for _, r := range s.Resources[1:] {
		packages = append(packages, r.Name+"api")
	}
	return packages
}

// Feed returns the name of the service whose change feed s reads, or "".
func (s Service) Feed() string {
	if len(s.Follows) == 0 {
		return ""
	}
	return s.Follows[0]
}

// Read returns the services of the repository at root, each after the one that
// it follows.
func Read(root string) ([]Service, error) {
	path := filepath.Join(root, File)
	text, err := os.ReadFile(path) // #nosec G304 -- a file of the repository
	if err != nil {
		return nil, fmt.Errorf("reading the list of services: %w", err)
	}
	var all []Service
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&all); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i, s := range all {
		if err := s.check(Names(all[:i])); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, s.Name, err)
		}
	}
	return all, checkIssuer(path, all)
}

// tokenPath is the route at which the issuer issues tokens.
const tokenPath = "/auth"

// checkIssuer returns an error unless one service issues the tokens.
func checkIssuer(path string, all []Service) error {
	var issuers []string
	for _, s := range all {
		if s.Issuer {
			issuers = append(issuers, s.Name)
		}
		if s.Issuer != slices.Contains(s.Paths, tokenPath) {
			return fmt.Errorf("%s: %s: the path %s and issuer: true belong together", path, s.Name, tokenPath)
		}
	}
	if len(issuers) != 1 {
		return fmt.Errorf("%s: one service issues the tokens of all services and has issuer: true, but %d have it: %v", path, len(issuers), issuers)
	}
	return nil
}

// Issuer returns the service that issues the tokens of all services. The list is one that Read has
// returned.
func Issuer(all []Service) Service {
	return all[slices.IndexFunc(all, func(s Service) bool { return s.Issuer })]
}

// check returns an error if the entry cannot stand after those of the names.
func (s Service) check(before []string) error {
	switch {
	case s.Name == "" || s.Port == 0 || s.AdminPort == 0 || len(s.Paths) == 0:
		return fmt.Errorf("name, port, adminPort and paths are required")
	case slices.Contains(before, s.Name):
		return fmt.Errorf("is listed twice")
	case len(s.Follows) > 1:
		return fmt.Errorf("follows %v, but the setting Feed.URL names one service", s.Follows)
	case len(s.Resources) == 0:
		return fmt.Errorf("resources are required: the name and the path of each")
	case s.Feed() != "" && !slices.Contains(before, s.Feed()):
		return fmt.Errorf("follows %s, which must be listed before it", s.Feed())
	}
	return s.checkResources()
}

func (s Service) checkResources() error {
	for i, r := range s.Resources {
		switch {
		case r.Name == "" || !slices.Contains(s.Paths, r.Path):
			return fmt.Errorf("resource %q: a name is required, and a path that is one of %v", r.Name, s.Paths)
		case slices.ContainsFunc(s.Resources[:i], func(other Resource) bool { return other.Name == r.Name || other.Path == r.Path }):
			return fmt.Errorf("resource %q: its name or its path is listed twice", r.Name)
		case len(r.Fields) > 0:
			if err := fields.Check(r.Fields); err != nil {
				return fmt.Errorf("resource %q: %w", r.Name, err)
			}
		}
	}
	return nil
}

// Names returns the names of the services, in order.
func Names(all []Service) []string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = s.Name
	}
	return names
}
