package main

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"go.yaml.in/yaml/v3"

	"github.com/achilles-blog/achilles/test/services"
)

// alerts is the path of the alerting rules.
const alerts = "deploy/observability/alerts.yaml"

// partial are the files of which some lines are generated: those between
// "# BEGIN GENERATED NAME …" and "# END GENERATED", by the template NAME.
var partial = []string{
	"docker-compose.yaml", "deploy/compose/haproxy.cfg", "deploy/compose/mariadb.sql", "deploy/compose/secrets.sh", "deploy/compose/prometheus.yaml",
	alerts, "deploy/observability/alerts_test.yaml", "deploy/backup/connect.sh", "deploy/supervisor/achilles.conf",
}

//go:embed templates
var templates embed.FS

// region matches the lines of a region, with the name of its template and its
// first and last line.
var region = regexp.MustCompile(`(?ms)^( *# BEGIN GENERATED (\S+)[^\n]*\n).*?(^ *# END GENERATED\n)`)

// data is what the templates are executed with.
type data struct {
	Services []services.Service
	Version  string // the version of the images
}

// fillRegions returns the partially generated files with their regions filled
// in, by their path below root.
func fillRegions(root string, all []services.Service) (map[string][]byte, error) {
	functions := template.FuncMap{"join": strings.Join, "names": services.Names, "issuer": services.Issuer, "followersFirst": followersFirst, "maxConnections": maxConnections}
	parsed, err := template.New("").Funcs(functions).ParseFS(templates, "templates/*")
	if err != nil {
		return nil, err
	}
	version, err := appVersion(root)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, path := range partial {
		old, err := os.ReadFile(filepath.Join(root, path)) // #nosec G304 -- a file of the repository
		if err != nil {
			return nil, err
		}
		if files[path], err = fill(old, parsed, data{all, version}); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return files, nil
}

// fill replaces the lines of every region of a file.
func fill(old []byte, parsed *template.Template, with data) (filled []byte, err error) {
	if !region.Match(old) {
		return nil, fmt.Errorf("has no region that is generated")
	}
	filled = region.ReplaceAllFunc(old, func(found []byte) []byte {
		parts := region.FindSubmatch(found)
		var lines bytes.Buffer
		lines.Write(parts[1])
		if failed := parsed.ExecuteTemplate(&lines, string(parts[2]), with); failed != nil {
			err = failed
		}
		lines.Write(parts[3])
		return lines.Bytes()
	})
	return filled, err
}

// appVersion returns the version of the images that the chart names.
func appVersion(root string) (string, error) {
	path := filepath.Join(root, "deploy/helm/achilles/Chart.yaml")
	text, err := os.ReadFile(path) // #nosec G304 -- a file of the repository
	if err != nil {
		return "", err
	}
	var chart struct {
		AppVersion string `yaml:"appVersion"`
	}
	if err := yaml.Unmarshal(text, &chart); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return chart.AppVersion, nil
}

// followersFirst returns the services, each before the one that it follows.
func followersFirst(all []services.Service) []services.Service {
	reversed := slices.Clone(all)
	slices.Reverse(reversed)
	return reversed
}

// maxConnections returns how many connections the database server of
// docker-compose.yaml allows: those of twice two replicas of each service, and
// some more.
func maxConnections(all []services.Service) int { return 2*2*30*len(all) + 60 }
