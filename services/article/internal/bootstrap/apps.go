package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/services/article/internal/access"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/migrations"
)

// appCommand manages who may get tokens.
func appCommand(bind command.Bind[Config]) *cobra.Command {
	cmd := group("app", "Manage the apps that may get tokens, in the service's database")
	cmd.AddCommand(addAppCommand(bind), listAppsCommand(bind), rotateAppCommand(bind), removeAppCommand(bind))
	return cmd
}

func addAppCommand(bind command.Bind[Config]) *cobra.Command {
	cmd := &cobra.Command{Use: "add KEY", Short: "Add an app and print its secret, once", Args: arguments("KEY")}
	scope := cmd.Flags().String("scope", auth.ScopeWrite, "what it may do: write, or empty for only reading what is disabled, too")
	secret := secretFlag(cmd)
	return onApps(bind, cmd, func(ctx context.Context, apps *access.Service, args []string) error {
		if *scope != "" && *scope != auth.ScopeWrite {
			return fmt.Errorf("--scope %q is not allowed: it is %s or empty", *scope, auth.ScopeWrite)
		}
		return withSecret(cmd, args[0], *secret, "added", func(secret string) error {
			return apps.Add(ctx, args[0], strings.Fields(*scope), secret)
		})
	})
}

func rotateAppCommand(bind command.Bind[Config]) *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate KEY", Short: "Give an app another secret and print it, once; the one before is refused from then on", Args: arguments("KEY"),
	}
	secret := secretFlag(cmd)
	return onApps(bind, cmd, func(ctx context.Context, apps *access.Service, args []string) error {
		return withSecret(cmd, args[0], *secret, "has another secret", func(secret string) error {
			return apps.Rotate(ctx, args[0], secret)
		})
	})
}

func removeAppCommand(bind command.Bind[Config]) *cobra.Command {
	cmd := &cobra.Command{Use: "remove KEY", Short: "Remove an app", Args: arguments("KEY")}
	return onApps(bind, cmd, func(ctx context.Context, apps *access.Service, args []string) error {
		if err := apps.Remove(ctx, args[0]); err != nil {
			return err
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is removed. Tokens that it has are valid to their end, at most Auth.Lifetime; "+
			"to end all tokens at once, replace the key set by a new one (article key new).\n", args[0])
		return err
	})
}

func listAppsCommand(bind command.Bind[Config]) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the apps", Args: arguments("")}
	return onApps(bind, cmd, func(ctx context.Context, apps *access.Service, _ []string) error {
		list, err := apps.List(ctx)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "There is no app yet; add one with: article app add KEY")
			return err
		}
		table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "APP_KEY\tSCOPE\tADDED\tCHANGED")
		for _, app := range list {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", app.Key, orDash(strings.Join(app.Scopes, " ")),
				app.CreatedAt.Format(time.RFC3339), app.UpdatedAt.Format(time.RFC3339))
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
	return cmd.Flags().String("secret-file", "", "`file` that holds the secret, - for stdin; without it one is made and printed")
}

// withSecret makes a secret, or reads it, and tells what was done with it. Only
// one that was made is printed.
func withSecret(cmd *cobra.Command, key, file, done string, use func(secret string) error) error {
	secret, made := access.NewSecret(), ""
	if file != "" {
		content, err := readInput(cmd, file)
		if err != nil {
			return fmt.Errorf("--secret-file: %w", err)
		}
		secret = strings.TrimRight(string(content), "\r\n")
	} else {
		made = fmt.Sprintf("\n  app_key     %s\n  app_secret  %s\n\nThe secret is not kept and not shown again: store it now.\n", key, secret)
	}
	if err := use(secret); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s.\n%s", key, done, made)
	return err
}

// onApps makes a command work on the database that the service's settings name:
// it has their flags, and takes the rest from where serve does.
func onApps(bind command.Bind[Config], cmd *cobra.Command, work func(ctx context.Context, apps *access.Service, args []string) error) *cobra.Command {
	return bind(cmd, func(config Config, args []string) error {
		return withApps(cmd.Context(), config.Database, func(apps *access.Service) error {
			return explained(work(cmd.Context(), apps, args), args)
		})
	})
}

func withApps(ctx context.Context, config database.Config, work func(*access.Service) error) (err error) {
	db, err := database.Open(config, zap.NewNop())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = database.SchemaCurrent(ctx, db, migrations.All())
	switch {
	case errors.Is(err, database.ErrSchemaBehind):
		return fmt.Errorf("the database %s: %w: run article migrate first, with the same settings", config.DBName, err)
	case err != nil:
		return fmt.Errorf("the database %s cannot be used: %w; check the section Database of the configuration", config.DBName, err)
	}
	return work(access.NewService(store.NewApps(db)))
}

// explained adds to an error what to do about it. What was sent as a key may be
// a secret, unless it can be a key.
func explained(err error, args []string) error {
	switch {
	case errors.Is(err, access.ErrExists):
		return fmt.Errorf("%s: %w; give it another secret with article app rotate, or take another key", args[0], access.ErrExists)
	case errors.Is(err, access.ErrUnknown):
		return fmt.Errorf("%s: %w; article app list shows those that there are", args[0], access.ErrUnknown)
	case errors.Is(err, access.ErrBadSecret):
		return fmt.Errorf("%w; leave --secret-file out to have one made", err)
	}
	return err
}
