package runner

import (
	"io"
	"os"
	"path/filepath"
)

// write writes the report as JSON and as HTML.
func (r *Runner) write() error {
	if err := os.MkdirAll(r.options.Out, 0o750); err != nil {
		return err
	}
	for name, write := range map[string]func(io.Writer) error{
		"report.json": r.report.WriteJSON, "report.html": r.report.WriteHTML,
	} {
		file, err := os.Create(filepath.Join(r.options.Out, name)) // #nosec G304 -- the configured directory
		if err != nil {
			return err
		}
		if err := write(file); err != nil {
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	return nil
}
