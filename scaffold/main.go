// Command scaffold adds services and resources to a project, removes services, and begins and
// updates projects of one's own. The Makefile's targets new-service, new-resource, remove-service,
// new-project and update run it in the root of the repository.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/achilles-blog/achilles/scaffold/project"
	"github.com/achilles-blog/achilles/scaffold/service"
)

// command is a subcommand. Its arguments have the form NAME=value, as make passes them.
type command struct {
	name  string
	usage string
	run   func(ctx context.Context, root string, args map[string]string) error
}

func commands() []command {
	projects := project.Tool{Out: os.Stdout, Generate: project.MakeGenerate}
	return []command{
		{"new-service", "NAME=comment [RESOURCE=comment] [PLURAL=comments] FIELDS='author:string(64) body:text state:state' [FOLLOWS=tag]", of(service.New)},
		{"new-resource", "SERVICE=comment RESOURCE=vote [PLURAL=votes] FIELDS='comment_id:uint64 up:bool'", of(service.NewResource)},
		{"remove-service", "NAME=comment", of(service.Remove)},
		{"new-project", "MODULE=example.com/team/shop DIR=../shop [SERVICES=tag,article] [NAME=shop] [TITLE=Shop] [IMAGES=shop]", projects.New},
		{"update", "[FROM=directory-or-address] [REF=tag]", projects.Update},
	}
}

// of returns a command of the package service as a subcommand.
func of(run func(context.Context, service.Options, map[string]string) error) func(context.Context, string, map[string]string) error {
	return func(ctx context.Context, root string, args map[string]string) error {
		return run(ctx, service.Options{Root: root, Out: os.Stdout, Generate: os.Getenv("SCAFFOLD_GENERATE")}, args)
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "scaffold:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage())
	}
	values := map[string]string{}
	for _, arg := range args[1:] {
		name, value, found := strings.Cut(arg, "=")
		if !found {
			return fmt.Errorf("argument %q: want NAME=value", arg)
		}
		values[name] = value
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.run(ctx, ".", values)
		}
	}
	return fmt.Errorf("no command %q\n%s", args[0], usage())
}

func usage() string {
	var lines strings.Builder
	for _, c := range commands() {
		fmt.Fprintf(&lines, "  %s %s\n", c.name, c.usage)
	}
	return "usage:\n" + lines.String()
}
