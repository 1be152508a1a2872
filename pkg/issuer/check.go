package issuer

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/service"
)

const checkName = "check"

// checkCommand returns the command that tests running services as a client.
func checkCommand(bind command.Bind[service.Config]) *cobra.Command {
	c := check{client: &http.Client{Timeout: 20 * time.Second}}
	cmd := &cobra.Command{
		Use: checkName, Short: "Wait until running services are ready, and list what they store, with a token", Args: command.Arguments(""),
		Long: "Wait until running services are ready, and list what they store. The key set of the services (Auth.KeysFile)\n" +
			"signs the token that the lists are read with.",
	}
	ready := cmd.Flags().StringSlice("ready", nil, "URLs that must answer 200 before the check, such as http://comment/readyz")
	lists := cmd.Flags().StringSlice("lists", nil, "URLs of lists, such as http://comment/api/v1/comments")
	wait := cmd.Flags().Duration("wait", time.Minute, "how long to wait until all of them answer")
	return bind(cmd, func(config service.Config, _ []string) (err error) {
		if c.token, err = Sign(config.Auth, checkName, []string{auth.ScopeWrite}); err != nil {
			return err
		}
		c.out = cmd.OutOrStdout()
		until := time.Now().Add(*wait)
		for _, url := range slices.Concat(*ready, *lists) {
			if err := c.await(cmd.Context(), url, until); err != nil {
				return err
			}
		}
		return nil
	})
}

type check struct {
	token  string
	client *http.Client
	out    io.Writer
}

// await polls url until it answers 200: after an installation pods take time to become ready.
func (c check) await(ctx context.Context, url string, until time.Time) error {
	for {
		err := c.get(ctx, url)
		if err == nil || time.Now().After(until) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (c check) get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("locale", "en")
	request.Header.Set("Authorization", "Bearer "+c.token)
	response, err := c.client.Do(request)
	if err != nil {
		return fmt.Errorf("%w; check the address, the pods and the network policies", err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = fmt.Fprintf(c.out, "GET %s: %s\n", url, response.Status)
	text, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: status is %d, want 200: %.300s", url, response.StatusCode, text)
	}
	return err
}
