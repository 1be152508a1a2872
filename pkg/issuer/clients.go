package issuer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/issuer/access"
	"github.com/achilles-blog/achilles/pkg/issuer/store"
	"github.com/achilles-blog/achilles/pkg/service"
)

// clients are the commands that manage API clients, of a service with the migrations.
type clients struct {
	bind       command.Bind[service.Config]
	migrations database.Migrations
}

func (c clients) command() *cobra.Command {
	cmd := group("client", "Manage the API clients in the service's database")
	cmd.AddCommand(c.add(), c.list(), c.rotate(), c.remove())
	return cmd
}

func (c clients) add() *cobra.Command {
	cmd := &cobra.Command{Use: "add KEY", Short: "Add a client and print its secret", Args: command.Arguments("KEY")}
	scope := cmd.Flags().String("scope", auth.ScopeWrite, "scope of its tokens: write, or empty to only read, disabled objects included")
	secret := secretFlag(cmd)
	return c.run(cmd, func(ctx context.Context, clients *access.Service, args []string) error {
		if *scope != "" && *scope != auth.ScopeWrite {
			return fmt.Errorf("--scope %q is not allowed: it must be %s or empty", *scope, auth.ScopeWrite)
		}
		return withSecret(cmd, args[0], *secret, "added", func(secret string) error {
			return clients.Add(ctx, args[0], strings.Fields(*scope), secret)
		})
	})
}

func (c clients) rotate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate KEY", Short: "Replace the secret of a client and print the new one", Args: command.Arguments("KEY"),
	}
	secret := secretFlag(cmd)
	overlap := cmd.Flags().Duration("overlap", 0, "how long the former secret stays valid, such as 24h; by default it ends at once")
	return c.run(cmd, func(ctx context.Context, clients *access.Service, args []string) error {
		if *overlap < 0 {
			return fmt.Errorf("--overlap %s is not allowed: it must not be negative", *overlap)
		}
		done := "has a new secret"
		if *overlap > 0 {
			done += "; the former one is valid until " + time.Now().Add(*overlap).UTC().Format(time.RFC3339)
		}
		return withSecret(cmd, args[0], *secret, done, func(secret string) error {
			return clients.Rotate(ctx, args[0], secret, *overlap)
		})
	})
}

func (c clients) remove() *cobra.Command {
	cmd := &cobra.Command{Use: "remove KEY", Short: "Remove a client", Args: command.Arguments("KEY")}
	return c.run(cmd, func(ctx context.Context, clients *access.Service, args []string) error {
		if err := clients.Remove(ctx, args[0]); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s removed. Its tokens stay valid until they expire, after Auth.Lifetime at most. "+
			"To revoke all tokens at once, replace the key set by a new one (%s key new).\n", args[0], cmd.Root().Name())
		return err
	})
}

func (c clients) list() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the clients", Args: command.Arguments("")}
	return c.run(cmd, func(ctx context.Context, clients *access.Service, _ []string) error {
		list, err := clients.List(ctx)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "There are no clients yet. Add one with: %s client add KEY\n", cmd.Root().Name())
			return err
		}
		table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "APP_KEY\tSCOPE\tADDED\tCHANGED")
		for _, client := range list {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", client.Key, orDash(strings.Join(client.Scopes, " ")),
				client.CreatedAt.Format(time.RFC3339), client.UpdatedAt.Format(time.RFC3339))
		}
		return table.Flush()
	})
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func secretFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("secret-file", "", "`file` that contains the secret, - for stdin; by default a new secret is generated and printed")
}

// withSecret reads the secret from the file, or generates one, passes it to use,
// and reports success. Only a generated secret is printed.
func withSecret(cmd *cobra.Command, key, file, done string, use func(secret string) error) error {
	secret, generated := access.NewSecret(), ""
	if file != "" {
		content, err := readInput(cmd, file)
		if err != nil {
			return fmt.Errorf("--secret-file: %w", err)
		}
		secret = strings.TrimRight(string(content), "\r\n")
	} else {
		generated = fmt.Sprintf("\n  app_key     %s\n  app_secret  %s\n\nStore the secret now: it can't be shown again.\n", key, secret)
	}
	if err := use(secret); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s.\n%s", key, done, generated)
	return err
}

// run makes cmd work on the database in the service's settings. cmd gets the flags of the
// settings, and reads the configuration file and the environment.
func (c clients) run(cmd *cobra.Command, work func(ctx context.Context, clients *access.Service, args []string) error) *cobra.Command {
	return c.bind(cmd, func(config service.Config, args []string) error {
		return service.UseDatabase(cmd.Context(), config.Database, c.migrations, func(db *database.DB) error {
			return withHint(cmd, work(cmd.Context(), access.NewService(store.NewClients(db)), args), args)
		})
	})
}

// withHint adds what to do to an error. It prints only valid keys: an invalid one
// may be a secret.
func withHint(cmd *cobra.Command, err error, args []string) error {
	switch {
	case errors.Is(err, access.ErrExists):
		return fmt.Errorf("%s: %w; replace its secret with %s client rotate, or choose another key", args[0], access.ErrExists, cmd.Root().Name())
	case errors.Is(err, access.ErrUnknown):
		return fmt.Errorf("%s: %w; %s client list prints all clients", args[0], access.ErrUnknown, cmd.Root().Name())
	case errors.Is(err, access.ErrBadSecret):
		return fmt.Errorf("%w; without --secret-file a valid one is generated", err)
	}
	return err
}
