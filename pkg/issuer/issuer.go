// Package issuer is what the service that issues the tokens of all services has beside its
// own: the route POST /auth, the API clients that get tokens, and the commands that manage
// these and the key set.
package issuer

import (
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/issuer/access"
	"github.com/achilles-blog/achilles/pkg/issuer/api"
	"github.com/achilles-blog/achilles/pkg/issuer/store"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/service"
)

// Schema returns the table of the API clients, for database.Migrations.Shared.
func Schema() fs.FS { return store.Schema() }

// Register adds the route.
func Register(base *service.Service, binder *requests.Binder) {
	tokens := &api.Tokens{Clients: access.NewService(store.NewClients(base.DB)), KeySet: base.KeySet, Binder: binder}
	tokens.Register(base.Engine.Group("", base.Limits.Auth()))
}

// Commands returns the commands client, key, token, policies and check, and the service's own, for
// command.Service.Commands. A command check of the service takes the place of the one that is here.
// shared extracts the common settings from those of the service.
func Commands[C any](shared func(C) service.Config, migrations database.Migrations, own ...func(command.Bind[C]) *cobra.Command) func(command.Bind[C]) []*cobra.Command {
	return func(bind command.Bind[C]) []*cobra.Command {
		common := func(cmd *cobra.Command, work func(service.Config, []string) error) *cobra.Command {
			return bind(cmd, func(config C, args []string) error { return work(shared(config), args) })
		}
		commands := []*cobra.Command{clients{common, migrations}.command(), keyCommand(), tokenCommand(common), policiesCommand()}
		for _, command := range own {
			commands = append(commands, command(bind))
		}
		if !slices.ContainsFunc(commands, func(cmd *cobra.Command) bool { return cmd.Name() == checkName }) {
			commands = append(commands, checkCommand(common))
		}
		return commands
	}
}
