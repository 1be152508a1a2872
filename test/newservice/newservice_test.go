// Package newservice_test adds a service to a copy of the repository.
package newservice_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/achilles-blog/achilles/test/manifest"
	"github.com/achilles-blog/achilles/test/process"
)

const repository = "../.."

func TestMain(m *testing.M) { process.Main(m) }

// The commands of docs/new-service.md make a service that builds, passes its
// tests, is deployed with the others and is served behind the gateway.
func TestNewServiceByItsPage(t *testing.T) {
	process.Installed(t, "perl")
	root := t.TempDir()
	copyRepository(t, root)
	page, err := os.ReadFile(filepath.Join(repository, "docs/new-service.md"))
	require.NoError(t, err)
	run(t, root, "sh", "-ec", commands(string(page)))

	for _, objects := range []manifest.Objects{renderChart(t, root), buildOverlay(t, root)} {
		for _, name := range []string{"tag", "article", "comment"} {
			require.Contains(t, objects, "Deployment achilles-"+name)
		}
	}

	base := makeRun(t, root)
	for _, path := range []string{"/api/v1/comments", "/api/v1/tags", "/api/v1/articles"} {
		var answer struct{ List []any }
		require.NoError(t, json.Unmarshal([]byte(get(t, base+path)), &answer), path)
		require.NotNil(t, answer.List, path)
	}
	require.Contains(t, get(t, base+"/swagger/comment/openapi.json"), "Achilles comment service")
}

// commands returns the shell commands of a page, in order.
func commands(page string) string {
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?s)\n( *)```sh\n(.*?)\n *```\n").FindAllStringSubmatch(page, -1) {
		for line := range strings.Lines(block[2] + "\n") {
			script.WriteString(strings.TrimPrefix(line, block[1]))
		}
	}
	return script.String()
}

// copyRepository copies the files of the repository that git knows or would add.
func copyRepository(t *testing.T, to string) {
	t.Helper()
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = repository
	output, err := list.Output()
	require.NoError(t, err)
	for path := range strings.SplitSeq(strings.TrimSuffix(string(output), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(repository, path)) // #nosec G304 -- a file of the repository
		if os.IsNotExist(err) {
			continue // deleted, and not yet committed
		}
		require.NoError(t, err)
		target := filepath.Join(to, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(target), 0o750))
		require.NoError(t, os.WriteFile(target, text, 0o600))
	}
}

// command returns a command in a copy of the repository.
func command(t *testing.T, root, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, args...) // #nosec G204 -- a command of this test
	cmd.Dir = root
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "MAKE") { // the flags of make test
			cmd.Env = append(cmd.Env, variable)
		}
	}
	return cmd
}

func run(t *testing.T, root, program string, args ...string) {
	t.Helper()
	output, err := command(t, root, program, args...).CombinedOutput()
	require.NoError(t, err, "%s", output)
}

func renderChart(t *testing.T, root string) manifest.Objects {
	t.Helper()
	chart, err := loader.Load(filepath.Join(root, "deploy/helm/achilles"))
	require.NoError(t, err)
	values, err := util.ToRenderValues(chart, map[string]any{}, common.ReleaseOptions{Name: "achilles", Namespace: "blog", IsInstall: true}, common.DefaultCapabilities)
	require.NoError(t, err)
	files, err := engine.Render(chart, values)
	require.NoError(t, err)
	var all strings.Builder
	for name, text := range files {
		if filepath.Ext(name) == ".yaml" {
			all.WriteString("---\n" + text + "\n")
		}
	}
	return manifest.Decode(t, all.String())
}

func buildOverlay(t *testing.T, root string) manifest.Objects {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(root, "deploy/kustomize/overlays/dev"))
	require.NoError(t, err)
	text, err := built.AsYaml()
	require.NoError(t, err)
	return manifest.Decode(t, string(text))
}

// makeRun runs make run on a free port until the end of the test and returns the
// address of the gateway.
func makeRun(t *testing.T, root string) string {
	t.Helper()
	where := []string{"PORT=0", "DATA=" + filepath.Join(t.TempDir(), "data")}
	run(t, root, "make", append(where, "claim", "build")...) // so that only the start counts
	cmd := command(t, root, "make", append(where, "run")...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := process.StartCommand(t, cmd)
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		process.Await(t, "make run to end", p.Ended)
	})
	ready := regexp.MustCompile(`(?m)^Achilles is ready on (\S+)$`)
	process.Await(t, "make run to be ready", func() bool { return ready.MatchString(p.Stdout()) || p.Ended() })
	found := ready.FindStringSubmatch(p.Stdout())
	require.NotNil(t, found, p.Stdout()+p.Stderr())
	return found[1]
}

func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answer.StatusCode, "%s: %s", url, body)
	return string(body)
}
