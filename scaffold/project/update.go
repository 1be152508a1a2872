package project

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// undo are the commands that undo an update, which begins without uncommitted changes.
const undo = "git reset --hard && git clean -fd"

// Update merges what has changed in the origin, since the version that the project at root was made
// from or last updated to, into the project's files. It changes nothing if it fails before make
// generate. An error is also returned if there are conflicts.
func (t Tool) Update(ctx context.Context, root string, args map[string]string) error {
	if err := known(args, "FROM", "REF"); err != nil {
		return err
	}
	names, err := ofProject(root)
	if err != nil {
		return err
	}
	if err := clean(ctx, root); err != nil {
		return err
	}
	changes, commit, err := t.merged(ctx, root, names, args)
	switch {
	case err != nil && ctx.Err() != nil:
		return errors.New("stopped; nothing was changed")
	case err != nil:
		return fmt.Errorf("%w; nothing was changed", err)
	case commit == "":
		t.say("There is nothing to do: this project has everything of the origin up to commit %.12s.", names.Origin.Commit)
		return nil
	}
	return t.finish(ctx, root, changes, names.Origin.Commit, commit)
}

// merged merges the version of the origin that args name into the project's files, and returns what it
// has changed and the commit, which is "" if the project has it already.
func (t Tool) merged(ctx context.Context, root string, names Names, args map[string]string) ([]change, string, error) {
	from := args["FROM"]
	if from == "" {
		from = names.Origin.Address
	}
	repository, release, err := openOrigin(ctx, root, from)
	if err != nil {
		return nil, "", err
	}
	defer release()
	commit, err := versions(ctx, repository, from, args["REF"], names.Origin.Commit)
	if err != nil || commit == "" {
		return nil, "", err
	}
	changes, err := merge(ctx, root, repository, names, commit)
	return changes, commit, err
}

// ofProject returns the names of the project at root, which has an origin.
func ofProject(root string) (Names, error) {
	text, err := os.ReadFile(filepath.Join(root, File)) // #nosec G304 -- a file of the repository
	if err != nil {
		return Names{}, err
	}
	names, err := parseNames(text)
	if err == nil && names.Origin == nil {
		err = fmt.Errorf("%s names no origin: only a project that make new-project has made can be updated", File)
	}
	return names, err
}

// clean returns an error if something is not committed.
func clean(ctx context.Context, root string) error {
	changes, err := git(ctx, root, "status", "--porcelain", "--", ".")
	if err == nil && changes != "" {
		err = fmt.Errorf("there are changes that are not committed, so an update could not be undone: commit them or git stash --include-untracked\n%s", changes)
	}
	return err
}

// openOrigin returns a directory that git reads the origin from: itself, or a copy if from is an
// address. release must be called.
func openOrigin(ctx context.Context, root, from string) (repository string, release func(), err error) {
	local := from
	if !filepath.IsAbs(local) {
		local = filepath.Join(root, local)
	}
	if info, err := os.Stat(local); err == nil && info.IsDir() {
		return local, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "origin-")
	if err != nil {
		return "", nil, err
	}
	release = func() { _ = os.RemoveAll(dir) }
	if _, err := git(ctx, root, "clone", "--quiet", "--bare", "--", from, dir); err != nil {
		release()
		return "", nil, fmt.Errorf("FROM=%s is no directory, and can't be cloned: %w", from, err)
	}
	return dir, release, nil
}

// versions returns the commit to update to, or "" if the project has it already.
func versions(ctx context.Context, repository, from, ref, base string) (string, error) {
	if ref == "" {
		ref = "HEAD"
	}
	commit, err := git(ctx, repository, "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}")
	if err != nil {
		return "", fmt.Errorf("%s has no version %q (a tag, a branch or a commit): give another REF=, or git fetch there", from, ref)
	}
	if commit == base {
		return "", nil
	}
	if _, err := git(ctx, repository, "cat-file", "-e", base+"^{commit}"); err != nil {
		return "", fmt.Errorf("%s has no commit %.12s, which this project was made from or last updated to: "+
			"run git fetch --unshallow there if it is a shallow clone, or give the FROM= that has it", from, base)
	}
	if _, err := git(ctx, repository, "merge-base", "--is-ancestor", commit, base); err == nil {
		return "", nil
	}
	return commit, nil
}

// merge merges the versions of the origin into the project's files, with the commit in PROJECT.
func merge(ctx context.Context, root, repository string, names Names, commit string) ([]change, error) {
	m := merger{name: names.Name, labels: [3]string{"here", fmt.Sprintf("origin %.12s", names.Origin.Commit), fmt.Sprintf("origin %.12s", commit)}}
	for _, side := range []struct {
		files  *tree
		commit string
	}{{&m.base, names.Origin.Commit}, {&m.later, commit}} {
		files, err := readTree(ctx, repository, side.commit)
		if err != nil {
			return nil, err
		}
		if *side.files, _, err = transform(files, names); err != nil {
			return nil, fmt.Errorf("version %.12s of the origin: %w", side.commit, err)
		}
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	changes, err := m.plan(ctx, dir)
	if err != nil {
		return nil, err
	}
	project, err := readEntry(dir, File)
	if err != nil {
		return nil, err
	}
	recorded := entry{project.kind, []byte(strings.ReplaceAll(string(project.content), names.Origin.Commit, commit))}
	return changes, apply(ctx, dir, append(slices.Clip(changes), change{path: File, old: project, new: recorded}))
}

// finish says what an update has changed and brings generated files up to date.
func (t Tool) finish(ctx context.Context, root string, changes []change, base, commit string) error {
	count := map[string]int{}
	for _, c := range changes {
		count[c.kind]++
		if c.kind == "conflict" {
			t.say("%-8s %s %s", c.kind, c.path, c.reason)
		} else {
			t.say("%-8s %s", c.kind, c.path)
		}
	}
	t.say("From commit %.12s to %.12s of the origin: %d files updated, %d merged, %d added, %d deleted, %d conflicts.",
		base, commit, count["updated"], count["merged"], count["added"], count["deleted"], count["conflict"])
	if count["conflict"] > 0 {
		return fmt.Errorf("there are conflicts: edit these files, run make generate and commit. To undo the update: %s", undo)
	}
	if err := t.Generate(ctx, root, t.Out); err != nil {
		return fmt.Errorf("%w. What the update has changed is there: correct it, run make generate and commit; or undo it: %s", err, undo)
	}
	t.say("Look at it with git diff, run make test, and commit. To undo the update: %s", undo)
	return nil
}
