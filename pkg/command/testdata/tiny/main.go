// Command tiny is a service that does nothing: serve waits for a signal, migrate for the end of its context.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/achilles-blog/achilles/pkg/command"
)

type config struct {
	App struct {
		Stubborn bool `mapstructure:"Stubborn" usage:"whether migrate goes on after the end of its context"`
	} `mapstructure:"App"`
}

func main() { os.Exit(service().Main(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

func service() command.Service[config] {
	return command.Service[config]{
		Name: "tiny", Summary: "A service that does nothing", Defaults: func() config { return config{} },
		Serve: func(_ context.Context, run command.Run[config]) error {
			if err := say(run, "serving"); err != nil {
				return err
			}
			return say(run, fmt.Sprintf("got %s", <-run.Signals))
		},
		Migrate: func(ctx context.Context, run command.Run[config]) error {
			if err := say(run, "migrating"); err != nil {
				return err
			}
			<-ctx.Done()
			if err := say(run, "ending"); err != nil {
				return err
			}
			if run.Config.App.Stubborn {
				select {}
			}
			return ctx.Err()
		},
	}
}

func say(run command.Run[config], text string) error {
	_, err := fmt.Fprintln(run.Stdout, text)
	return err
}
