package issuer

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/service"
)

var errNoKeySet = errors.New("there is no key set to sign with: set Auth.KeysFile (--auth.keysfile) to the key set of the services")

// tokenCommand returns the command that prints a token. It needs the key set, but
// no app secret.
func tokenCommand(bind command.Bind[service.Config]) *cobra.Command {
	cmd := &cobra.Command{Use: "token KEY", Short: "Print a token for the client with this app key, signed with Auth.KeysFile", Args: command.Arguments("KEY")}
	scope := cmd.Flags().String("scope", auth.ScopeWrite, "scope of the token: write, or empty to only read, disabled objects included")
	return bind(cmd, func(config service.Config, args []string) error {
		token, err := Sign(config.Auth, args[0], strings.Fields(*scope))
		if err == nil {
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
		}
		return err
	})
}

// Sign returns a token, as POST /auth does.
func Sign(config auth.Config, appKey string, scopes []string) (string, error) {
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
		return "", fmt.Errorf("%q is not a valid app key: it must consist of 1 to 64 letters, digits, '.', '_' or '-'", appKey)
	}
	return token, nil
}
