package project

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Tool begins and updates projects.
type Tool struct {
	Out io.Writer
	// Generate brings the generated files of a directory up to date.
	Generate func(ctx context.Context, dir string, out io.Writer) error
}

// MakeGenerate runs make generate. When ctx ends it stops all that make has started.
func MakeGenerate(ctx context.Context, dir string, out io.Writer) error {
	cmd := command(ctx, dir, "make", "--no-print-directory", "generate")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("make generate in %s: %w", dir, err)
	}
	return nil
}

func (t Tool) say(format string, args ...any) { _, _ = fmt.Fprintf(t.Out, format+"\n", args...) }

// New begins a project in the directory DIR from the committed files of the repository at root.
// The directory exists only if everything has succeeded.
func (t Tool) New(ctx context.Context, root string, args map[string]string) error {
	if err := known(args, "MODULE", "DIR", "NAME", "TITLE", "IMAGES", "SERVICES"); err != nil {
		return err
	}
	names, err := newNames(args)
	if err != nil {
		return err
	}
	dir, err := newDirectory(root, args["DIR"])
	if err != nil {
		return err
	}
	commit, files, err := t.head(ctx, root)
	if err != nil {
		return err
	}
	wanted, given := args["SERVICES"]
	if names.Origin, err = newOrigin(files, commit, names, wanted, !given); err != nil {
		return err
	}
	if given && strings.TrimSpace(wanted) == "" {
		t.say("A project needs a service, which issues the tokens: %s is kept.", strings.Join(names.Origin.Services, ", "))
	}
	project, untested, err := newTree(files, names)
	if err != nil {
		return err
	}
	if len(untested) > 0 {
		t.say("Left out are also the tests of these packages, because they test a service that is left out: %s.", strings.Join(untested, ", "))
	}
	if err := t.build(ctx, dir, project, names); err != nil {
		if ctx.Err() != nil {
			err = errors.New("stopped")
		}
		return fmt.Errorf("%w; nothing is left in %s", err, args["DIR"])
	}
	t.say("%s is ready in %s, with a first commit: make run and make test work there. Its page docs/your-own-project.md says what comes next.", names.Title, args["DIR"])
	return nil
}

// known returns an error for an argument that the command does not have.
func known(args map[string]string, names ...string) error {
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if !slices.Contains(names, name) {
			return fmt.Errorf("there is no %s; there are: %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

// newDirectory returns the absolute path of the directory of a new project, which doesn't exist or
// is empty, and isn't in the repository.
func newDirectory(root, name string) (string, error) {
	if name == "" {
		return "", errors.New("DIR is missing: name the directory of the new project, such as DIR=../shop")
	}
	dir, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return "", fmt.Errorf("DIR=%s can't be used: %w", name, err)
	case len(entries) > 0:
		return "", fmt.Errorf("DIR=%s exists and is not empty: name another directory", name)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return "", fmt.Errorf("DIR=%s can't be made: %w", name, err)
	}
	repository, err := filepath.EvalSymlinks(root)
	if err == nil {
		repository, err = filepath.Abs(repository)
	}
	if err != nil {
		return "", err
	}
	dir = filepath.Join(parent, filepath.Base(dir))
	if within, err := filepath.Rel(repository, dir); err == nil && filepath.IsLocal(within) {
		return "", fmt.Errorf("DIR=%s is in this repository: name a directory beside it, such as DIR=../shop", name)
	}
	return dir, nil
}

// head returns the last commit of the repository and its files.
func (t Tool) head(ctx context.Context, root string) (string, tree, error) {
	commit, err := git(ctx, root, "rev-parse", "--verify", "HEAD^{commit}")
	if err != nil {
		return "", nil, err
	}
	if _, err := git(ctx, root, "var", "GIT_COMMITTER_IDENT"); err != nil {
		return "", nil, errors.New(`git doesn't know who makes the first commit: git config --global user.name "…" and git config --global user.email "…"`)
	}
	changes, err := git(ctx, root, "status", "--porcelain")
	if err != nil {
		return "", nil, err
	}
	if changes != "" {
		t.say("There are changes that are not committed: the new project is made from the last commit, without them.")
	}
	files, err := readTree(ctx, root, commit)
	return commit, files, err
}

// newNames returns the names of a new project. What args don't have follows from the module.
func newNames(args map[string]string) (Names, error) {
	if args["MODULE"] == "" {
		return Names{}, errors.New("MODULE is missing: name the module path of the new project, such as MODULE=example.com/team/shop")
	}
	n := Names{Module: args["MODULE"], Name: args["NAME"], Title: args["TITLE"], Images: args["IMAGES"]}
	if n.Name == "" {
		n.Name = path.Base(n.Module)
	}
	if n.Title == "" {
		n.Title = titleOf(n.Name)
	}
	if n.Images == "" {
		n.Images = n.Name
	}
	return n, n.check()
}

// newOrigin returns the origin of a project of the names. wanted are the services to keep.
func newOrigin(files tree, commit string, names Names, wanted string, all bool) (*Origin, error) {
	from, err := namesOfTree(files)
	if err != nil {
		return nil, err
	}
	if err := checkCollision(files, from, names); err != nil {
		return nil, err
	}
	services, err := listedServices(files)
	if err != nil {
		return nil, err
	}
	if all {
		wanted = strings.Join(namesOf(services), ",")
	}
	kept, err := chooseServices(services, wanted)
	return &Origin{Address: "https://" + from.Module, Commit: commit, Services: kept}, err
}

const originComment = "#   origin   what this project was made from; make update takes later versions over and writes the commit.\n" +
	"#            Of its services only those that are listed are taken\n"

// newTree returns the files of a new project, and the packages whose tests are left out.
func newTree(files tree, names Names) (tree, []string, error) {
	project, untested, err := transform(files, names)
	if err != nil {
		return nil, nil, err
	}
	comments, _, _ := strings.Cut(string(files[File].content), "\nmodule:")
	head := comments + "\n"
	if !strings.Contains(head, originComment) {
		head += originComment
	}
	text, err := names.format([]byte(head))
	if err != nil {
		return nil, nil, err
	}
	project[File] = entry{regular, text}
	project[changelogFile] = entry{regular, []byte(changelog(names.Module))}
	project[noticeFile] = entry{regular, []byte(notice(string(files[noticeFile].content), names))}
	return project, untested, nil
}

// changelog returns a changelog without a release.
func changelog(module string) string {
	return `# Changelog

All notable changes, in the form of [Keep a Changelog](https://keepachangelog.com/en/1.1.0/). Versions follow
[Semantic Versioning](https://semver.org/spec/v2.0.0.html).

## [Unreleased]

[Unreleased]: https://` + module + `/commits/main
`
}

// notice returns the attribution that the licence asks for, after that of the origin.
func notice(origins string, names Names) string {
	return origins + fmt.Sprintf("%s was made from %s, commit %s, under the Apache License, Version 2.0, and was changed since.\n",
		names.Title, names.Origin.Address, names.Origin.Commit)
}

// build makes the project beside its directory, and moves it there at last.
func (t Tool) build(ctx context.Context, dir string, project tree, names Names) (err error) {
	temporary, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(temporary)
		}
	}()
	if err := os.Chmod(temporary, 0o755); err != nil { // #nosec G302 -- as git clone makes it
		return err
	}
	if err := writeTree(ctx, temporary, project); err != nil {
		return err
	}
	if _, err := git(ctx, temporary, "-c", "init.defaultBranch=main", "init", "--quiet"); err != nil {
		return err
	}
	t.say("%d files of %s are written; making what is generated from the names and services, which takes some minutes the first time.", len(project), names.Title)
	if err := t.Generate(ctx, temporary, t.Out); err != nil {
		return err
	}
	if err := commit(ctx, temporary, names); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return os.Rename(temporary, dir)
}

// commit makes the first commit of a project.
func commit(ctx context.Context, dir string, names Names) error {
	message := fmt.Sprintf("Begin %s\n\nMade from %s, commit %s.", names.Title, names.Origin.Address, names.Origin.Commit)
	if _, err := git(ctx, dir, "add", "--all"); err != nil {
		return err
	}
	_, err := git(ctx, dir, "commit", "--quiet", "--message", message)
	return err
}

// writeTree writes files into an empty directory.
func writeTree(ctx context.Context, dir string, files tree) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := writeEntry(root, name, files[name]); err != nil {
			return err
		}
	}
	return nil
}
