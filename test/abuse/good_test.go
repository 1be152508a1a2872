//go:build linux

package abuse_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/achilles-blog/achilles/test/process"
)

// counts are the results of a well-behaved client.
type counts struct {
	answered    int // with what it asked for
	unavailable int // with 503 and Retry-After
	failures    []string
	latencies   []time.Duration
}

func (c counts) since(before counts) counts {
	return counts{
		answered: c.answered - before.answered, unavailable: c.unavailable - before.unavailable,
		failures: c.failures[len(before.failures):], latencies: c.latencies[len(before.latencies):],
	}
}

func (c counts) String() string {
	text := fmt.Sprintf("%d answered, %d unavailable, %d failed", c.answered, c.unavailable, len(c.failures))
	if sorted := slices.Sorted(slices.Values(c.latencies)); len(sorted) > 0 {
		text += fmt.Sprintf(", median %s, maximum %s", sorted[len(sorted)/2].Round(time.Millisecond), sorted[len(sorted)-1].Round(time.Millisecond))
	}
	return text
}

// behaved is a client that reads and writes within all limits.
type behaved struct {
	mu      sync.Mutex
	all     counts
	end     chan struct{}
	clients sync.WaitGroup
}

// behave starts the client, on one connection per service and on new ones.
func (s *system) behave(t *testing.T) *behaved {
	t.Helper()
	b := &behaved{end: make(chan struct{})}
	t.Cleanup(func() { b.stop() })
	kept := map[string]*http.Client{}
	for _, addr := range []string{s.tagAddr, s.articleAddr} {
		kept[addr] = &http.Client{Transport: &http.Transport{}, Timeout: process.Patience}
	}
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: process.Patience}
	b.clients.Go(func() {
		for n := 0; ; n++ {
			b.ask(kept[s.articleAddr], "GET", s.articleAddr, "/api/v1/articles/1", nil, 200)
			b.ask(fresh, "GET", s.tagAddr, "/api/v1/tags", nil, 200)
			b.ask(kept[s.tagAddr], "POST", s.tagAddr, "/api/v1/tags", map[string]any{"name": fmt.Sprintf("tag %d", n)}, 201)
			b.ask(fresh, "POST", s.articleAddr, "/api/v1/articles", map[string]any{"title": fmt.Sprintf("good %d", n), "content": "text"}, 201)
			select {
			case <-b.end:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	return b
}

func (b *behaved) ask(client *http.Client, method, addr, path string, body any, want int) {
	began := time.Now()
	answer, err := send(client, method, "http://"+addr+path, body)
	if err != nil { // at the maximum of connections, one that has been silent may be closed
		answer, err = send(client, method, "http://"+addr+path, body)
	}
	took := time.Since(began)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all.latencies = append(b.all.latencies, took)
	switch {
	case err != nil:
		b.all.failures = append(b.all.failures, fmt.Sprintf("%s %s after %s: %v", method, path, took, err))
	case answer.StatusCode == want:
		b.all.answered++
	case answer.StatusCode == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") != "":
		b.all.unavailable++
	default:
		b.all.failures = append(b.all.failures, fmt.Sprintf("%s %s: %d", method, path, answer.StatusCode))
	}
}

func (b *behaved) counts() counts {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all
}

func (b *behaved) stop() counts {
	b.mu.Lock()
	select {
	case <-b.end:
	default:
		close(b.end)
	}
	b.mu.Unlock()
	b.clients.Wait()
	return b.counts()
}
