package bootstrap

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// keyCommand prints key sets; where they go is up to the operator.
func keyCommand() *cobra.Command {
	cmd := group("key", "Make and rotate the key set that tokens are signed with")
	cmd.AddCommand(newKeyCommand(), rotateKeyCommand())
	return cmd
}

func newKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "new", Short: "Print a key set with one key, for Auth.KeysFile of both services", Args: arguments(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), auth.GenerateKeySet(time.Now()))
			return err
		},
	}
}

func rotateKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate FILE", Short: "Print the key set in FILE (- for stdin) with a further key", Args: arguments("FILE"),
		Long: "Print the key set in FILE (- for stdin) with one more key, which signs after --in, and without the keys whose " +
			"successor\nhas been signing for longer than --keep. Put the result where FILE came from: the services take it over " +
			"without a restart,\nand no token is refused, as long as --in is longer than the file takes to reach every replica.",
	}
	in := cmd.Flags().Duration("in", 10*time.Minute, "how long until the new key signs")
	keep := cmd.Flags().Duration("keep", 24*time.Hour, "how long a key that signs no more still verifies, at least Auth.Lifetime")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *in < 0 || *keep < 0 {
			return fmt.Errorf("--in and --keep must not be negative")
		}
		content, err := readInput(cmd, args[0])
		if err != nil {
			return fmt.Errorf("the key set: %w; make a new one with article key new", err)
		}
		keySet, err := auth.RotateKeySet(content, time.Now(), *in, *keep)
		if err != nil {
			return fmt.Errorf("the key set %s: %w", args[0], err)
		}
		_, err = io.WriteString(cmd.OutOrStdout(), keySet)
		return err
	}
	return cmd
}

// maxInput is far above any key set or secret.
const maxInput = 1 << 20

// readInput reads a file, or stdin when it is called -.
func readInput(cmd *cobra.Command, name string) ([]byte, error) {
	input := cmd.InOrStdin()
	if name != "-" {
		file, err := os.Open(name) // #nosec G304 -- whoever calls names the file
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		input = file
	}
	content, err := io.ReadAll(io.LimitReader(input, maxInput+1))
	if err == nil && len(content) > maxInput {
		err = fmt.Errorf("%s is longer than %d bytes", name, maxInput)
	}
	return content, err
}

// group is a command that only has others.
func group(name, short string) *cobra.Command {
	cmd := &cobra.Command{Use: name, Short: short}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var names []string
		for _, one := range cmd.Commands() {
			names = append(names, one.Name())
		}
		hint := ""
		if len(args) > 0 {
			if near := settings.Nearest(args[0], names); near != "" {
				hint = fmt.Sprintf("; did you mean %s %s?", cmd.CommandPath(), near)
			}
		}
		return fmt.Errorf("%s needs a command: %s%s; see %[1]s --help", cmd.CommandPath(), strings.Join(names, ", "), hint)
	}
	return cmd
}

// arguments admits the one argument of that name, or none at all. It does not
// repeat what it got: that may be a secret.
func arguments(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case name == "" && len(args) > 0:
			return fmt.Errorf("%s takes flags only, but got %d further argument(s)", cmd.CommandPath(), len(args))
		case name != "" && len(args) != 1:
			return fmt.Errorf("write %s %s, but got %d argument(s)", cmd.CommandPath(), name, len(args))
		}
		return nil
	}
}
