package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// makefile has the targets that deploy/release.sh calls.
const makefile = `
dist:
	mkdir -p dist && for file in tag-linux-amd64 article-linux-amd64; do echo $(VERSION) $(BUILD_TIME) >dist/$$file && chmod +x dist/$$file; done
images:
	mkdir -p dist/images/linux/amd64 && touch dist/images/linux/amd64/tag && echo $(IMAGE_TAG) >dist/images/tag.tar
sbom:
	touch dist/tag.cdx.json
package:
	touch dist/achilles-$(IMAGE_TAG).tgz
.PHONY: dist
`

const changelog = `# Changelog

## [Unreleased]

### Added

- Tags

[Unreleased]: https://example.com/achilles/commits/main
`

// tree is a repository that deploy/release.sh can release.
type tree struct {
	*testing.T
	dir string
}

func newTree(t *testing.T) tree {
	t.Helper()
	r := tree{t, t.TempDir()}
	files := []string{"deploy/release.sh", "LICENSE", "README.md", "services/article/go.mod", "services/tag/go.mod"}
	for _, place := range places(t) {
		files = append(files, place.file)
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(repository, file)) // #nosec G304 -- a file of the repository
		require.NoError(t, err)
		r.write(file, string(text))
	}
	r.write("Makefile", makefile)
	r.write("CHANGELOG.md", changelog)
	r.write(".gitignore", "/dist/\n")
	r.git("init", "--quiet", "--initial-branch=main")
	r.commit()
	return r
}

func (r tree) write(file, text string) {
	r.Helper()
	at := filepath.Join(r.dir, file)
	require.NoError(r, os.MkdirAll(filepath.Dir(at), 0o750))
	require.NoError(r, os.WriteFile(at, []byte(text), 0o600))
}

func (r tree) read(file string) string {
	r.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, file)) // #nosec G304 -- a file of the test
	require.NoError(r, err)
	return string(text)
}

func (r tree) command(name string, args ...string) (string, error) {
	command := exec.CommandContext(r.Context(), name, args...) // #nosec G204 -- the test's own words
	command.Dir = r.dir
	for _, variable := range os.Environ() {
		// These are of the repository and the flags of a hook of git, or of make test.
		if !strings.HasPrefix(variable, "GIT_") && !strings.HasPrefix(variable, "MAKE") {
			command.Env = append(command.Env, variable)
		}
	}
	command.Env = append(command.Env, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "TZ=UTC",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
		"GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
	output, err := command.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

func (r tree) git(args ...string) string {
	r.Helper()
	output, err := r.command("git", args...)
	require.NoError(r, err, "%s", output)
	return output
}

func (r tree) commit() {
	r.Helper()
	r.git("add", "--all")
	r.git("commit", "--quiet", "--message=Change")
}

func (r tree) release(version string) (string, error) {
	return r.command("bash", "deploy/release.sh", version)
}

func TestRelease(t *testing.T) {
	r := newTree(t)
	output, err := r.release("v3.2.1-rc.1")
	require.NoError(t, err, "%s", output)
	assert.Contains(t, output, "git push --atomic origin main v3.2.1-rc.1\n")

	assert.Empty(t, r.git("status", "--porcelain"))
	assert.Equal(t, "Release v3.2.1-rc.1", r.git("log", "-1", "--format=%s", "v3.2.1-rc.1"))
	assert.Equal(t, "Achilles 3.2.1-rc.1\n\n### Added\n\n- Tags", r.git("for-each-ref", "--format=%(contents)", "refs/tags/v3.2.1-rc.1"))
	said, err := r.command("bash", "deploy/release.sh", "versions")
	require.NoError(t, err)
	var want []string
	for _, place := range places(t) {
		want = append(want, place.file+" 3.2.1-rc.1")
	}
	assert.Equal(t, strings.Join(want, "\n"), said)
	assert.Regexp(t, `^# Changelog

## \[Unreleased\]

## \[3\.2\.1-rc\.1\] - \d{4}-\d\d-\d\d

### Added

- Tags

\[Unreleased\]: https://example\.com/achilles/compare/v3\.2\.1-rc\.1\.\.\.HEAD
\[3\.2\.1-rc\.1\]: https://example\.com/achilles/releases/tag/v3\.2\.1-rc\.1
$`, r.read("CHANGELOG.md"))

	const archive = "dist/achilles-3.2.1-rc.1-linux-amd64.tar.gz"
	listed, err := r.command("tar", "--list", "--verbose", "--file="+archive)
	require.NoError(t, err)
	var contents []string
	for line := range strings.Lines(listed) {
		fields := strings.Fields(line)
		contents = append(contents, strings.Join([]string{fields[0], fields[1], fields[3], fields[5]}, " "))
	}
	assert.Equal(t, []string{
		"drwxr-xr-x 0/0 2026-01-02 achilles-3.2.1-rc.1-linux-amd64/",
		"-rw-r--r-- 0/0 2026-01-02 achilles-3.2.1-rc.1-linux-amd64/CHANGELOG.md",
		"-rw-r--r-- 0/0 2026-01-02 achilles-3.2.1-rc.1-linux-amd64/LICENSE",
		"-rw-r--r-- 0/0 2026-01-02 achilles-3.2.1-rc.1-linux-amd64/README.md",
		"-rwxr-xr-x 0/0 2026-01-02 achilles-3.2.1-rc.1-linux-amd64/article",
		"-rwxr-xr-x 0/0 2026-01-02 achilles-3.2.1-rc.1-linux-amd64/tag",
	}, contents)
	stamp, err := r.command("tar", "--extract", "--to-stdout", "--file="+archive, "achilles-3.2.1-rc.1-linux-amd64/tag")
	require.NoError(t, err)
	assert.Equal(t, "v3.2.1-rc.1 2026-01-02T03:04:05Z", stamp)

	checked, err := r.command("sh", "-c", "cd dist && sha256sum --check --strict SHA256SUMS && ls")
	require.NoError(t, err, "%s", checked)
	assert.Equal(t, `achilles-3.2.1-rc.1-image-tag.tar: OK
achilles-3.2.1-rc.1-linux-amd64.tar.gz: OK
achilles-3.2.1-rc.1-tag.cdx.json: OK
achilles-3.2.1-rc.1.tgz: OK
SHA256SUMS
achilles-3.2.1-rc.1-image-tag.tar
achilles-3.2.1-rc.1-linux-amd64.tar.gz
achilles-3.2.1-rc.1-tag.cdx.json
achilles-3.2.1-rc.1.tgz`, checked)
}

// A release that fails leaves the repository as it was.
func TestReleaseFails(t *testing.T) {
	for name, test := range map[string]struct {
		version string
		prepare func(tree)
		says    string
	}{
		"no version":         {"", func(tree) {}, "VERSION is not a version such as v1.2.3"},
		"no v":               {"3.2.1", func(tree) {}, "VERSION 3.2.1 is not a version"},
		"two numbers":        {"v3.2", func(tree) {}, "VERSION v3.2 is not a version"},
		"a leading zero":     {"v3.02.1", func(tree) {}, "VERSION v3.02.1 is not a version"},
		"build metadata":     {"v3.2.1+1", func(tree) {}, "VERSION v3.2.1+1 is not a version"},
		"a changed file":     {"v3.2.1", func(r tree) { r.write("README.md", "changed") }, "the working tree has changes"},
		"an untracked file":  {"v3.2.1", func(r tree) { r.write("new", "") }, "the working tree has changes"},
		"no branch":          {"v3.2.1", func(r tree) { r.git("checkout", "--quiet", "--detach") }, "no branch is checked out"},
		"a tag that exists":  {"v3.2.1", func(r tree) { r.git("tag", "v3.2.1") }, "the tag v3.2.1 exists"},
		"an empty changelog": {"v3.2.1", func(r tree) { r.write("CHANGELOG.md", "## [Unreleased]\n\n## [1.0.0]\n\n- Tags\n"); r.commit() }, "nothing under [Unreleased]"},
		"a step that fails":  {"v3.2.1", func(r tree) { r.write("Makefile", makefile+"\tfalse\npackage:\n\tfalse\n"); r.commit() }, "its commit and its tag were undone"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTree(t)
			test.prepare(r)
			state := func() string {
				return r.git("status", "--branch", "--porcelain") + r.git("show-ref") + r.read("CHANGELOG.md")
			}
			before := state()
			output, err := r.release(test.version)
			require.Error(t, err)
			assert.Contains(t, output, test.says)
			assert.Equal(t, before, state())
		})
	}
}
