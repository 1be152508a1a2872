package project

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
)

// change is what an update makes of a file.
type change struct {
	path     string
	old, new entry
	kind     string // added, updated, merged, deleted, conflict
	reason   string // of a conflict
}

// merger compares the files of a project with two versions of the origin, as they are in the project.
type merger struct {
	base, later tree
	name        string // of the project
	labels      [3]string
}

// plan returns what an update changes in dir, in the order of the paths. Nothing is written.
func (m merger) plan(ctx context.Context, dir *os.Root) ([]change, error) {
	paths := maps.Clone(m.base)
	maps.Copy(paths, m.later)
	var changes []change
	for _, file := range slices.Sorted(maps.Keys(paths)) {
		base, later := m.base[file], m.later[file]
		if base.equal(later) {
			continue
		}
		ours, err := readEntry(dir, file)
		if err != nil {
			return nil, fmt.Errorf("%s can't be read: %w", file, err)
		}
		c, err := m.decide(ctx, change{path: file, old: ours, new: ours}, base, later)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if c.kind != "" {
			changes = append(changes, c)
		}
	}
	return changes, nil
}

// decide returns c with what is made of its file. Its kind is empty if nothing is.
func (m merger) decide(ctx context.Context, c change, base, later entry) (change, error) {
	ours := c.old
	switch {
	case ours.equal(later):
		return c, nil
	case ours.equal(base):
		return c.take(later), nil
	case generated(c.path, m.name):
		return c, nil // make generate writes it
	case later.kind == absent && ours.kind == absent:
		return c, nil
	case later.kind == absent:
		return c.conflict("was deleted in the origin and changed here; it is as here"), nil
	case ours.kind == absent:
		return c.conflict("was deleted here and changed in the origin; it stays deleted"), nil
	case ours.binary() || later.binary() || base.binary():
		return c.conflict("is no text and was changed on both sides; it is as here"), nil
	}
	return m.merge(ctx, c, base, later)
}

// take returns c with the origin's version of the file.
func (c change) take(later entry) change {
	c.new, c.kind = later, "updated"
	switch {
	case c.old.kind == absent:
		c.kind = "added"
	case later.kind == absent:
		c.kind = "deleted"
	}
	return c
}

func (c change) conflict(reason string) change {
	c.kind, c.reason = "conflict", reason
	return c
}

// merge merges the changes of both sides. Generated lines are as here: make generate writes them.
func (m merger) merge(ctx context.Context, c change, base, later entry) (change, error) {
	ours := c.old.content
	merged, conflicts, err := m.mergeFile(ctx, c.path, ours, withRegions(base.content, ours), withRegions(later.content, ours))
	if err != nil {
		return c, err
	}
	c.new.content = merged
	if base.kind != later.kind {
		c.new.kind = later.kind
	}
	switch {
	case conflicts:
		c = c.conflict("was changed in the same lines; they are marked")
	case !c.new.equal(c.old):
		c.kind = "merged"
	}
	return c, nil
}

// mergeFile runs git merge-file, and reports whether there are conflicts, which are marked. The lines
// of go.sum files have no order, so both sides' are kept.
func (m merger) mergeFile(ctx context.Context, file string, ours, base, later []byte) ([]byte, bool, error) {
	dir, err := os.MkdirTemp("", "update-")
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	args := []string{"merge-file", "-p"}
	if path.Ext(file) == ".sum" {
		args = append(args, "--union")
	}
	for _, label := range m.labels {
		args = append(args, "-L", label)
	}
	for name, content := range map[string][]byte{"ours": ours, "base": base, "later": later} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, false, err
		}
	}
	output, err := command(ctx, dir, "git", append(args, "ours", "base", "later")...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() < 128 {
		return output, true, nil // as many conflicts
	}
	if err != nil {
		return nil, false, gitError("merge-file", err)
	}
	if path.Ext(file) == ".sum" {
		output = distinctLines(output)
	}
	return output, false, nil
}

// distinctLines returns the lines of text, each once.
func distinctLines(text []byte) []byte {
	var lines bytes.Buffer
	seen := map[string]bool{}
	for line := range bytes.Lines(text) {
		if !seen[string(line)] {
			seen[string(line)] = true
			lines.Write(line)
		}
	}
	return lines.Bytes()
}

// apply writes the changes. If it can't write one or ctx ends, it takes back those before.
func apply(ctx context.Context, dir *os.Root, changes []change) error {
	for i, c := range changes {
		err := ctx.Err()
		if err == nil && !c.new.equal(c.old) {
			err = writeEntry(dir, c.path, c.new)
		}
		if err != nil {
			return errors.Join(err, restore(dir, changes[:i+1]))
		}
	}
	return nil
}

// restore undoes changes.
func restore(dir *os.Root, changes []change) error {
	var failed error
	for _, c := range slices.Backward(changes) {
		if !c.new.equal(c.old) {
			failed = errors.Join(failed, writeEntry(dir, c.path, c.old))
		}
	}
	return failed
}
