// Package command implements the command line of a service: serve, migrate, config, healthcheck, version and help, with a flag
// for each setting.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/spelling"
)

// Service is a program with a configuration of type C; see package settings.
type Service[C any] struct {
	Name     string // the name of the program
	Summary  string // a description of one line
	Defaults func() C

	// Serve runs the service until a signal.
	Serve func(ctx context.Context, run Run[C]) error
	// Migrate brings the schema of the database up to date. Its context ends at the first signal. If Migrate is nil, there is no
	// command migrate.
	Migrate func(ctx context.Context, run Run[C]) error
	// Recount compares counters and indexes in the database with its rows and repairs them. Its context is that of Migrate. If Recount is
	// nil, there is no command recount.
	Recount func(ctx context.Context, run Run[C]) error
	// Commands returns further commands.
	Commands func(bind Bind[C]) []*cobra.Command
}

// Bind adds the flags of serve to cmd, makes it call work with the settings that serve would have, and returns cmd.
type Bind[C any] func(cmd *cobra.Command, work func(config C, args []string) error) *cobra.Command

// Run holds the inputs of Serve, Migrate and Recount.
type Run[C any] struct {
	Config         C
	Reload         func() (C, error) // reads the settings again, with the same environment and flags
	ConfigFile     string            // "" for none
	Stdout, Stderr io.Writer
	Signals        <-chan os.Signal // SIGINT, SIGTERM and SIGHUP since the command began; nil except in Serve
}

// Main runs the command that args contain, without the program's name. environ holds "NAME=value" entries. Main returns the exit
// code: 0, or 1 after an error, which it prints to stderr, each line with the program's name.
func (s Service[C]) Main(args, environ []string, stdout, stderr io.Writer) int {
	p := program[C]{s, environ, stdout, stderr}
	root := p.root()
	root.SetArgs(append([]string{}, args...)) // not nil: cobra would use os.Args
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.Execute(); err != nil {
		s.print(err, stderr)
		return 1
	}
	return 0
}

// print prints err, for which it waits printTimeout at most: stderr may be a pipe that
// nobody reads.
func (s Service[C]) print(err error, stderr io.Writer) {
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		for line := range strings.Lines(err.Error()) {
			if line = strings.TrimSpace(line); line != "" {
				_, _ = fmt.Fprintf(stderr, "%s: %s\n", s.Name, Printable(line))
			}
		}
	}()
	select {
	case <-printed:
	case <-time.After(printTimeout):
	}
}

const printTimeout = time.Second

type program[C any] struct {
	Service[C]
	environ        []string
	stdout, stderr io.Writer
}

func (p program[C]) root() *cobra.Command {
	root := &cobra.Command{
		Use: p.Name, Short: p.Summary,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              knownCommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return noCommand(cmd) },
	}
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(helpCommand(root))
	root.AddCommand(p.serve(), p.exampleConfig(), versionCommand(), healthcheckCommand())
	if p.Migrate != nil {
		root.AddCommand(p.onDatabase("migrate", "Bring the database's schema up to date and exit", p.Migrate))
	}
	if p.Recount != nil {
		root.AddCommand(p.onDatabase("recount", "Compare counters and indexes in the database with its rows, repair them and exit", p.Recount))
	}
	if p.Commands != nil {
		root.AddCommand(p.Commands(p.bind)...)
	}
	return root
}

func (p program[C]) serve() *cobra.Command {
	return p.withSettings("serve", "Run the service until SIGINT, SIGTERM or SIGHUP", func(load loader[C]) error {
		signals, stop := lifecycle.Notify()
		defer stop()
		run, err := load()
		if err != nil {
			return err
		}
		run.Signals = signals
		return p.Serve(context.Background(), run)
	})
}

// onDatabase returns a command whose work ends at the first signal.
func (p program[C]) onDatabase(name, short string, work func(context.Context, Run[C]) error) *cobra.Command {
	return p.withSettings(name, short, func(load loader[C]) error {
		signals, stop := lifecycle.Notify()
		defer stop()
		run, err := load()
		if err != nil {
			return err
		}
		ctx, cancel := untilSignal(signals, stop)
		defer cancel()
		err = work(ctx, run)
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return err
	})
}

// untilSignal returns a context that ends at the first signal. Another one ends the process at once, unless it follows within
// lifecycle.RepeatInterval. The caller must call the returned function.
func untilSignal(signals <-chan os.Signal, stop func()) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan struct{})
	go func() {
		select {
		case received := <-signals:
			cancel(fmt.Errorf("stopped by signal: %s", received))
		case <-done:
			return
		}
		select {
		case <-time.After(lifecycle.RepeatInterval):
			stop()
		case <-done:
		}
	}()
	return ctx, func() { cancel(nil); close(done) }
}

// loader reads the configuration once.
type loader[C any] func() (Run[C], error)

func (p program[C]) bind(cmd *cobra.Command, work func(config C, args []string) error) *cobra.Command {
	return p.settings(cmd, func(load loader[C], args []string) error {
		run, err := load()
		if err != nil {
			return err
		}
		return work(run.Config, args)
	})
}

func (p program[C]) withSettings(name, short string, run func(loader[C]) error) *cobra.Command {
	return p.settings(&cobra.Command{Use: name, Short: short, Args: noArguments}, func(load loader[C], _ []string) error { return run(load) })
}

// settings adds a flag for each setting to a command.
func (p program[C]) settings(cmd *cobra.Command, run func(load loader[C], args []string) error) *cobra.Command {
	if cmd.Long == "" {
		cmd.Long = cmd.Short + "."
	}
	cmd.Long += "\n\nEach setting is taken from its flag, else from its environment variable, else from the YAML file, " +
		"else it has its default.\nA duration is written as 1m30s; a bare number is seconds."
	config := p.Defaults()
	if secrets := settings.SecretUsages(&config); secrets != "" {
		cmd.Long += "\n\nSecrets have no flags, which can be seen in the list of processes:\n" + strings.TrimSuffix(secrets, "\n")
	}
	own := pflag.NewFlagSet("", pflag.ContinueOnError)
	own.AddFlagSet(cmd.Flags())
	settings.BindFlags(cmd.Flags(), &config)
	cmd.SetUsageFunc(func(cmd *cobra.Command) error { return usage(cmd, own) })
	file := cmd.Flags().String("config", "", fmt.Sprintf("YAML `file` of settings (default none; %s)", settings.FileVariable))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("config") {
			*file = lookup(p.environ, settings.FileVariable)
		}
		return run(func() (Run[C], error) { return p.load(cmd.Flags(), *file) }, args)
	}
	return cmd
}

// usage prints the command's own flags before those of the settings.
func usage(cmd *cobra.Command, own *pflag.FlagSet) error {
	other := pflag.NewFlagSet("", pflag.ContinueOnError)
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		switch {
		case flag.Name == "config", flag.Name == "help":
			own.AddFlag(flag)
		case own.Lookup(flag.Name) == nil:
			other.AddFlag(flag)
		}
	})
	_, err := fmt.Fprintf(cmd.OutOrStderr(), "Usage:\n  %s\n\nFlags:\n%s\nSettings:\n%s", cmd.UseLine(), own.FlagUsages(), other.FlagUsages())
	return err
}

func (p program[C]) load(flags *pflag.FlagSet, file string) (Run[C], error) {
	read := func() (C, error) {
		config := p.Defaults()
		err := settings.Load(&config, settings.Source{File: file, Flags: flags, Environ: p.environ})
		return config, err
	}
	config, err := read()
	return Run[C]{Config: config, Reload: read, ConfigFile: file, Stdout: p.stdout, Stderr: p.stderr}, err
}

func lookup(environ []string, name string) string {
	for _, entry := range environ {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

func versionCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Show version, commit and build time", Args: noArguments}
	asJSON := cmd.Flags().Bool("json", false, "as a JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		info := buildinfo.Get()
		if *asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(info)
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), cmd.Root().Name(), info)
		return err
	}
	return cmd
}

func (p program[C]) exampleConfig() *cobra.Command {
	return &cobra.Command{
		Use: "config", Short: "Print every setting, its meaning and its default as a YAML file", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config := p.Defaults()
			text, err := settings.Example(&config)
			if err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
}

func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [command]", Short: "Show what a command does and its flags",
		RunE: func(_ *cobra.Command, args []string) error {
			found, rest, err := root.Find(args)
			if err == nil {
				err = found.ValidateArgs(rest)
			}
			if err != nil {
				return err
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

func knownCommand(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	if near := spelling.Nearest(args[0], commands(root)); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", near)
	}
	return fmt.Errorf("unknown command %q%s; the commands are %s", args[0], hint, strings.Join(commands(root), ", "))
}

func noCommand(root *cobra.Command) error {
	return fmt.Errorf("no command given; it is one of %s; see %s --help", strings.Join(commands(root), ", "), root.Name())
}

func commands(root *cobra.Command) []string {
	var names []string
	for _, cmd := range root.Commands() {
		names = append(names, cmd.Name())
	}
	return names
}

// noArguments rejects arguments. It does not print them: they may be the rest of a secret that was not quoted.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%s takes flags only, but got %d further argument(s); write a flag as --name=value, a value with spaces in quotes",
		cmd.CommandPath(), len(args))
}

// flagError returns an error of one line, without the flag's value.
func flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	see := fmt.Sprintf("see %s --help", cmd.CommandPath())
	if !cmd.HasParent() {
		see = fmt.Sprintf("write flags after a command, as in %s serve --name=value", cmd.Name())
	}
	var unknown *pflag.NotExistError
	var noValue *pflag.ValueRequiredError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "":
		return fmt.Errorf("unknown flag beginning with a single dash; flags begin with two; %s", see)
	case errors.As(err, &unknown):
		return fmt.Errorf("unknown flag --%s%s; %s", unknown.GetSpecifiedName(), nearestFlag(cmd, unknown.GetSpecifiedName()), see)
	case errors.As(err, &noValue):
		return fmt.Errorf("flag --%s needs a value: write --%[1]s=value; %s", noValue.GetSpecifiedName(), see)
	}
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		if errors.Is(err, settings.ErrSecretFlag) {
			return fmt.Errorf("flag --%s %w", invalid.GetFlag().Name, invalid.Unwrap())
		}
		return fmt.Errorf("flag --%s cannot have that value; %s", invalid.GetFlag().Name, see)
	}
	return fmt.Errorf("a flag is not written as --name=value; %s", see)
}

func nearestFlag(cmd *cobra.Command, name string) string {
	var names []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if !flag.Hidden {
			names = append(names, flag.Name)
		}
	})
	if near := spelling.Nearest(name, names); near != "" {
		return fmt.Sprintf("; did you mean --%s?", near)
	}
	return ""
}
