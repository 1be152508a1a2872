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

// keyCommand returns the command that prints key sets.
func keyCommand() *cobra.Command {
	cmd := group("key", "Generate and rotate the key set that signs tokens")
	cmd.AddCommand(newKeyCommand(), rotateKeyCommand())
	return cmd
}

func newKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "new", Short: "Print a new key set with one key, for Auth.KeysFile of every service", Args: arguments(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), auth.GenerateKeySet(time.Now()))
			return err
		},
	}
}

func rotateKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate FILE", Short: "Print the key set in FILE (- for stdin) with a new key added", Args: arguments("FILE"),
		Long: "Print the key set in FILE (- for stdin) with a new key, which signs after --in, and without the keys that\n" +
			"stopped signing more than --keep ago. Replace FILE by the output: the services load it without a restart.\n" +
			"No token is rejected if every replica has the new file before --in has passed.",
	}
	in := cmd.Flags().Duration("in", 10*time.Minute, "time until the new key signs")
	keep := cmd.Flags().Duration("keep", 24*time.Hour, "how long a key verifies after it stopped signing; at least Auth.Lifetime")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *in < 0 || *keep < 0 {
			return fmt.Errorf("--in and --keep must not be negative")
		}
		content, err := readInput(cmd, args[0])
		if err != nil {
			return fmt.Errorf("the key set: %w; article key new prints a new one", err)
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

// maxInput is the maximum size of a key set or secret in bytes.
const maxInput = 1 << 20

// readInput reads the file with this name, or stdin if the name is "-".
func readInput(cmd *cobra.Command, name string) ([]byte, error) {
	input := cmd.InOrStdin()
	if name != "-" {
		file, err := os.Open(name) // #nosec G304 -- the user names the file
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

// group returns a command that only has subcommands.
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

// arguments requires one argument, which usage messages call name, or none if
// name is empty. Its errors do not contain the arguments: they may be secrets.
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
