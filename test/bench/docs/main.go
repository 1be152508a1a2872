// Command docs writes the tables and plots of docs/performance.md from the JSON of make bench, and
// the figure of rollouts from that of make e2e beside it.
//
//	docs REPORT.json DIRECTORY
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/achilles-blog/achilles/test/bench/report"
)

// What is between these lines is generated.
const (
	begin = "<!-- make bench-docs writes what follows -->\n"
	end   = "<!-- end of what make bench-docs writes -->\n"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: docs REPORT.json DIRECTORY")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "bench-docs:", err)
		os.Exit(1)
	}
}

func write(from, dir string) error {
	r, err := report.Read(from)
	if err != nil {
		return err
	}
	if err := r.ReadRollout(filepath.Dir(from)); err != nil {
		return err
	}
	for name, draw := range map[string]func(io.Writer) error{"performance.svg": r.Throughput, "performance-growth.svg": r.Growth} {
		var text bytes.Buffer
		if err := draw(&text); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text.Bytes(), 0o644); err != nil {
			return err
		}
	}
	path := filepath.Join(dir, "performance.md")
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var tables bytes.Buffer
	if err := r.Markdown(&tables); err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return fmt.Errorf("%s has no lines %q and %q", path, begin, end)
	}
	return os.WriteFile(path, []byte(before+begin+"\n"+tables.String()+"\n"+end+after), 0o644)
}
