// Command chart generates files of the Helm chart: README.md, values.schema.json and files/, from values.yaml, the list of
// services, their settings, the alerts and the dashboard.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

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
	files, err := generate(root)
	if err != nil {
		return err
	}
	for _, file := range files {
		if slices.Equal(file.content, file.old) {
			continue
		}
		if err := os.WriteFile(filepath.Join(root, file.path), file.content, 0o644); err != nil { // #nosec G306 -- for everybody to read
			return err
		}
		fmt.Println("written:", file.path)
	}
	return nil
}

const chartDir = "deploy/helm/achilles"

// generatedFile is a generated file. Its path is relative to the root of the repository.
type generatedFile struct {
	path         string
	content, old []byte
}

// generate returns the generated files without writing them.
func generate(root string) ([]generatedFile, error) {
	values, err := readValues(filepath.Join(root, chartDir, "values.yaml"))
	if err != nil {
		return nil, err
	}
	all, err := services.Read(root)
	if err != nil {
		return nil, err
	}
	var files []generatedFile
	add := func(path string, generate func(old []byte) ([]byte, error)) {
		path = filepath.Join(chartDir, path)
		old, _ := os.ReadFile(filepath.Join(root, path)) // #nosec G304 -- of this repository
		content, failure := generate(old)
		if failure != nil && err == nil {
			err = fmt.Errorf("%s: %w", path, failure)
		}
		files = append(files, generatedFile{path, content, old})
	}
	add("values.schema.json", func([]byte) ([]byte, error) {
		return schemaOf(values, services.Names(all), filepath.Join(root, "deploy/config"))
	})
	add("README.md", func(old []byte) ([]byte, error) { return readme(old, values) })
	for _, copied := range []string{services.File, "deploy/observability/alerts.yaml", "deploy/observability/dashboard.json"} {
		add("files/"+filepath.Base(copied), func([]byte) ([]byte, error) {
			return os.ReadFile(filepath.Join(root, copied)) // #nosec G304 -- of this repository
		})
	}
	return files, err
}
