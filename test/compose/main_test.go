// Package compose_test checks docker-compose.yaml and what belongs to it
// without Docker: by Compose's own loader, and by running the services, their
// proxy and their servers with the settings that stand there.
package compose_test

import (
	"context"
	"os"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

const (
	composeFile = "../../docker-compose.yaml"
	folder      = "../../deploy/compose"
)

// load reads the file as Compose does, with nothing of the tester's own
// environment.
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
