package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const repository = "../.."

// As docker build --check does.
func TestBuildKitWarnsOfNothing(t *testing.T) {
	text := dockerfile(t)
	options := convertOptions("tag", v1.Platform{OS: "linux", Architecture: "amd64"})
	options.SourceMap = llb.NewSourceMap(nil, "Dockerfile", "Dockerfile", text)
	options.SourceMap.Definition = &llb.Definition{}
	result, err := dockerfile2llb.DockerfileLint(t.Context(), text, options)
	require.NoError(t, err)
	assert.Nil(t, result.Error)
	for _, warning := range result.Warnings {
		assert.Fail(t, warning.RuleName, warning.Detail)
	}
}

func dockerfile(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "services", "Dockerfile"))
	require.NoError(t, err)
	return text
}

// arguments are what make images passes to the Dockerfile.
func arguments(service string) map[string]string {
	all := stamp()
	all["SERVICE"] = service
	return all
}

// dockerConfig is the configuration that BuildKit gives the image.
func dockerConfig(t *testing.T, service string, platform v1.Platform) v1.Config {
	t.Helper()
	result, err := dockerfile2llb.Dockerfile2LLB(t.Context(), dockerfile(t), convertOptions(service, platform))
	require.NoError(t, err)
	text, err := json.Marshal(result.Image.Config)
	require.NoError(t, err)
	var config v1.Config
	require.NoError(t, json.Unmarshal(text, &config))
	return config
}

func convertOptions(service string, platform v1.Platform) dockerfile2llb.ConvertOpt {
	target := ocispec.Platform{OS: platform.OS, Architecture: platform.Architecture}
	return dockerfile2llb.ConvertOpt{
		Config:         dockerui.Config{BuildArgs: arguments(service), BuildPlatforms: []ocispec.Platform{{OS: "linux", Architecture: "amd64"}}},
		TargetPlatform: &target,
		MetaResolver:   noRegistry{},
	}
}

// noRegistry returns what the Dockerfile needs to know of the compiler's image,
// instead of the registry that has it.
type noRegistry struct{}

func (noRegistry) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config := []byte(`{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/usr/local/go/bin:/usr/bin:/bin","GOTOOLCHAIN=local"]}}`)
	return ref, digest.FromBytes(config), config, nil
}

// build runs the first stage of the Dockerfile with a directory as its root, and
// returns the directory of /image. The context is what .dockerignore leaves of
// the repository.
func build(t *testing.T, service string) string {
	t.Helper()
	parsed, err := parser.Parse(bytes.NewReader(dockerfile(t)))
	require.NoError(t, err)
	stages, _, err := instructions.Parse(parsed.AST, nil)
	require.NoError(t, err)
	require.Len(t, stages, 2)
	s := stage{t: t, context: buildContext(t), root: t.TempDir(), dir: "/", env: map[string]string{}}
	s.given = arguments(service)
	s.given["TARGETOS"], s.given["TARGETARCH"] = "linux", runtime.GOARCH
	for _, command := range stages[0].Commands {
		s.do(command)
	}
	return filepath.Join(s.root, "image")
}

type stage struct {
	t             *testing.T
	context, root string
	dir           string
	given, env    map[string]string
}

func (s *stage) do(command instructions.Command) {
	s.t.Helper()
	switch command := command.(type) {
	case *instructions.WorkdirCommand:
		s.dir = s.expand(command.Path)
		require.NoError(s.t, os.MkdirAll(filepath.Join(s.root, s.dir), 0o755))
	case *instructions.EnvCommand:
		for _, pair := range command.Env {
			s.env[pair.Key] = pair.Value
		}
	case *instructions.ArgCommand:
		for _, arg := range command.Args {
			s.env[arg.Key] = cmp.Or(s.given[arg.Key], arg.ValueString())
		}
	case *instructions.CopyCommand:
		for _, source := range command.SourcePaths {
			require.NoError(s.t, os.CopyFS(filepath.Join(s.root, s.dir, s.expand(command.DestPath)), os.DirFS(filepath.Join(s.context, s.expand(source)))))
		}
	case *instructions.RunCommand:
		s.run(strings.ReplaceAll(strings.Join(command.CmdLine, " "), "/image", filepath.Join(s.root, "image")))
	default:
		require.Fail(s.t, "this test does not know "+command.Name()+": teach it", command)
	}
}

func (s *stage) expand(text string) string {
	return os.Expand(text, func(name string) string { return s.env[name] })
}

func (s *stage) run(script string) {
	s.t.Helper()
	shell := exec.CommandContext(s.t.Context(), "sh", "-c", script)
	shell.Dir, shell.Env = filepath.Join(s.root, s.dir), os.Environ()
	for name := range maps.Keys(s.env) {
		shell.Env = append(shell.Env, fmt.Sprintf("%s=%s", name, s.env[name]))
	}
	output, err := shell.CombinedOutput()
	require.NoError(s.t, err, "%s\n%s", script, output)
}

// buildContext copies what .dockerignore leaves of the repository.
func buildContext(t *testing.T) string {
	t.Helper()
	file, err := os.Open(filepath.Join(repository, ".dockerignore"))
	require.NoError(t, err)
	defer func() { _ = file.Close() }()
	patterns, err := ignorefile.ReadAll(file)
	require.NoError(t, err)
	ignored, err := patternmatcher.New(patterns)
	require.NoError(t, err)
	dir := t.TempDir()
	tree := os.DirFS(repository)
	require.NoError(t, fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		skip, err := ignored.MatchesOrParentMatches(path)
		if err != nil || skip {
			return err
		}
		body, err := fs.ReadFile(tree, path)
		if err != nil {
			return err
		}
		target := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
			return err
		}
		return os.WriteFile(target, body, 0o600)
	}))
	return dir
}

func TestTheContextIsNoMoreThanWhatIsCompiled(t *testing.T) {
	err := fs.WalkDir(os.DirFS(buildContext(t)), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		assert.Regexp(t, `^(pkg|services)/.*\.(go|mod|sum|sql|json|html|js)$`, path)
		assert.NotContains(t, path, "_test.go")
		return nil
	})
	require.NoError(t, err)
}
