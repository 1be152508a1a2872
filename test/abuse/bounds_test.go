//go:build linux

package abuse_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/test/process"
)

// Everything that has a bound is at its bound at the same time: connections, the memory
// of bodies, and that of responses. The article service stays below the memory of its pod,
// and gives everything back.
func TestAllBoundsAtOnce(t *testing.T) {
	for name, newDatabase := range map[string]func(testing.TB) database.Config{database.SQLite: dbtest.SQLite, database.MySQL: dbtest.MySQL} {
		t.Run(name, func(t *testing.T) { holdAllBounds(t, newDatabase) })
	}
}

func holdAllBounds(t *testing.T, newDatabase func(testing.TB) database.Config) {
	t.Helper()
	s := start(t, newDatabase)
	s.seed(t, 10, 0)
	before := residentPeak(t, s.article)
	good := s.behave(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	watched := s.watch(t, cancel)
	s.attack(ctx, s.holders(t))
	most, together := watched()
	answered := good.stop()
	t.Logf("%s; together %s; resident at first %d MiB, at most %d MiB; good client: %s", most, together, before>>20, residentPeak(t, s.article)>>20, answered)
	require.False(t, s.article.Ended(), "the service was killed")
	require.Positive(t, answered.answered)
	require.True(t, together.full(), "not all bounds were reached at once: %s", together)
	process.Await(t, "the memory to be given back", func() bool {
		now := s.used()
		return now.bodies == 0 && now.responses == 0
	})
	s.stop(t)
}

// holders returns clients that take all connections, and all memory for bodies and
// responses. Those that send bodies have tokens of different apps, because one of them may
// hold half of the memory.
func (s *system) holders(t *testing.T) []crowd {
	t.Helper()
	growing := `{"title":"t","content":"` + strings.Repeat("\u0958bbb", 1<<20) + `"}` // is normalized to half as much again
	written := `{"title":"t","content":"` + strings.Repeat("<", 1<<20) + `"}`
	lists := "/api/v1/articles?include=content&page_size=100"
	all := []crowd{
		{1200, time.Second, idle},
		{600, 0, slowHeader(15 << 10)},
		{200, 0, unread(lists)},
		{4, time.Second, unreadStreams(lists, 50)},
		{8, 0, compressed(lists, "zstd")},
		{8, 0, compressed(lists, "gzip")},
	}
	for n := range 4 {
		header := authorization(t, fmt.Sprint("holder-", n))
		all = append(all, crowd{4, 0, postAs(header, growing)}, crowd{1, 0, stalled(header, growing)}, crowd{2, 0, postAs(header, written)})
	}
	return all
}

// postAs creates articles as a client, with an Idempotency-Key.
func postAs(authorization, body string) func(context.Context, *system, int) {
	return func(ctx context.Context, s *system, n int) {
		exchange(ctx, s.articleAddr, head("POST", "/api/v1/articles", "Content-Type: application/json", authorization,
			fmt.Sprintf("Idempotency-Key: %d-%d", n, time.Now().UnixNano()), fmt.Sprintf("Content-Length: %d", len(body)))+body)
	}
}

// stalled sends all of a body but its last byte.
func stalled(authorization, body string) func(context.Context, *system, int) {
	return func(ctx context.Context, s *system, _ int) {
		connect(ctx, s.articleAddr, func(conn net.Conn) {
			_, _ = io.WriteString(conn, head("POST", "/api/v1/articles", "Content-Type: application/json", authorization,
				fmt.Sprintf("Content-Length: %d", len(body)))+body[:len(body)-1])
			_, _ = conn.Read(make([]byte, 1)) // until the service gives up
		})
	}
}

// use is what is used of each bound, from 0 to 1.
type use struct{ connections, bodies, responses float64 }

func (u use) least() float64 { return min(u.connections, u.bodies, u.responses) }

func (u use) full() bool { return u.connections >= 0.9 && u.bodies >= 0.8 && u.responses >= 0.8 }

func (u use) String() string {
	return fmt.Sprintf("connections %.0f%%, bodies %.0f%%, responses %.0f%%", 100*u.connections, 100*u.bodies, 100*u.responses)
}

// watch looks at the use of the bounds until the function that it returns is called. That
// returns the most of each, and the use at which the least used bound was used most. full
// is called when all are full, but not at the beginning of an attack.
func (s *system) watch(t *testing.T, full func()) func() (most, together use) {
	t.Helper()
	end, ended := make(chan struct{}), make(chan struct{})
	var most, together use
	began, length := time.Now(), duration(t)
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-time.After(20 * time.Millisecond):
			}
			now := s.used()
			most = use{max(most.connections, now.connections), max(most.bodies, now.bodies), max(most.responses, now.responses)}
			if now.least() > together.least() {
				together = now
			}
			if together.full() && time.Since(began) > length {
				full()
			}
		}
	}()
	return func() (use, use) {
		close(end)
		<-ended
		return most, together
	}
}

// used returns the use of the bounds of the article service.
func (s *system) used() use {
	answer, err := process.Ask("GET", "http://"+s.articleAdmin+"/metrics", nil)
	if err != nil {
		return use{}
	}
	value := func(series string) float64 {
		_, rest, _ := strings.Cut(string(answer.Body), "\n"+series+" ")
		line, _, _ := strings.Cut(rest, "\n")
		number, _ := strconv.ParseFloat(line, 64)
		return number
	}
	memory := func(use string) float64 {
		return value(`achilles_memory_reserved_bytes{use="`+use+`"}`) / value(`achilles_memory_limit_bytes{use="`+use+`"}`)
	}
	return use{
		value(`achilles_http_connections{server="http"}`) / value(`achilles_http_connections_limit{server="http"}`),
		memory("request_bodies"), memory("responses"),
	}
}
