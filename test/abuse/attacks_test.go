//go:build linux

package abuse_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/test/process"
)

const (
	hugeBody    = 6 << 20
	writeWithin = 5 * time.Second
)

// attack is what several crowds do at the same time.
type attack struct {
	name   string
	crowds []crowd
}

// crowd is a number of clients that act again and again, with a pause in between.
type crowd struct {
	size  int
	pause time.Duration
	act   func(ctx context.Context, s *system, n int)
}

func attacks() []attack {
	keys, text := smallKeys(hugeBody), `{"app_key":"`+strings.Repeat("a", hugeBody)+`"}`
	write := strings.Repeat("<", 1<<20)
	lists := "/api/v1/articles?include=content&page_size=100"
	single := []attack{
		{"bodies of many keys for /auth", []crowd{{8, 0, post("/auth", keys, false)}}},
		{"bodies of many keys in chunks", []crowd{{8, 0, chunked("/auth", keys)}}},
		{"long strings for /auth", []crowd{{16, 0, post("/auth", text, false)}}},
		{"many keys, nesting and pairs with a token", []crowd{
			{6, 0, post("/api/v1/articles", smallKeys(1<<20), true)},
			{6, 0, post("/api/v1/articles", `{"title":`+strings.Repeat("[", 1<<20), true)},
			{6, 0, post("/api/v1/articles", `{"title":"t","tag_ids":[`+strings.Repeat("1,", 400_000)+`1]}`, true)},
			{6, 0, form("/api/v1/articles", strings.Repeat("a=&", 300_000))},
		}},
		{"large articles", []crowd{{32, 0, post("/api/v1/articles", `{"title":"t","content":"`+write+`"}`, true)}}},
		{"slow bodies", []crowd{
			{200, 0, slowBody("/api/v1/articles", 1<<20)},
			{200, 0, slowBody("/auth", 1<<10)},
		}},
		{"lists with content", []crowd{{20, 0, get("GET", lists)}, {10, 0, get("HEAD", lists)}}},
		{"lists with content, compressed", []crowd{{10, 0, compressed(lists, "gzip")}, {10, 0, compressed(lists, "zstd")}}},
		{"lists that nobody reads", []crowd{{300, time.Second, unread(lists)}}},
		{"HTTP/2 streams that nobody reads", []crowd{{20, time.Second, unreadStreams(lists, 250)}}},
		{"HTTP/2 streams that are reset", []crowd{{10, 0, resetStreams("/api/v1/articles", 100)}}},
		{"headers that are slow", []crowd{{2000, time.Second, slowHeader(60 << 10)}}},
		{"long queries", []crowd{{16, 0, get("GET", "/api/v1/articles?"+strings.Repeat("a&", 25<<10))}}},
		{"connections that are idle", []crowd{{6000, 3 * time.Second, idle}}},
		{"guesses at secrets and tokens", []crowd{{60, 0, guess}, {30, 0, pollFeed}}},
		{"pages of documentation, and unknown ones", []crowd{{20, 0, get("GET", "/swagger/index.html")}, {20, 0, get("GET", "/unknown")}, {20, 0, get("GET", "/version")}}},
	}
	all := attack{name: "all of these at once"}
	for _, a := range single {
		for _, c := range a.crowds {
			all.crowds = append(all.crowds, crowd{max(1, c.size/4), c.pause, c.act})
		}
	}
	return append(single, all)
}

// smallKeys returns a JSON object of about size bytes with as many keys as fit.
func smallKeys(size int) string {
	var body strings.Builder
	body.WriteString(`{"a":0`)
	for n := 0; body.Len() < size; n++ {
		fmt.Fprintf(&body, `,"a%d":0`, n)
	}
	return body.String() + "}"
}

// statuses counts responses by status.
type statuses struct {
	mu  sync.Mutex
	all map[int]int
}

func (s *statuses) add(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[int]int{}
	}
	s.all[status]++
}

func (s *statuses) counts() map[int]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.all)
}

// worst returns the action of the n-th of limits.ReadPerSecond workers of one client, each of
// which sends one request a second: SearchPerSecond of them a search or a list with content,
// the others a deep page. No two share a query.
func worst(limits ratelimit.Config, got *statuses) func(context.Context, *system, int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: limits.ReadPerSecond}, Timeout: process.Patience}
	return func(ctx context.Context, s *system, n int) {
		path := fmt.Sprintf("/api/v1/articles?page_size=100&page=%d", 100-n%50)
		switch {
		case n >= limits.SearchPerSecond:
		case n%2 == 0:
			path = fmt.Sprintf("/api/v1/articles?title=nowhere%d", rand.Int())
		default:
			path = fmt.Sprintf("/api/v1/articles?include=content&page_size=100&page=%d", 1+rand.IntN(100))
		}
		request, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.articleAddr+path, nil)
		if response, err := client.Do(request); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
			got.add(response.StatusCode)
		}
	}
}

// dial connects from one of many addresses of this machine.
func dial(ctx context.Context, addr string) (net.Conn, error) {
	local := net.IPv4(127, 0, byte(1+rand.IntN(4)), byte(1+rand.IntN(250)))
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: local}, Timeout: writeWithin}
	return dialer.DialContext(ctx, "tcp", addr)
}

// connect dials a service and closes the connection when ctx ends, or when act returns.
func connect(ctx context.Context, addr string, act func(net.Conn)) {
	conn, err := dial(ctx, addr)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() { stop(); _ = conn.Close() }()
	act(conn)
}

// exchange sends a whole request and reads the whole response.
func exchange(ctx context.Context, addr, request string) {
	connect(ctx, addr, func(conn net.Conn) {
		_ = conn.SetDeadline(time.Now().Add(process.Patience))
		go func() { _, _ = io.WriteString(conn, request) }() // the service may answer before it has read all
		_, _ = io.Copy(io.Discard, conn)
	})
}

func head(method, path string, more ...string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: test\r\n" + strings.Join(append(more, "Connection: close"), "\r\n") + "\r\n\r\n"
}

func post(path, body string, token bool) func(context.Context, *system, int) {
	return func(ctx context.Context, s *system, _ int) {
		more := []string{"Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body))}
		if token {
			more = append(more, s.hostile)
		}
		exchange(ctx, s.articleAddr, head("POST", path, more...)+body)
	}
}

func form(path, body string) func(context.Context, *system, int) {
	return func(ctx context.Context, s *system, _ int) {
		exchange(ctx, s.articleAddr, head("POST", path, "Content-Type: application/x-www-form-urlencoded",
			fmt.Sprintf("Content-Length: %d", len(body)), s.hostile)+body)
	}
}

func chunked(path, body string) func(context.Context, *system, int) {
	chunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	return func(ctx context.Context, s *system, _ int) {
		exchange(ctx, s.articleAddr, head("POST", path, "Content-Type: application/json", "Transfer-Encoding: chunked")+chunk)
	}
}

func get(method, path string) func(context.Context, *system, int) {
	return func(ctx context.Context, s *system, _ int) { exchange(ctx, s.articleAddr, head(method, path)) }
}

func compressed(path, encoding string) func(context.Context, *system, int) {
	return func(ctx context.Context, s *system, _ int) {
		exchange(ctx, s.articleAddr, head("GET", path, "Accept-Encoding: "+encoding))
	}
}

// slowBody sends a byte of a body per 100 ms.
func slowBody(path string, size int) func(context.Context, *system, int) {
	return func(ctx context.Context, s *system, _ int) {
		request := head("POST", path, "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", size), s.hostile)
		trickle(ctx, s.articleAddr, request, strings.Repeat(" ", size))
	}
}

// slowHeader sends most of a header at once and the rest byte by byte.
func slowHeader(size int) func(context.Context, *system, int) {
	return func(ctx context.Context, s *system, _ int) {
		trickle(ctx, s.articleAddr, "GET / HTTP/1.1\r\nHost: test\r\nX-Filler: "+strings.Repeat("a", size), strings.Repeat("a", size))
	}
}

func trickle(ctx context.Context, addr, first, rest string) {
	connect(ctx, addr, func(conn net.Conn) {
		if _, err := io.WriteString(conn, first); err != nil {
			return
		}
		for i := range len(rest) {
			if _, err := io.WriteString(conn, rest[i:i+1]); err != nil || ctx.Err() != nil {
				return
			}
			pause(ctx, 100*time.Millisecond)
		}
	})
}

// unread asks again and again on a connection, and reads nothing.
func unread(path string) func(context.Context, *system, int) {
	return func(ctx context.Context, s *system, _ int) {
		connect(ctx, s.articleAddr, func(conn net.Conn) {
			request := "GET " + path + " HTTP/1.1\r\nHost: test\r\n\r\n"
			for range 20 {
				_ = conn.SetWriteDeadline(time.Now().Add(writeWithin))
				if _, err := io.WriteString(conn, request); err != nil {
					return
				}
			}
			_, _ = conn.Read(make([]byte, 1)) // no more than one byte
			pause(ctx, writeWithin)
		})
	}
}

// streams opens an HTTP/2 connection.
func streams(s *system, act func(*http.Transport)) {
	client := &http.Transport{
		Protocols:       new(http.Protocols),
		MaxConnsPerHost: 1,
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, s.articleAddr) },
	}
	client.Protocols.SetUnencryptedHTTP2(true)
	defer client.CloseIdleConnections()
	act(client)
}

// unreadStreams asks on many streams of a connection, and reads no body.
func unreadStreams(path string, count int) func(context.Context, *system, int) {
	return func(ctx context.Context, s *system, _ int) {
		streams(s, func(client *http.Transport) {
			for range count {
				request, _ := http.NewRequestWithContext(ctx, "GET", "http://test"+path, nil)
				go func() {
					if response, err := client.RoundTrip(request); err == nil {
						pause(ctx, writeWithin)
						_ = response.Body.Close()
					}
				}()
			}
			pause(ctx, writeWithin)
		})
	}
}

// resetStreams begins requests and cancels them.
func resetStreams(path string, count int) func(context.Context, *system, int) {
	return func(ctx context.Context, s *system, _ int) {
		streams(s, func(client *http.Transport) {
			for range count {
				once, cancel := context.WithTimeout(ctx, time.Millisecond)
				request, _ := http.NewRequestWithContext(once, "GET", "http://test"+path, nil)
				if response, err := client.RoundTrip(request); err == nil {
					_ = response.Body.Close()
				}
				cancel()
			}
		})
	}
}

// idle opens a connection and does nothing until the service closes it.
func idle(ctx context.Context, s *system, n int) {
	addr := s.articleAddr
	if n%4 == 0 {
		addr = s.tagAddr
	}
	connect(ctx, addr, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) })
}

func guess(ctx context.Context, s *system, n int) {
	body, _ := json.Marshal(map[string]string{"app_key": fmt.Sprintf("guess-%d", n), "app_secret": strconv.FormatUint(rand.Uint64(), 36)})
	exchange(ctx, s.articleAddr, head("POST", "/auth", "Content-Type: application/json", fmt.Sprintf("Content-Length: %d", len(body)))+string(body))
}

func pollFeed(ctx context.Context, s *system, _ int) {
	exchange(ctx, s.tagAddr, head("GET", "/internal/v1/tag-changes?after=0&wait=10", "Authorization: Bearer "+strconv.FormatUint(rand.Uint64(), 36)))
}

// send sends a request with a token.
func send(client *http.Client, method, url string, body any) (*http.Response, error) {
	var payload bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&payload).Encode(body); err != nil {
			return nil, err
		}
	}
	request, err := http.NewRequest(method, url, &payload)
	if err != nil {
		return nil, err
	}
	request.Header = process.Header(process.Token())
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return response, err
}
