// Package command implements the command line of a service: serve, migrate, recount, epoch, config, healthcheck, version and help, with a flag
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
	"sync/atomic"
	"syscall"
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
	// Epoch prints the epoch of the service's feed of changes, which it may replace first. Its context is that of Migrate. If Epoch is
	// nil, there is no command epoch.
	Epoch func(ctx context.Context, run Run[C], options EpochOptions) error
	// Commands returns further commands.
	Commands func(bind Bind[C]) []*cobra.Command
}

// EpochOptions are the flags of the command epoch.
type EpochOptions struct {
	// New gives the feed of changes a new epoch, after the database was restored from a backup.
	New bool
	// Lost is how many ids, and revisions of each object, New leaves out: at least as many as the lost writes had.
	Lost uint64
}

// Bind adds the flags of serve to cmd, makes it call work with the settings that serve would have, and returns cmd.
type Bind[C any] func(cmd *cobra.Command, work func(config C, args []string) error) *cobra.Command

// Run holds the inputs of Serve, Migrate, Recount and Epoch.
type Run[C any] struct {
	Config         C
	ConfigFile     string                          // "" for none
	FileContent    []byte                          // what was in it
	Reload         func(content []byte) (C, error) // reads the settings again, with another content of the file, and the same environment and flags
	Sources        func() settings.Sources         // returns the sources of the settings that were last read without an error; may be nil
	Stdout, Stderr io.Writer
	Signals        <-chan os.Signal // SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2 since the command began; nil except in Serve
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
		root.AddCommand(p.onDatabase(newCommand("migrate", "Bring the database's schema up to date and exit"), p.Migrate))
	}
	if p.Recount != nil {
		root.AddCommand(p.onDatabase(newCommand("recount", "Compare counters and indexes in the database with its rows, repair them and exit"), p.Recount))
	}
	if p.Epoch != nil {
		root.AddCommand(p.epoch())
	}
	if p.Commands != nil {
		root.AddCommand(p.Commands(p.bind)...)
	}
	return root
}

// newCommand returns a command that takes flags only.
func newCommand(name, short string) *cobra.Command {
	return &cobra.Command{Use: name, Short: short, Args: noArguments}
}

func (p program[C]) serve() *cobra.Command {
	return p.settings(newCommand("serve", "Run the service until SIGINT, SIGTERM or SIGHUP"), func(load loader[C], _ []string) error {
		signals, stop := lifecycle.Notify(syscall.SIGUSR1, syscall.SIGUSR2)
		defer stop()
		run, err := load()
		if err != nil {
			return err
		}
		run.Signals = signals
		return p.Serve(context.Background(), run)
	})
}

// The bounds of EpochOptions.Lost. The maximum leaves room for a million restores in the integers that JavaScript knows.
const (
	defaultLost = 1_000_000
	maxLost     = 1_000_000_000
)

func (p program[C]) epoch() *cobra.Command {
	cmd := newCommand("epoch", "Print the epoch of the feed of changes, or give it a new one after a restore")
	cmd.Long = "Print the epoch of the feed of changes. After the database was restored from a backup, --new gives the feed a new one, so that its\n" +
		"readers start over: otherwise they would miss changes. It also leaves out the ids and versions (ETags) of what is lost."
	var options EpochOptions
	cmd.Flags().BoolVar(&options.New, "new", false, "give the feed a new epoch; needs an account with the rights that migrate needs")
	cmd.Flags().Uint64Var(&options.Lost, "lost", defaultLost, "how many ids and versions to leave out: at least as many as writes are lost")
	return p.onDatabase(cmd, func(ctx context.Context, run Run[C]) error {
		if options.Lost > maxLost {
			return fmt.Errorf("--lost must be at most %d", maxLost)
		}
		return p.Epoch(ctx, run, options)
	})
}

// onDatabase makes cmd a command with settings whose work ends at the first signal.
func (p program[C]) onDatabase(cmd *cobra.Command, work func(context.Context, Run[C]) error) *cobra.Command {
	return p.settings(cmd, func(load loader[C], _ []string) error {
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
	var latest atomic.Pointer[settings.Sources]
	read := func(content []byte) (C, error) {
		config := p.Defaults()
		sources, err := settings.LoadSources(&config, settings.Source{File: file, Content: content, Flags: flags, Environ: p.environ})
		if err == nil {
			latest.Store(&sources)
		}
		return config, err
	}
	content, _ := settings.ReadFile(file) // LoadSources reports the error
	config, err := read(content)
	sources := func() settings.Sources { return *latest.Load() }
	return Run[C]{Config: config, ConfigFile: file, FileContent: content, Reload: read, Sources: sources, Stdout: p.stdout, Stderr: p.stderr}, err
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
	cmd := newCommand("version", "Show version, commit and build time")
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
	cmd := &cobra.Command{Use: "config", Short: "Print every setting, its meaning and its default as a YAML file", Args: noArguments}
	asJSON := cmd.Flags().Bool("json", false, "as a JSON array, with types, allowed values, and whether a setting changes while the service runs")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		config := p.Defaults()
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), &config)
		}
		text, err := settings.Example(&config)
		if err != nil {
			return err
		}
		_, err = io.WriteString(cmd.OutOrStdout(), text)
		return err
	}
	return cmd
}

func printJSON(to io.Writer, config any) error {
	all, err := settings.Describe(config)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(to)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(all)
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

// Arguments requires one argument, which usage messages call name, or none if
// name is empty. Its errors do not contain the arguments: they may be secrets.
func Arguments(name string) cobra.PositionalArgs {
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
