package buildinfo

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestComplete(t *testing.T) {
	recorded := &debug.BuildInfo{
		Main: debug.Module{Version: "(devel)"},
		Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: "abc123"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}, {Key: "vcs.modified", Value: "true"},
		},
	}
	installed := &debug.BuildInfo{Main: debug.Module{Version: "v1.4.0"}}
	for name, test := range map[string]struct {
		given    Info
		recorded *debug.BuildInfo
		want     Info
	}{
		"nothing known":        {Info{}, nil, Info{"dev", "unknown", "unknown", runtime.Version()}},
		"recorded":             {Info{}, recorded, Info{"dev", "abc123-dirty", "2026-01-02T03:04:05Z", runtime.Version()}},
		"installed by version": {Info{}, installed, Info{"v1.4.0", "unknown", "unknown", runtime.Version()}},
		"linked":               {Info{Version: "v1", Commit: "c", BuildTime: "t"}, recorded, Info{"v1", "c", "t", runtime.Version()}},
		"partly linked":        {Info{Version: "v1"}, recorded, Info{"v1", "abc123-dirty", "2026-01-02T03:04:05Z", runtime.Version()}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, complete(test.given, test.recorded))
		})
	}
}

// The linker ignores unknown variables, so the names are tested with a real build.
func TestLinkedVersion(t *testing.T) {
	const path = "-X github.com/achilles-blog/achilles/pkg/buildinfo."
	program := filepath.Join(t.TempDir(), "print")
	flags := path + "version=v1.2.3 " + path + "commit=abc123 " + path + "buildTime=2026-01-02T03:04:05Z"
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags", flags, "-o", program, "./testdata/print")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(program).Output()
	require.NoError(t, err)
	line, object, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	require.Equal(t, "v1.2.3 (commit abc123, built 2026-01-02T03:04:05Z, "+runtime.Version()+")", line)
	require.JSONEq(t, `{"version":"v1.2.3","commit":"abc123","build_time":"2026-01-02T03:04:05Z","go_version":"`+runtime.Version()+`"}`, object)
}
