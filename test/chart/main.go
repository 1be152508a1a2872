// Command chart brings up to date what the Helm chart's values.yaml, the services' settings and the alerts and dashboard
// say twice: the chart's README.md, values.schema.json and files/.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	if err := run(".."); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

// run writes what has changed, and says so.
func run(root string) error {
	made, err := generate(root)
	if err != nil {
		return err
	}
	for _, file := range made {
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

// madeFile is a file that is made of others. Its path is below the repository's root.
type madeFile struct {
	path         string
	content, old []byte
}

// generate makes every file, and writes none.
func generate(root string) ([]madeFile, error) {
	values, err := readValues(filepath.Join(root, chartDir, "values.yaml"))
	if err != nil {
		return nil, err
	}
	var made []madeFile
	add := func(path string, makeOf func(old []byte) ([]byte, error)) {
		path = filepath.Join(chartDir, path)
		old, _ := os.ReadFile(filepath.Join(root, path)) // #nosec G304 -- what isn't there yet is made
		content, failure := makeOf(old)
		if failure != nil && err == nil {
			err = fmt.Errorf("%s: %w", path, failure)
		}
		made = append(made, madeFile{path, content, old})
	}
	add("values.schema.json", func([]byte) ([]byte, error) { return schemaOf(values, filepath.Join(root, "deploy/config")) })
	add("README.md", func(old []byte) ([]byte, error) { return readme(old, values) })
	for _, name := range []string{"alerts.yaml", "dashboard.json"} {
		add("files/"+name, func([]byte) ([]byte, error) {
			return os.ReadFile(filepath.Join(root, "deploy/observability", name)) // #nosec G304 -- of this repository
		})
	}
	return made, err
}
