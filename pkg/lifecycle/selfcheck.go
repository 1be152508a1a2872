package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// errNotUp is wrapped in the error of SelfCheck if the service did not answer. A
// Process skips the drain after this failure: no client was sent to the service.
var errNotUp = errors.New("the service does not answer its own health check")

const (
	// A service that does not answer ends within 10 s, including its stop.
	selfCheckLimit    = 8 * time.Second
	selfCheckInterval = 100 * time.Millisecond
	selfCheckAttempt  = 2 * time.Second
)

// SelfCheck requests url, the process's own /healthz, until the answer is 200. It
// returns an error after 8 s without such an answer, and the error of ctx if ctx
// ends earlier.
func SelfCheck(ctx context.Context, url string) error {
	return selfCheck(ctx, url, selfCheckLimit)
}

func selfCheck(ctx context.Context, url string, limit time.Duration) error {
	// The default transport would use proxies of the environment and keep an idle
	// connection, which the drain would have to close.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: selfCheckAttempt}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	ticker := time.NewTicker(selfCheckInterval)
	defer ticker.Stop()
	var last error // of an attempt that ctx did not end
	for {
		err := probe(limited, client, url)
		if err == nil {
			return nil
		}
		if last == nil || limited.Err() == nil {
			last = err
		}
		select {
		case <-ticker.C:
		case <-limited.Done():
		}
		// select chooses at random if several channels are ready.
		if ctx.Err() != nil {
			return fmt.Errorf("self check: %w", ctx.Err())
		}
		if limited.Err() != nil {
			return fmt.Errorf("%w within %s: %w; check that this host can reach the address it listens on",
				errNotUp, limit, last)
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
