package command

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// healthcheckTimeout is shorter than the timeouts of container engines.
const healthcheckTimeout = 3 * time.Second

// healthcheckCommand is for container engines whose health check is a program in the container: the image has neither a shell
// nor curl.
func healthcheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "healthcheck URL", Short: "Check whether a running service is ready, such as http://127.0.0.1:8080/readyz",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("healthcheck needs one URL, such as http://127.0.0.1:8080/readyz")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return healthcheck(cmd, args[0]) },
	}
}

func healthcheck(cmd *cobra.Command, url string) error {
	request, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("invalid URL: %w", err)
	}
	client := &http.Client{Timeout: healthcheckTimeout, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	if err == nil && response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s: %s", response.Status, said)
	}
	return err
}
