// Package scaffold_test adds services and resources to a copy of the repository.
package scaffold_test

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
	"time"

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

// A service and resources that are made in a copy of the repository pass their tests on both
// databases and the linter, without an edit; they are described, deployed with the others,
// and served behind the gateway; and they can be removed without a trace.
func TestMadeServices(t *testing.T) {
	if testing.Short() {
		t.Skip("slow test, skipped with -short")
	}
	root := t.TempDir()
	copyRepository(t, root)
	git := func(args ...string) string {
		return run(t, root, "git", append([]string{"-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"}, args...)...)
	}
	git("init", "-q")
	run(t, root, "make", "new-resource", "SERVICE=tag", "RESOURCE=note", "FIELDS=title:string(100)")
	git("add", "-A")
	git("commit", "-q", "-m", "with notes")

	// The next command generates for both.
	runWith(t, root, []string{"SCAFFOLD_GENERATE=true"}, "make", "new-service", "NAME=comment",
		"FIELDS=article_id:uint64 author:string(64) body:text nick:string(30)? seen:time state:state")
	run(t, root, "make", "new-resource", "SERVICE=comment", "RESOURCE=vote", "FIELDS=comment_id:uint64! up:bool score:int64?")

	run(t, root, "go", "test", "-p=4", "./services/comment/...", "./services/tag/internal/note/...", "./services/tag/internal/noteapi/...", "./services/tag/internal/notestore/...",
		"./services/tag/internal/bootstrap/...", "./pkg/errcode/...", "./test/services/...")
	lint(t, filepath.Join(root, "services/comment"), "./...")
	lint(t, filepath.Join(root, "services/tag"), "./internal/note/...", "./internal/noteapi/...", "./internal/notestore/...", "./internal/bootstrap/...")

	for _, objects := range []manifest.Objects{renderChart(t, root), buildOverlay(t, root)} {
		for _, name := range []string{"tag", "article", "comment"} {
			require.Contains(t, objects, "Deployment achilles-"+name)
		}
	}
	t.Run("make run", func(t *testing.T) {
		base := makeRun(t, root)
		for _, path := range []string{"/api/v1/comments", "/api/v1/votes", "/api/v1/notes", "/api/v1/tags", "/api/v1/articles"} {
			var answer struct{ List []any }
			require.NoError(t, json.Unmarshal([]byte(get(t, base+path)), &answer), path)
			require.NotNil(t, answer.List, path)
		}
		description := get(t, base+"/swagger/comment/openapi.json")
		for _, want := range []string{"Achilles comment service", `"VoteCreateRequest"`, `"/api/v1/votes/{id}"`} {
			require.Contains(t, description, want)
		}
	})

	run(t, root, "make", "remove-service", "NAME=comment")
	require.Empty(t, git("status", "--porcelain"))
}

// lint runs the linter, which make lint has built, on packages of a module.
func lint(t *testing.T, module string, packages ...string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(repository, "bin/golangci-lint-*"))
	require.NoError(t, err)
	if len(found) == 0 {
		t.Log("without the linter, which make lint builds")
		return
	}
	linter, err := filepath.Abs(found[0])
	require.NoError(t, err)
	run(t, module, linter, append([]string{"run", "--allow-parallel-runners"}, packages...)...)
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

func run(t *testing.T, root, program string, args ...string) string {
	t.Helper()
	return runWith(t, root, nil, program, args...)
}

func runWith(t *testing.T, root string, environ []string, program string, args ...string) string {
	t.Helper()
	began, cmd := time.Now(), command(t, root, program, args...)
	cmd.Env = append(cmd.Env, environ...)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %s: %s", program, strings.Join(args, " "), output)
	t.Logf("%.1f s: %s %s", time.Since(began).Seconds(), program, strings.Join(args, " "))
	return string(output)
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
