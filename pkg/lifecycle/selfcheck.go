package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// ErrNotUp is in the error of SelfCheck when the service never answered. A
// Process that fails for it skips the drain.
var ErrNotUp = errors.New("the service does not answer its own health check")

const (
	// With what the stop takes afterwards, a service that does not come up
	// ends within 10 seconds.
	selfCheckLimit    = 8 * time.Second
	selfCheckInterval = 100 * time.Millisecond
	selfCheckTry      = 2 * time.Second
)

// SelfCheck asks url, the process's own /healthz, until it answers 200. After 8
// seconds without that it gives up with ErrNotUp, wrapped in what the last try
// met; when ctx ends before, it returns the error of ctx.
func SelfCheck(ctx context.Context, url string) error {
	return selfCheck(ctx, url, selfCheckLimit)
}

func selfCheck(ctx context.Context, url string, limit time.Duration) error {
	// Own transport: a proxy from the environment must not answer for us, and
	// no idle connection may stay behind to be drained later.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: selfCheckTry}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(selfCheckInterval)
	defer ticker.Stop()
	var met error // by the last try that had its time
	for {
		err := probe(limited, client, url)
		if err == nil {
			return nil
		}
		if met == nil || limited.Err() == nil {
			met = err
		}
		select {
		case <-ticker.C:
		case <-limited.Done():
		}
		// A select would choose at random between several that are ready.
		if ctx.Err() != nil {
			return fmt.Errorf("self check: %w", ctx.Err())
		}
		if limited.Err() != nil {
			return fmt.Errorf("%w within %s: %w; check that this host can reach the address it listens on",
				ErrNotUp, limit, met)
		}
	}
}

func probe(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 4096))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: status %s", url, response.Status)
	}
	return nil
}
