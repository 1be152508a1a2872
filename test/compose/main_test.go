// Package compose_test checks docker-compose.yaml and the files that it mounts
// without Docker: by Compose's own loader, and by running the services, their
// proxy and their servers with the settings of the file.
package compose_test

import (
	"context"
	"os"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/process"
	"github.com/achilles-blog/achilles/test/services"
)

func TestMain(m *testing.M) { process.Main(m) }

const (
	root        = "../.."
	composeFile = root + "/docker-compose.yaml"
	folder      = root + "/deploy/compose"
)

// names returns the names of the services.
func names(t *testing.T) []string {
	t.Helper()
	all, err := services.Read(root)
	require.NoError(t, err)
	return services.Names(all)
}

// load reads the file as Compose does, with an empty environment.
func load(t *testing.T, profiles ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{composeFile}, cli.WithProfiles(profiles), cli.WithEnv(nil), cli.WithResolvedPaths(true))
	require.NoError(t, err)
	project, err := options.LoadProject(context.WithoutCancel(t.Context()))
	require.NoError(t, err)
	return project
}

func service(t *testing.T, project *types.Project, name string) types.ServiceConfig {
	t.Helper()
	s, err := project.GetService(name)
	require.NoError(t, err)
	return s
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}
