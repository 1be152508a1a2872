package bootstrap

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/command"
)

var errNoKeySet = errors.New("there is no key set to sign with: set Auth.KeysFile (--auth.keysfile) to the one that the services have")

// tokenCommand is for operators: whoever has the key set needs no secret.
func tokenCommand(bind command.Bind[Config]) *cobra.Command {
	cmd := &cobra.Command{Use: "token KEY", Short: "Print a token for an app, signed with the key set at hand", Args: arguments("KEY")}
	scope := cmd.Flags().String("scope", auth.ScopeWrite, "what it allows: write, or empty for only reading what is disabled, too")
	return bind(cmd, func(config Config, args []string) error {
		token, err := sign(config.Auth, args[0], strings.Fields(*scope))
		if err == nil {
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
		}
		return err
	})
}

// sign makes a token as the service itself would.
func sign(config auth.Config, appKey string, scopes []string) (string, error) {
	if config.KeysFile == "" {
		return "", errNoKeySet
	}
	keySet, err := auth.OpenKeySet(config)
	if err != nil {
		return "", err
	}
	token, err := keySet.Sign(appKey, scopes, time.Now())
	if err != nil {
		return "", err
	}
	if _, err := keySet.Verify(token, time.Now()); err != nil {
		return "", fmt.Errorf("%q cannot be an app key: it has 1 to 64 letters, digits, '.', '_' or '-'", appKey)
	}
	return token, nil
}
