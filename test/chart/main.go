// Command chart generates files of the Helm chart: README.md, values.schema.json and files/, from values.yaml, the list of
// services, their settings, the alerts and the dashboard. From the chart it generates manifests of deploy/kustomize.
package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/achilles-blog/achilles/test/kustomize"
	"github.com/achilles-blog/achilles/test/services"
)

func main() {
	if err := run(".."); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

// run writes the generated files that have changed.
func run(root string) error {
	for _, generate := range []func(root string) (map[string][]byte, error){generate, kustomize.Generate} {
		files, err := generate(root)
		if err != nil {
			return err
		}
		if err := write(root, files); err != nil {
			return err
		}
	}
	return nil
}

func write(root string, files map[string][]byte) error {
	for _, path := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(root, path)
		if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, files[path]) { // #nosec G304 -- of this repository
			continue
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { // #nosec G301 -- for everybody to read
			return err
		}
		if err := os.WriteFile(file, files[path], 0o644); err != nil { // #nosec G306 -- for everybody to read
			return err
		}
		fmt.Println("written:", path)
	}
	return nil
}

const chartDir = "deploy/helm/achilles"

// generate returns the generated files of the chart by their path below root, the repository.
func generate(root string) (map[string][]byte, error) {
	values, err := readValues(filepath.Join(root, chartDir, "values.yaml"))
	if err != nil {
		return nil, err
	}
	all, err := services.Read(root)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	schema := filepath.Join(chartDir, "values.schema.json")
	if files[schema], err = schemaOf(values, services.Names(all), filepath.Join(root, "deploy/config")); err != nil {
		return nil, fmt.Errorf("%s: %w", schema, err)
	}
	text := filepath.Join(chartDir, "README.md")
	old, err := os.ReadFile(filepath.Join(root, text)) // #nosec G304 -- of this repository
	if err != nil {
		return nil, err
	}
	if files[text], err = readme(old, values); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	for _, source := range []string{services.File, "deploy/observability/alerts.yaml", "deploy/observability/dashboard.json"} {
		copied := filepath.Join(chartDir, "files", filepath.Base(source))
		if files[copied], err = os.ReadFile(filepath.Join(root, source)); err != nil { // #nosec G304 -- of this repository
			return nil, err
		}
	}
	return files, nil
}
