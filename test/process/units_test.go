package process_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/test/process"
)

// deploy is the directory of the files for hosts without Kubernetes.
const deploy = "../../deploy"

// read returns a file of deploy with some texts replaced, each of which must be there.
func read(t *testing.T, path string, replace ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(deploy, path))
	require.NoError(t, err)
	text := string(content)
	for i := 0; i < len(replace); i += 2 {
		require.Contains(t, text, replace[i], path)
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	return text
}

func write(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755)) // #nosec G301 -- for the account of the units
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// systemd knows each key of the units, and finds little that they leave open.
func TestUnitsAreValidAndHardened(t *testing.T) {
	dir := t.TempDir()
	units, err := os.ReadDir(filepath.Join(deploy, "systemd"))
	require.NoError(t, err)
	verify := []string{"verify", "--man=no", "--recursive-errors=no", "./achilles@tag.service"}
	for _, unit := range units {
		text := read(t, "systemd/"+unit.Name())
		write(t, filepath.Join(dir, unit.Name()), strings.ReplaceAll(text, "/opt/achilles/bin/%i", "/bin/true")) // verify wants programs
		if strings.HasSuffix(unit.Name(), ".socket") {
			verify = append(verify, "./"+unit.Name())
		}
	}
	require.Empty(t, process.Tool(t, dir, nil, "systemd-analyze", verify...))
	// At most 1.5 of 10. A service without any protection has 9.6.
	process.Tool(t, dir, nil, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", "./achilles@.service")
}
