//go:build failpoints

package failpoint

import (
	"os"
	"slices"
	"strings"
)

// Enabled reports whether Variable lists the point.
func Enabled(p Point) bool {
	return slices.Contains(strings.Split(os.Getenv(Variable), ","), string(p))
}
