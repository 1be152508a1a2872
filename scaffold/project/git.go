package project

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// environment returns the environment of programs that run in another repository: without the
// variables that make passes on, and without those that tell git its directories.
func environment() []string {
	var kept []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "MAKE") || slices.Contains([]string{
			"MFLAGS", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GOWORK", "SERVICES", "MODULE", "NAME", "TITLE", "IMAGES", "DIR", "FROM", "REF",
		}, name) {
			continue
		}
		kept = append(kept, variable)
	}
	return append(kept, "GIT_TERMINAL_PROMPT=0")
}

// command returns a command in a directory.
func command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...) // #nosec G204 -- git and make
	cmd.Dir = dir
	cmd.Env = environment()
	return cmd
}

// git runs git in a directory and returns its output without the last line end.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	output, err := command(ctx, dir, "git", args...).Output()
	if err != nil {
		return "", gitError(args[0], err)
	}
	return strings.TrimSuffix(string(output), "\n"), nil
}

func gitError(name string, err error) error {
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && len(exit.Stderr) > 0:
		return fmt.Errorf("git %s: %s", name, bytes.TrimSpace(exit.Stderr))
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("git is not installed (Debian: git)")
	}
	return fmt.Errorf("git %s: %w", name, err)
}

// kind says what an entry of a tree is.
type kind int

const (
	absent kind = iota
	regular
	executable
	link // content is the target
)

// entry is a file of a tree.
type entry struct {
	kind    kind
	content []byte
}

func (e entry) equal(other entry) bool {
	return e.kind == other.kind && bytes.Equal(e.content, other.content)
}

// binary reports whether the content is no text.
func (e entry) binary() bool { return e.kind == link || bytes.IndexByte(e.content, 0) >= 0 }

// tree has the files of a version by their path, with slashes.
type tree map[string]entry

// readTree returns the committed files of a version. Paths and links that lead out of the tree are
// an error.
func readTree(ctx context.Context, repository, commit string) (tree, error) {
	archive, err := command(ctx, repository, "git", "archive", "--format=tar", commit).Output()
	if err != nil {
		return nil, gitError("archive", err)
	}
	files := tree{}
	for reader := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("git archive: %w", err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			return nil, fmt.Errorf("git archive: %w", err)
		}
		switch {
		case header.Typeflag == tar.TypeSymlink:
			files[header.Name] = entry{link, []byte(header.Linkname)}
		case header.Typeflag == tar.TypeReg && header.Mode&0o100 != 0:
			files[header.Name] = entry{executable, content}
		case header.Typeflag == tar.TypeReg:
			files[header.Name] = entry{regular, content}
		default:
			continue // a directory or the commit's comment
		}
		if err := checkPath(header.Name, header.Linkname); err != nil {
			return nil, err
		}
	}
}

// checkPath returns an error if a file, or what it is a link to, is not in the tree.
func checkPath(name, target string) error {
	if !filepath.IsLocal(filepath.FromSlash(name)) || strings.EqualFold(strings.Split(name, "/")[0], ".git") {
		return fmt.Errorf("the origin has a file %q, which is outside of its tree", name)
	}
	if target != "" && (path.IsAbs(target) || !filepath.IsLocal(filepath.FromSlash(path.Join(path.Dir(name), target)))) {
		return fmt.Errorf("the origin has a link %q to %q, which is outside of its tree", name, target)
	}
	return nil
}

// readEntry returns what a path of a directory is.
func readEntry(dir *os.Root, name string) (entry, error) {
	info, err := dir.Lstat(name)
	switch {
	case errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return entry{}, nil
	case err != nil:
		return entry{}, err
	case info.Mode()&os.ModeSymlink != 0:
		target, err := dir.Readlink(name)
		return entry{link, []byte(target)}, err
	case !info.Mode().IsRegular():
		return entry{}, fmt.Errorf("%s is no file, but the origin has a file of that name: rename it", name)
	}
	content, err := dir.ReadFile(name)
	if info.Mode()&0o100 != 0 {
		return entry{executable, content}, err
	}
	return entry{regular, content}, err
}

// writeEntry makes a path of a directory be e. It never follows a link out of the directory.
func writeEntry(dir *os.Root, name string, e entry) error {
	if e.kind == absent {
		return remove(dir, name)
	}
	if err := dir.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := dir.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	switch e.kind {
	case link:
		return dir.Symlink(string(e.content), name)
	case executable:
		return dir.WriteFile(name, e.content, 0o755)
	default:
		return dir.WriteFile(name, e.content, 0o644)
	}
}

// remove deletes a file and the directories that it leaves empty.
func remove(dir *os.Root, name string) error {
	if err := dir.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
		if dir.Remove(parent) != nil {
			break // it has other files
		}
	}
	return nil
}
