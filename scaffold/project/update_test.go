package project

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// update updates a project and returns what the tool says, and its error.
func update(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	values := map[string]string{}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		values[name] = value
	}
	updater, out := tool()
	err := updater.Update(t.Context(), dir, values)
	return out.String(), err
}

// changed returns a file of the origin with lines replaced, in pairs.
func changed(name string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(origin()[name])
}

// status fails if the project has other changes than want, in the form of git status.
func status(t *testing.T, dir string, want ...string) {
	t.Helper()
	got := run(t, dir, "git", "-c", "core.quotePath=false", "status", "--porcelain", "--untracked-files=all")
	if got != strings.TrimSpace(strings.Join(want, "\n")) {
		t.Errorf("git status:\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// Both sides have changed. What can be merged is merged, with the project's names, and what is the
// team's own stays.
func TestUpdateMerges(t *testing.T) {
	from := repository(t, origin())
	dir := shop(t, from)
	commitFiles(t, dir, files{
		"README.md":               "# Shop\n\nONE of Shop\ntwo\nthree\nfour\nfive\nsix\n\nhttps://example.com/team/shop has Shop.\n",
		"pkg/go.sum":              "a v1 h1:x=\nb v1 h1:shop=\n",
		"services/cart/main.go":   "package main\n",
		"services/services.yaml":  origin()["services/services.yaml"] + "- name: cart\n  port: 3\n",
		"docs/configuration.md":   "generated: engine, pilot, cart\n",
		"deploy/config/cart.yaml": "cart\n",
		"deploy/compose.yaml":     "services:\n# BEGIN GENERATED services\n  engine: shop/engine\n  cart: shop/cart\n# END GENERATED\nvolumes: {}\n",
		"pkg/metrics.go":          "", // deleted by the team
		"CHANGELOG.md":            "# Changelog\n\n- carts\n",
	})
	later := commitFiles(t, from, files{
		"README.md":                     changed("README.md", "six\n", "SIX of Rocket\n"),
		"pkg/go.sum":                    "a v1 h1:x=\nc v1 h1:rocket=\n",
		"pkg/old.go":                    "",
		"pkg/rocket.go":                 "package pkg\n\nconst Rocket = \"ROCKET\"\n",
		"deploy/helm/rocket/Chart.yaml": "name: rocket\nversion: 2\n",
		"docs/configuration.md":         "generated differently: engine, pilot\n",
		"deploy/compose.yaml":           "services:\n# BEGIN GENERATED services\n  engine: other/engine\n# END GENERATED\nvolumes: {rocket: {}}\n",
		"CHANGELOG.md":                  "# Changelog\n\n- Rocket flies higher\n",
		"docs/performance.svg":          "<svg>2</svg>\n",
		"services/engine/more.go":       "package main\n",
	})

	said, err := update(t, dir, "FROM="+from)
	must(t, err)
	for name, want := range map[string]string{
		"README.md":                   "# Shop\n\nONE of Shop\ntwo\nthree\nfour\nfive\nSIX of Shop\n\nhttps://example.com/team/shop has Shop.\n",
		"pkg/go.sum":                  "a v1 h1:x=\nb v1 h1:shop=\nc v1 h1:shop=\n",
		"pkg/shop.go":                 "package pkg\n\nconst Shop = \"SHOP\"\n",
		"deploy/helm/shop/Chart.yaml": "name: shop\nversion: 2\n",
		"docs/configuration.md":       "generated: engine, pilot, cart\n",
		"deploy/compose.yaml":         "services:\n# BEGIN GENERATED services\n  engine: shop/engine\n  cart: shop/cart\n# END GENERATED\nvolumes: {shop: {}}\n",
		"CHANGELOG.md":                "# Changelog\n\n- carts\n",
	} {
		if got := read(t, dir, name); got != want {
			t.Errorf("%s is\n%s\nwant\n%s", name, got, want)
		}
	}
	status(t, dir, " M PROJECT", " M README.md", " M deploy/compose.yaml", " M deploy/helm/shop/Chart.yaml", " M pkg/go.sum", " D pkg/old.go",
		"?? pkg/shop.go", "?? services/engine/more.go")
	holds(t, said, "merged   README.md\n", "added    pkg/shop.go\n", "deleted  pkg/old.go\n", "updated  deploy/helm/shop/Chart.yaml\n",
		"1 files updated, 3 merged, 2 added, 1 deleted, 0 conflicts", "make test", undo)
	holds(t, read(t, dir, File), "commit: "+later)

	run(t, dir, "git", "add", "--all")
	run(t, dir, "git", "commit", "--quiet", "--message", "Update")
	said, err = update(t, dir, "FROM="+from)
	must(t, err)
	holds(t, said, "There is nothing to do")
	said, err = update(t, dir, "FROM="+from, "REF=HEAD~1")
	must(t, err)
	holds(t, said, "There is nothing to do")
	status(t, dir)
}

// Each conflict is said, and marked in texts as git does; the rest is merged, and nothing generated.
func TestUpdateConflicts(t *testing.T) {
	content := origin()
	content["pkg/data.bin"] = "data\x00"
	from := repository(t, content)
	dir := shop(t, from)
	commitFiles(t, dir, files{
		"README.md":      "# Shop\n\none\ntwo\nours\nfour\nfive\nsix\n\nhttps://example.com/team/shop has Shop.\n",
		"pkg/metrics.go": "", "pkg/old.go": "package pkg // ours\n", "pkg/data.bin": "ours\x00", "pkg/new.go": "package pkg // ours\n",
	})
	later := commitFiles(t, from, files{
		"README.md":      changed("README.md", "three\n", "theirs of Rocket\n"),
		"pkg/metrics.go": "package pkg\n", "pkg/old.go": "", "pkg/data.bin": "theirs\x00", "pkg/new.go": "package pkg // theirs\n",
		"services/engine/more.go": "package main\n",
	})

	generated := false
	updater, out := tool()
	updater.Generate = func(context.Context, string, io.Writer) error { generated = true; return nil }
	err := updater.Update(t.Context(), dir, map[string]string{"FROM": from})
	fails(t, err, "there are conflicts: edit these files, run make generate and commit", undo)
	if generated {
		t.Error("files with conflicts were generated from")
	}
	base := run(t, from, "git", "rev-parse", "HEAD~1")
	if got, want := read(t, dir, "README.md"), "# Shop\n\none\ntwo\n<<<<<<< here\nours\n=======\ntheirs of Shop\n>>>>>>> origin "+later[:12]+"\nfour\nfive\nsix\n\nhttps://example.com/team/shop has Shop.\n"; got != want {
		t.Errorf("README.md is\n%s\nwant\n%s", got, want)
	}
	holds(t, read(t, dir, "pkg/new.go"), "<<<<<<< here\npackage pkg // ours\n=======\npackage pkg // theirs\n>>>>>>> origin")
	if got := read(t, dir, "pkg/data.bin"); got != "ours\x00" {
		t.Errorf("pkg/data.bin is %q", got)
	}
	holds(t, out.String(),
		"conflict README.md was changed in the same lines; they are marked",
		"conflict pkg/metrics.go was deleted here and changed in the origin; it stays deleted",
		"conflict pkg/old.go was deleted in the origin and changed here; it is as here",
		"conflict pkg/data.bin is no text and was changed on both sides; it is as here",
		"conflict pkg/new.go was changed in the same lines; they are marked",
		"added    services/engine/more.go", base[:12], "1 added, 0 deleted, 5 conflicts")
	status(t, dir, " M PROJECT", " M README.md", " M pkg/new.go", "?? services/engine/more.go")

	run(t, dir, "sh", "-c", undo)
	status(t, dir)
	if _, err := update(t, dir, "FROM="+from); err == nil {
		t.Error("after it was undone, the update is no longer needed")
	}
}

// A service that the project has not kept does not come back, nor do new ones of the origin come.
func TestUpdateKeepsServicesOut(t *testing.T) {
	from := repository(t, origin())
	dir := shop(t, from, "SERVICES=engine")
	commitFiles(t, from, files{
		"services/pilot/main.go": "package main // later\n", "services/pilot/new.go": "package main\n", "deploy/config/pilot.yaml": "later\n",
		"services/cook/main.go": "package main\n", "services/services.yaml": origin()["services/services.yaml"] + "- name: cook\n  port: 4\n",
		"go.work": changed("go.work", "\t./services/engine\n", "\t./services/cook\n\t./services/engine\n"),
	})
	_, err := update(t, dir, "FROM="+from)
	must(t, err)
	status(t, dir, " M PROJECT")

	// One that is new comes if the project asks for it.
	run(t, dir, "git", "checkout", "--quiet", ".")
	commitFiles(t, dir, files{File: strings.Replace(read(t, dir, File), "- engine", "- engine\n        - cook", 1)})
	_, err = update(t, dir, "FROM="+from)
	must(t, err)
	status(t, dir, " M PROJECT", " M go.work", " M services/services.yaml", "?? services/cook/main.go")
}

func TestUpdateTakesATagOfAnAddress(t *testing.T) {
	from := repository(t, origin())
	dir := shop(t, from)
	commitFiles(t, from, files{"pkg/old.go": "package pkg // tagged\n"})
	run(t, from, "git", "tag", "v7.0.0")
	commitFiles(t, from, files{"pkg/old.go": "package pkg // later\n"})
	_, err := update(t, dir, "FROM=file://"+from, "REF=v7.0.0")
	must(t, err)
	if got := read(t, dir, "pkg/old.go"); got != "package pkg // tagged\n" {
		t.Errorf("pkg/old.go is %q", got)
	}
}

// What an update can't do is said, and nothing is changed.
func TestUpdateRefuses(t *testing.T) {
	from := repository(t, origin())
	dir := shop(t, from)
	commitFiles(t, from, files{"pkg/old.go": "package pkg // later\n"})
	shallow := t.TempDir()
	run(t, shallow, "git", "clone", "--quiet", "--depth=1", "file://"+from, "clone")
	for arg, want := range map[string]string{
		"FROM=" + filepath.Join(shallow, "clone"): "git fetch --unshallow",
		"FROM=" + t.TempDir():                     "has no version",
		"FROM=" + filepath.Join(shallow, "none"):  "is no directory, and can't be cloned",
		"FROM=--upload-pack=touch /tmp/x":         "is no directory, and can't be cloned",
		"REF=v9":                                  `has no version "v9"`,
		"REF=--output=x":                          `has no version "--output=x"`,
		"COLOUR=red":                              "there is no COLOUR",
	} {
		args := []string{"FROM=" + from, arg}
		if _, err := update(t, dir, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", arg, err, want)
		}
		status(t, dir)
	}

	if _, err := update(t, from, "FROM="+dir); err == nil || !strings.Contains(err.Error(), "names no origin") {
		t.Errorf("a project without origin: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "new"), nil, 0o600))
	_, err := update(t, dir, "FROM="+from)
	fails(t, err, "not committed", "?? new")
	status(t, dir, "?? new")
}

// A directory of the project that is a link to elsewhere is not written to.
func TestUpdateDoesNotFollowLinksOut(t *testing.T) {
	from := repository(t, origin())
	dir := shop(t, from)
	elsewhere := t.TempDir()
	must(t, os.WriteFile(filepath.Join(elsewhere, "old.go"), []byte("package pkg\n"), 0o600))
	must(t, os.RemoveAll(filepath.Join(dir, "pkg")))
	must(t, os.Symlink(elsewhere, filepath.Join(dir, "pkg")))
	commitFiles(t, dir, files{"x": "x\n"})
	commitFiles(t, from, files{"pkg/old.go": "package pkg // later\n", "pkg/new.go": "package pkg\n", "README.md": "new\n"})
	_, err := update(t, dir, "FROM="+from)
	fails(t, err, "nothing was changed")
	status(t, dir)
	left(t, elsewhere, "old.go")
	if got := read(t, elsewhere, "old.go"); got != "package pkg\n" {
		t.Errorf("a file out of the project was changed: %q", got)
	}

	commitFiles(t, from, files{"x": "x\n"})
	must(t, os.Symlink("/etc", filepath.Join(from, "etc")))
	commitFiles(t, from, files{"y": "y\n"})
	_, err = update(t, dir, "FROM="+from)
	fails(t, err, `a link "etc" to "/etc", which is outside of its tree`)
	status(t, dir)
}

// An update that is stopped, or can't write a file, takes everything back.
func TestUpdateTakesChangesBack(t *testing.T) {
	from := repository(t, origin())
	dir := shop(t, from)
	root, err := os.OpenRoot(dir)
	must(t, err)
	defer func() { _ = root.Close() }()
	old := entry{regular, []byte(read(t, dir, "README.md"))}
	changes := []change{
		{path: "README.md", old: old, new: entry{executable, []byte("new")}},
		{path: "a/b/new", new: entry{regular, []byte("new")}},
		{path: "pkg/old.go", old: entry{regular, []byte("package pkg\n")}},
		{path: "README.md/no", new: entry{regular, []byte("new")}},
	}
	fails(t, apply(t.Context(), root, changes), "README.md/no")
	status(t, dir)
	missing(t, dir, "a")

	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := apply(ctx, root, changes[:3]); !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	status(t, dir)

	must(t, apply(t.Context(), root, changes[:3]))
	status(t, dir, " M README.md", " D pkg/old.go", "?? a/b/new")
}

// If generating fails, the update is there, and what to do is said.
func TestUpdateSaysWhenGeneratingFails(t *testing.T) {
	from := repository(t, origin())
	dir := shop(t, from)
	commitFiles(t, from, files{"pkg/old.go": "package pkg // later\n"})
	updater := Tool{io.Discard, func(context.Context, string, io.Writer) error { return errors.New("does not build") }}
	fails(t, updater.Update(t.Context(), dir, map[string]string{"FROM": from}), "does not build", "run make generate and commit", undo)
	status(t, dir, " M PROJECT", " M pkg/old.go")
}
