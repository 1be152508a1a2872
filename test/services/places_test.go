package services

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

const root = "../.."

// Every module under services is listed, in the workspace, and known to make.
func TestTheListHasEveryService(t *testing.T) {
	all, err := Read(root)
	require.NoError(t, err)
	listed := Names(all)
	require.ElementsMatch(t, folders(t, "services/*/go.mod"), listed)

	var used []string
	for _, use := range regexp.MustCompile(`(?m)^\s*(?:use )?\./services/(\S+)$`).FindAllStringSubmatch(read(t, "go.work"), -1) {
		used = append(used, use[1])
	}
	require.ElementsMatch(t, listed, used, "go.work: run go work use ./services/NAME")

	command := exec.CommandContext(t.Context(), "make", "--no-print-directory", "--eval", "print: ; @echo $(SERVICES)", "print")
	command.Dir = root
	output, err := command.Output()
	require.NoError(t, err)
	require.ElementsMatch(t, listed, strings.Fields(string(output)))
}

// The ports are the defaults of the services.
func TestPortsAreTheDefaults(t *testing.T) {
	all, err := Read(root)
	require.NoError(t, err)
	taken := map[int]string{}
	for _, s := range all {
		var config struct {
			Server struct {
				HTTPPort  int `yaml:"HttpPort"`
				AdminPort int `yaml:"AdminPort"`
			} `yaml:"Server"`
		}
		require.NoError(t, yaml.Unmarshal([]byte(read(t, "deploy/config/"+s.Name+".yaml")), &config))
		require.Equal(t, s.Port, config.Server.HTTPPort, s.Name)
		require.Equal(t, s.AdminPort, config.Server.AdminPort, s.Name)
		for _, port := range []int{s.Port, s.AdminPort} {
			require.Empty(t, taken[port], "%d is the port of %s, too", port, s.Name)
			taken[port] = s.Name
		}
	}
}

// The paths are the prefixes of the routes that the services describe as public.
func TestPathsAreThePublicRoutes(t *testing.T) {
	all, err := Read(root)
	require.NoError(t, err)
	owner := map[string]string{}
	for _, s := range all {
		var description struct{ Paths map[string]any }
		require.NoError(t, json.Unmarshal([]byte(read(t, "services/"+s.Name+"/docs/openapi.json")), &description))
		used := map[string]bool{}
		for route := range description.Paths {
			prefix := s.prefix(route)
			used[prefix] = true
			require.Equal(t, strings.HasPrefix(route, "/internal/"), prefix == "", "%s of %s is public and not below its paths, or internal and below them", route, s.Name)
		}
		for _, path := range s.Paths {
			require.True(t, used[path], "%s has no route below %s", s.Name, path)
			require.Empty(t, owner[path], "%s is a path of %s, too", path, s.Name)
			owner[path] = s.Name
		}
	}
}

// prefix returns the path of s that a route is below, or "".
func (s Service) prefix(route string) string {
	for _, path := range s.Paths {
		if route == path || strings.HasPrefix(route, path+"/") {
			return path
		}
	}
	return ""
}

// The files that exist once for each service are those of the list.
func TestThereIsAFileForEveryService(t *testing.T) {
	all, err := Read(root)
	require.NoError(t, err)
	for _, pattern := range []string{
		"deploy/config/*.yaml", "deploy/systemd/achilles@*.socket", "services/*/main.go", "services/*/docs/openapi.json", "services/*/internal/bootstrap/bootstrap.go", "services/*/migrations/migrations.go",
	} {
		require.ElementsMatch(t, Names(all), folders(t, pattern), pattern)
	}
}

// The chart has a copy of the list, and the overlays are made of the chart.
func TestChartAndOverlaysHaveEveryService(t *testing.T) {
	require.Equal(t, read(t, File), read(t, "deploy/helm/achilles/files/services.yaml"), "the chart's copy is stale: run make generate")
	all, err := Read(root)
	require.NoError(t, err)
	var base strings.Builder
	require.NoError(t, filepath.WalkDir(filepath.Join(root, "deploy/kustomize/base"), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path) // #nosec G304,G122 -- a file of the repository
		base.Write(text)
		return err
	}))
	for _, s := range all {
		require.True(t, strings.Contains(base.String(), "achilles-blog/"+s.Name), "deploy/kustomize/base lacks %s: run make generate", s.Name)
	}
}

// folders returns what the star of a pattern stands for in the paths that exist.
func folders(t *testing.T, pattern string) []string {
	t.Helper()
	before, after, _ := strings.Cut(filepath.Join(root, pattern), "*")
	paths, err := filepath.Glob(before + "*" + after)
	require.NoError(t, err)
	require.NotEmpty(t, paths, pattern)
	var names []string
	for _, path := range paths {
		names = append(names, strings.TrimSuffix(strings.TrimPrefix(path, before), after))
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path)) // #nosec G304 -- a file of the repository
	require.NoError(t, err)
	return string(text)
}
