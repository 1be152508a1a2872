package process

import (
	"os"
	"os/exec"
	"testing"

	"github.com/achilles-blog/achilles/pkg/dbtest"
)

// Installed returns the path of a program of this machine, or skips the test,
// also with -short; where nothing may be left out it fails it.
func Installed(t testing.TB, program string) string {
	t.Helper()
	skipIfShort(t)
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	missing := program + " is not installed"
	if os.Getenv(dbtest.EnvRequire) == "all" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}
