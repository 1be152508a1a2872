package command_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/settings"
)

func TestMain(m *testing.M) {
	// os/signal starts this goroutine once and never ends it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("os/signal.signal_recv"), goleak.IgnoreTopFunction("os/signal.loop"))
}

type config struct {
	Server struct {
		HTTPPort int           `mapstructure:"HttpPort" usage:"port to serve on"`
		Timeout  time.Duration `mapstructure:"Timeout" usage:"time for a request" live:"true"`
		TLS      bool          `mapstructure:"TLS" usage:"whether to encrypt"`
	} `mapstructure:"Server"`
	Database struct {
		Password     settings.Secret `mapstructure:"Password" usage:"password of the database"`
		PasswordFile string          `mapstructure:"PasswordFile" usage:"file with the password of the database"`
	} `mapstructure:"Database"`
}

func defaults() config {
	var c config
	c.Server.HTTPPort = 8000
	c.Server.Timeout = 15 * time.Second
	return c
}

// result is the result of a command line.
type result struct {
	code           int
	stdout, stderr string
	served         *command.Run[config]
	migrated       *command.Run[config]
}

type run = command.Run[config]

// runMain runs a service whose commands record their inputs and call check, if it is not nil.
func runMain(args, environ []string, check func(ctx context.Context, run run) error) result {
	var r result
	note := func(into **run) func(context.Context, run) error {
		return func(ctx context.Context, given run) error {
			*into = &given
			if check != nil {
				return check(ctx, given)
			}
			return nil
		}
	}
	service := command.Service[config]{
		Name: "tag", Summary: "The tag service", Defaults: defaults, Serve: note(&r.served), Migrate: note(&r.migrated),
	}
	var stdout, stderr bytes.Buffer
	r.code = service.Main(args, environ, &stdout, &stderr)
	r.stdout, r.stderr = stdout.String(), stderr.String()
	return r
}

// What the command config prints is the configuration that serve has without it.
func TestConfigPrintsTheDefaults(t *testing.T) {
	printed := runMain([]string{"config"}, []string{"ACHILLES_SERVER_HTTPPORT=3"}, nil)
	require.Zero(t, printed.code, printed.stderr)
	file := filepath.Join(t.TempDir(), "tag.yaml")
	require.NoError(t, os.WriteFile(file, []byte(printed.stdout), 0o600))
	r := runMain([]string{"serve", "--config", file}, nil, nil)
	require.Zero(t, r.code, r.stderr)
	require.Equal(t, defaults(), r.served.Config)
}

func TestConfigAsJSON(t *testing.T) {
	printed := runMain([]string{"config", "--json"}, nil, nil)
	require.Zero(t, printed.code, printed.stderr)
	var all []settings.Description
	require.NoError(t, json.Unmarshal([]byte(printed.stdout), &all))
	require.Equal(t, settings.Description{
		Key: "Server.Timeout", Variable: "ACHILLES_SERVER_TIMEOUT", Flag: "--server.timeout", Type: "duration", Value: "15s", Usage: "time for a request", Live: true,
	}, all[1])
}

func TestServeAndMigrateGetTheSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tag.yaml")
	require.NoError(t, os.WriteFile(file, []byte("Server: {HttpPort: 1, Timeout: 2}"), 0o600))
	environ := []string{"ACHILLES_SERVER_HTTPPORT=3"}

	r := runMain([]string{"serve", "--config", file, "--Server.TLS"}, environ, nil)
	require.Equal(t, result{code: 0, served: r.served}, r)
	require.Equal(t, 3, r.served.Config.Server.HTTPPort)
	require.Equal(t, 2*time.Second, r.served.Config.Server.Timeout)
	require.True(t, r.served.Config.Server.TLS)
	require.Equal(t, file, r.served.ConfigFile)
	require.NotNil(t, r.served.Signals)
	require.NotNil(t, r.served.Stdout)
	require.NotNil(t, r.served.Stderr)

	r = runMain([]string{"migrate", "--server.httpport=4"}, append(environ, "ACHILLES_CONFIG="+file), nil)
	require.Equal(t, result{code: 0, migrated: r.migrated}, r)
	require.Equal(t, 4, r.migrated.Config.Server.HTTPPort)
	require.Equal(t, 2*time.Second, r.migrated.Config.Server.Timeout)
	require.Equal(t, file, r.migrated.ConfigFile)
	require.Nil(t, r.migrated.Signals)
}

func TestEpoch(t *testing.T) {
	for flags, want := range map[string]command.EpochOptions{
		"": {Lost: 1_000_000}, "--new": {New: true, Lost: 1_000_000}, "--new --lost=1000000000": {New: true, Lost: 1_000_000_000}, "--lost=0": {},
	} {
		var got command.EpochOptions
		service := command.Service[config]{Name: "tag", Defaults: defaults, Epoch: func(_ context.Context, run run, options command.EpochOptions) error {
			require.Equal(t, 4, run.Config.Server.HTTPPort)
			got = options
			return nil
		}}
		var out bytes.Buffer
		require.Zero(t, service.Main(append([]string{"epoch", "--server.httpport=4"}, strings.Fields(flags)...), nil, &out, &out), out.String())
		require.Equal(t, want, got)
		out.Reset()
		require.Equal(t, 1, service.Main([]string{"epoch", "--lost=1000000001"}, nil, &out, &out))
		require.Equal(t, "tag: --lost must be at most 1000000000\n", out.String())
	}
	require.Contains(t, runMain([]string{"epoch"}, nil, nil).stderr, "unknown command", "a service without a feed")
}

func TestFlagsBeforeTheCommand(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("hunter2"), 0o600))
	r := runMain([]string{"--server.httpport=1", "--database.passwordfile", file, "serve"}, nil, nil)
	require.Equal(t, 0, r.code, r.stderr)
	require.Equal(t, 1, r.served.Config.Server.HTTPPort)
	require.Equal(t, "hunter2", r.served.Config.Database.Password.Reveal())
}

func TestConfigFlagOverridesVariable(t *testing.T) {
	environ := []string{"ACHILLES_CONFIG=/nowhere.yaml"}
	require.Equal(t, 1, runMain([]string{"serve"}, environ, nil).code)
	r := runMain([]string{"serve", "--config="}, environ, nil)
	require.Equal(t, 0, r.code, r.stderr)
	require.Equal(t, defaults(), r.served.Config)
}

func TestReload(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tag.yaml")
	require.NoError(t, os.WriteFile(file, []byte("Server: {Timeout: 2}"), 0o600))
	r := runMain([]string{"serve", "--config", file, "--server.httpport=5"}, []string{"ACHILLES_SERVER_TLS=true"}, func(_ context.Context, run run) error {
		require.Equal(t, 2*time.Second, run.Config.Server.Timeout)
		require.Equal(t, "Server: {Timeout: 2}", string(run.FileContent))
		again, err := run.Reload([]byte("Server: {Timeout: 7, HttpPort: 6, TLS: false}"))
		require.NoError(t, err)
		require.Equal(t, 7*time.Second, again.Server.Timeout)
		require.Equal(t, 5, again.Server.HTTPPort)
		require.True(t, again.Server.TLS)
		require.Equal(t, 2*time.Second, run.Config.Server.Timeout, "the first configuration does not change")
		require.Equal(t, settings.Sources{"Server.HttpPort": "flag --server.httpport", "Server.Timeout": file + " line 1", "Server.TLS": "environment variable ACHILLES_SERVER_TLS"}, run.Sources())
		_, err = run.Reload([]byte("Server: {Timeout: soon}"))
		require.ErrorContains(t, err, "Server.Timeout")
		require.Len(t, run.Sources(), 3, "an error changes nothing")
		return nil
	})
	require.Equal(t, 0, r.code, r.stderr)
}

func TestErrorsHaveOneLine(t *testing.T) {
	const commands = "config, healthcheck, help, migrate, serve, version"
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no command":        {nil, "no command given; it is one of " + commands + "; see tag --help"},
		"misspelt command":  {[]string{"srve"}, `unknown command "srve"; did you mean serve?; the commands are ` + commands},
		"unknown command":   {[]string{"deploy", "--now"}, `unknown flag --now; write flags after a command, as in tag serve --name=value`},
		"unknown word":      {[]string{"deploy", "now"}, `unknown command "deploy"; the commands are ` + commands},
		"completion":        {[]string{"completion"}, `unknown command "completion"; the commands are ` + commands},
		"help on unknown":   {[]string{"help", "srve"}, `unknown command "srve"; did you mean serve?; the commands are ` + commands},
		"switch first":      {[]string{"--server.tls", "serve"}, "unknown flag --server.tls; write flags after a command, as in tag serve --name=value"},
		"misspelt flag":     {[]string{"serve", "--server.httprt=1"}, "unknown flag --server.httprt; did you mean --server.httpport?; see tag serve --help"},
		"unknown flag":      {[]string{"serve", "--nothing.like.it=hunter2"}, "unknown flag --nothing.like.it; see tag serve --help"},
		"single dash":       {[]string{"serve", "-database.password=hunter2"}, "unknown flag beginning with a single dash; flags begin with two; see tag serve --help"},
		"no value":          {[]string{"serve", "--server.httpport"}, "flag --server.httpport needs a value: write --server.httpport=value; see tag serve --help"},
		"bad flag":          {[]string{"serve", "--=hunter2"}, "a flag is not written as --name=value; see tag serve --help"},
		"bad switch":        {[]string{"version", "--json=hunter2"}, "flag --json cannot have that value; see tag version --help"},
		"setting elsewhere": {[]string{"version", "--server.httpport=1"}, "unknown flag --server.httpport; see tag version --help"},
		"argument": {[]string{"migrate", "--database.passwordfile=hunter", "2"},
			"tag migrate takes flags only, but got 1 further argument(s); write a flag as --name=value, a value with spaces in quotes"},
		"secret": {[]string{"serve", "--database.password=hunter2"}, "flag --database.password is not accepted: flags can be seen in the list of " +
			"processes; set the environment variable ACHILLES_DATABASE_PASSWORD, or name a file that holds the secret with " +
			"--database.passwordfile or ACHILLES_DATABASE_PASSWORDFILE"},
		"misspelt secret": {[]string{"serve", "--database.pasword=hunter2"}, "unknown flag --database.pasword; see tag serve --help"},
		"wrong value":     {[]string{"serve", "--server.httpport=http"}, `Server.HttpPort: "http" is not allowed; it must be a whole number (from flag --server.httpport)`},
		"no file": {[]string{"migrate", "--config", "/nowhere.yaml"},
			"configuration file /nowhere.yaml: does not exist; check --config and ACHILLES_CONFIG, or leave both out to run on the defaults"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, result{code: 1, stderr: "tag: " + test.want + "\n"}, runMain(test.args, nil, nil))
		})
	}
}

func TestErrorsHaveTheNameOnEachLine(t *testing.T) {
	r := runMain([]string{"serve", "--server.httpport=http"}, []string{"ACHILLES_SERVER_TLS=maybe"}, nil)
	require.Equal(t, result{code: 1, stderr: `tag: Server.HttpPort: "http" is not allowed; it must be a whole number (from flag --server.httpport)
tag: Server.TLS: "maybe" is not allowed; it must be true or false (from environment variable ACHILLES_SERVER_TLS)
`}, r)
	const text = "one\ntwo\n\n"
	for _, name := range []string{"serve", "migrate"} {
		r = runMain([]string{name}, nil, func(context.Context, run) error { return errors.New(text) })
		require.Equal(t, 1, r.code)
		require.Equal(t, "tag: one\ntag: two\n", r.stderr)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"-h"}, {"help"}} {
		r := runMain(args, nil, nil)
		require.Equal(t, result{stdout: r.stdout}, r)
		for _, want := range []string{"The tag service", "serve ", "migrate ", "version ", "Run the service until SIGINT, SIGTERM or SIGHUP"} {
			require.Contains(t, r.stdout, want)
		}
	}
	for _, args := range [][]string{{"serve", "--help"}, {"migrate", "-h"}, {"help", "serve"}} {
		r := runMain(args, []string{"ACHILLES_DATABASE_PASSWORD=hunter2"}, nil)
		require.Equal(t, result{stdout: r.stdout}, r)
		for _, want := range []string{
			"--config file ", "YAML file of settings (default none; ACHILLES_CONFIG)",
			"--server.httpport int ", "port to serve on (default 8000; ACHILLES_SERVER_HTTPPORT)",
			"--server.timeout duration ", "time for a request (default 15s; ACHILLES_SERVER_TIMEOUT)",
			"--server.tls ", "whether to encrypt (default false; ACHILLES_SERVER_TLS)",
			"Secrets have no flags", "Database.Password: password of the database (environment or file only; ACHILLES_DATABASE_PASSWORD)",
			"--database.passwordfile string ", "file with the password of the database (default none; ACHILLES_DATABASE_PASSWORDFILE)",
		} {
			require.Contains(t, r.stdout, want)
		}
		require.NotContains(t, r.stdout, "hunter2")
		require.NotContains(t, r.stdout, "--database.password ")
	}
}

func TestVersion(t *testing.T) {
	require.Equal(t, result{stdout: "tag " + buildinfo.Get().String() + "\n"}, runMain([]string{"version"}, nil, nil))
	r := runMain([]string{"version", "--json"}, nil, nil)
	var info buildinfo.Info
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &info))
	require.Equal(t, buildinfo.Get(), info)
	require.Equal(t, result{stdout: r.stdout}, r)
	require.Equal(t, 0, runMain([]string{"version"}, []string{"ACHILLES_SERVER_HTTPPORT=http"}, nil).code, "version reads no settings")
}

func TestServiceWithoutMigrate(t *testing.T) {
	service := command.Service[config]{Name: "tag", Defaults: defaults, Serve: func(context.Context, run) error { return nil }}
	var stdout, stderr bytes.Buffer
	require.Equal(t, 1, service.Main([]string{"migrate"}, nil, &stdout, &stderr))
	require.Equal(t, "tag: unknown command \"migrate\"; the commands are config, healthcheck, help, serve, version\n", stderr.String())
}

func TestBrokenOutputIsAnError(t *testing.T) {
	service := command.Service[config]{Name: "tag", Defaults: defaults}
	var stderr strings.Builder
	require.Equal(t, 1, service.Main([]string{"version"}, nil, brokenWriter{}, &stderr))
	require.Equal(t, "tag: broken\n", stderr.String())
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestErrorThatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, stderr := io.Pipe()
		service := command.Service[config]{Name: "tag", Defaults: defaults}
		require.Equal(t, 1, service.Main([]string{"deploy"}, nil, io.Discard, stderr))
		require.NoError(t, reader.Close())
	})
}

func TestCommandsOfTheService(t *testing.T) {
	var stdout, stderr bytes.Buffer
	service := command.Service[config]{
		Name: "tag", Defaults: defaults, Commands: func(bind command.Bind[config]) []*cobra.Command {
			greet := &cobra.Command{Use: "greet", Short: "Greet", RunE: func(cmd *cobra.Command, _ []string) error {
				_, err := cmd.OutOrStdout().Write([]byte("hello"))
				return errors.Join(err, errors.New("not found"))
			}}
			show := &cobra.Command{Use: "show", Short: "Show a setting"}
			return []*cobra.Command{greet, bind(show, func(c config, args []string) error {
				_, err := fmt.Fprintln(show.OutOrStdout(), c.Server.HTTPPort, args)
				return err
			})}
		},
	}
	require.Equal(t, 1, service.Main([]string{"greet"}, nil, &stdout, &stderr))
	require.Equal(t, "hello", stdout.String())
	require.Equal(t, "tag: not found\n", stderr.String())
	require.Zero(t, service.Main([]string{"--help"}, nil, &stdout, &stderr))
	require.Contains(t, stdout.String(), "greet       Greet")

	stdout.Reset()
	require.Zero(t, service.Main([]string{"show", "a"}, []string{"ACHILLES_SERVER_HTTPPORT=7"}, &stdout, &stderr), stderr.String())
	require.Equal(t, "7 [a]\n", stdout.String())
	require.Zero(t, service.Main([]string{"show", "--server.httpport", "8"}, []string{"ACHILLES_SERVER_HTTPPORT=7"}, &stdout, &stderr), stderr.String())
	require.Contains(t, stdout.String(), "8 []\n")
	require.Equal(t, 1, service.Main([]string{"show"}, []string{"ACHILLES_SERVER_HTTPPORT=x"}, &stdout, &stderr))
	require.Contains(t, stderr.String(), "Server.HttpPort")
}
