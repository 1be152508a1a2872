package issuer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/spelling"
)

// keyCommand returns the command that prints key sets.
func keyCommand() *cobra.Command {
	cmd := group("key", "Generate and rotate the key set that signs tokens")
	cmd.AddCommand(newKeyCommand(), rotateKeyCommand())
	return cmd
}

func newKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "new", Short: "Print a new key set with one key, for Auth.KeysFile of every service", Args: command.Arguments(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), auth.GenerateKeySet(time.Now()))
			return err
		},
	}
}

func rotateKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate FILE", Short: "Print the key set in FILE (- for stdin) with a new key added", Args: command.Arguments("FILE"),
		Long: "Print the key set in FILE (- for stdin) with a new key, which signs after --in, and without the keys that\n" +
			"stopped signing more than --keep ago. Replace FILE by the output, or use --in-place: the services load it without\n" +
			"a restart. No token is rejected if every replica has the new file before --in has passed.",
	}
	inPlace := cmd.Flags().Bool("in-place", false, "replace FILE, at once and with its owner and mode, instead of printing")
	in := cmd.Flags().Duration("in", 10*time.Minute, "time until the new key signs")
	keep := cmd.Flags().Duration("keep", 24*time.Hour, "how long a key verifies after it stopped signing; at least Auth.Lifetime")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *in < 0 || *keep < 0 {
			return fmt.Errorf("--in and --keep must not be negative")
		}
		switch {
		case *inPlace && args[0] == "-":
			return errors.New("--in-place needs the name of a file, not -")
		case !*inPlace && isOutput(cmd, args[0]):
			return fmt.Errorf("the output is the key set %s itself, which the shell may have emptied already: if it is empty, restore it from a backup; "+
				"use --in-place instead of a redirection", args[0])
		}
		content, err := readInput(cmd, args[0])
		if err != nil {
			return fmt.Errorf("the key set: %w; %s key new prints a new one", err, cmd.Root().Name())
		}
		keySet, err := auth.RotateKeySet(content, time.Now(), *in, *keep)
		if err != nil {
			return fmt.Errorf("the key set %s: %w", args[0], err)
		}
		if *inPlace {
			return replaceFile(args[0], keySet)
		}
		_, err = io.WriteString(cmd.OutOrStdout(), keySet)
		return err
	}
	return cmd
}

// isOutput reports whether the output goes to the input, a file with this name or
// stdin if the name is "-".
func isOutput(cmd *cobra.Command, name string) bool {
	output, ok := cmd.OutOrStdout().(*os.File)
	if !ok {
		return false
	}
	to, err := output.Stat()
	if err != nil || !to.Mode().IsRegular() {
		return false
	}
	from, err := os.Stat(name)
	if input, isFile := cmd.InOrStdin().(*os.File); name == "-" && isFile {
		from, err = input.Stat()
	}
	return err == nil && os.SameFile(from, to)
}

// replaceFile replaces the content of a file: a reader sees the old content or the
// new one. Symbolic links stay, and the new file has the owner and the mode of the
// old one; until then only its owner can read it.
func replaceFile(name, content string) (err error) {
	if name, err = filepath.EvalSymlinks(name); err != nil {
		return err
	}
	old, err := os.Stat(name)
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(name), ".keys-*") // with the mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(file.Name())
		}
	}()
	_, err = file.WriteString(content)
	if owner, ok := old.Sys().(*syscall.Stat_t); ok && err == nil {
		err = file.Chown(int(owner.Uid), int(owner.Gid))
	}
	if err == nil {
		err = file.Chmod(old.Mode().Perm())
	}
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("%s is unchanged: %w", name, err)
	}
	return os.Rename(file.Name(), name)
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
			if near := spelling.Nearest(args[0], names); near != "" {
				hint = fmt.Sprintf("; did you mean %s %s?", cmd.CommandPath(), near)
			}
		}
		return fmt.Errorf("%s needs a command: %s%s; see %[1]s --help", cmd.CommandPath(), strings.Join(names, ", "), hint)
	}
	return cmd
}
