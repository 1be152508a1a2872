package command_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/command"
)

func TestPrintable(t *testing.T) {
	require.Equal(t, `a\x1b]0;b\ac\n\u009b\u202e\u2028\x7f`, command.Printable("a\x1b]0;b\ac\n\u009b\u202e\u2028\x7f"))
	for _, text := range []string{"", "滚动重启 😀👩‍💻 é", `"\'`} {
		require.Equal(t, text, command.Printable(text))
	}
}
