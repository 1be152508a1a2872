package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// blog is an API in memory, as far as the demo uses it.
type blog struct {
	mu       sync.Mutex
	tags     []string
	articles []map[string]any
	busy     int      // how many of the next articles are answered with 503
	turned   []string // the keys of those
	made     []string // the keys of the articles that were made
	failAt   int      // the number of articles after which nothing works any more
	flying   int
	peak     int
	second   chan struct{} // if not nil: closed when there are two requests at once, which the first article waits for
}

func (b *blog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.flying++
	b.peak = max(b.peak, b.flying)
	if b.second != nil && b.flying > 1 && !closed(b.second) {
		close(b.second)
	}
	b.mu.Unlock()
	if b.second != nil && r.Method == http.MethodPost && r.URL.Path == "/api/v1/articles" {
		<-b.second
	}
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flying--
	status, answer := b.answer(r, body)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

func (b *blog) answer(r *http.Request, body map[string]any) (int, map[string]any) {
	switch {
	case r.URL.Path == "/auth" && body["app_key"] == "demo" && body["app_secret"] == "secret":
		return 200, map[string]any{"code": 0, "data": map[string]any{"token": "token", "expires_in": 3600}}
	case r.URL.Path == "/auth":
		return 401, map[string]any{"code": 10000003}
	case r.Header.Get("Authorization") != "Bearer token":
		return 401, map[string]any{"code": 10000004, "msg": "missing or invalid token"}
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /api/v1/tags":
		list := []any{}
		for i, name := range b.tags {
			if name == r.FormValue("name") {
				list = append(list, map[string]any{"id": i + 1, "name": name})
			}
		}
		return 200, map[string]any{"code": 0, "list": list, "pager": map[string]any{"total_rows": len(list)}}
	case "POST /api/v1/tags":
		for _, name := range b.tags {
			if name == body["name"] {
				return 409, map[string]any{"code": 20010008, "msg": "exists", "details": []string{}}
			}
		}
		b.tags = append(b.tags, body["name"].(string))
		return 201, map[string]any{"code": 0, "data": map[string]any{"id": len(b.tags)}}
	case "GET /api/v1/articles":
		from, _ := strconv.Atoi(r.FormValue("after"))
		list, next := b.articles[from:min(from+100, len(b.articles))], ""
		if from+100 < len(b.articles) {
			next = strconv.Itoa(from + 100)
		}
		return 200, map[string]any{"code": 0, "list": list, "pager": map[string]any{"total_rows": len(b.articles), "next": next}}
	}
	if b.failAt > 0 && len(b.articles) >= b.failAt {
		return 400, map[string]any{"code": 10000001, "msg": "invalid parameters", "details": []string{"title is odd"}}
	}
	key := r.Header.Get("Idempotency-Key")
	if b.busy > 0 {
		b.busy--
		b.turned = append(b.turned, key)
		return 503, map[string]any{"code": 10000014, "msg": "later"}
	}
	b.made = append(b.made, key)
	delete(body, "content") // lists have none
	b.articles = append(b.articles, body)
	return 201, map[string]any{"code": 0, "data": map[string]any{"id": len(b.articles)}}
}

// clientDir is a DATA with the client that the blog knows.
func clientDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, clientFile), []byte("app_key=demo&app_secret=secret\n"), 0o600))
	return dir
}

func serveBlog(t *testing.T, b *blog) (*api, string) {
	t.Helper()
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	client := newClient(t, srv.URL)
	address, err := url.Parse(srv.URL)
	require.NoError(t, err)
	return client, address.Port()
}

func newClient(t *testing.T, base string) *api {
	t.Helper()
	client, err := newAPI(base, credentials{key: "demo", secret: "secret"})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func TestDemoFillsOnce(t *testing.T) {
	b := &blog{tags: []string{"mine", "Go"}, busy: 2, second: make(chan struct{})}
	_, port := serveBlog(t, b)
	dir := clientDir(t)
	for _, want := range []string{"Added 59 tags and 1000 articles (", "Nothing to add: the 60 tags and 1000 articles of the demo are there already."} {
		var stdout, stderr strings.Builder
		require.Zero(t, devserver([]string{"demo", "--port", port, "--data", dir}, nil, &stdout, &stderr), stderr.String())
		require.Contains(t, stdout.String(), want)
		require.Len(t, b.articles, 1000)
		require.Len(t, b.tags, 61)
	}
	require.LessOrEqual(t, b.peak, demoClients)
	require.Len(t, b.turned, 2)
	require.Subset(t, b.made, b.turned, "they were sent again under the same keys")
	slices.Sort(b.made)
	require.Len(t, slices.Compact(b.made), 1000, "each has a key of its own")
	titles, ofGo := map[any]bool{}, 0
	for _, article := range b.articles {
		titles[article["title"]] = true
		for _, id := range article["tag_ids"].([]any) {
			require.NotEqual(t, 1.0, id, "a tag of somebody else")
			if id == 2.0 {
				ofGo++
			}
		}
	}
	require.Len(t, titles, 1000)
	require.Greater(t, ofGo, 400, "the tag that was there is used")
}

func TestDemoGoesOnAfterAnInterruption(t *testing.T) {
	b := &blog{failAt: 300}
	srv := httptest.NewServer(b)
	broken := newClient(t, srv.URL)
	_, err := fill(t.Context(), broken, io.Discard)
	broken.Close()
	srv.Close() // waits for the requests that were given up
	require.ErrorContains(t, err, "title is odd")
	require.ErrorContains(t, err, "400")
	require.Len(t, b.articles, 300, "the first failure ends it")
	b.failAt = 0
	client, _ := serveBlog(t, b)
	again, err := fill(t.Context(), client, io.Discard)
	require.NoError(t, err)
	require.Equal(t, 700, again.articles)
	require.Zero(t, again.tags)
	require.Len(t, b.articles, 1000)
}

func TestDemoStopsWithItsContext(t *testing.T) {
	client, _ := serveBlog(t, &blog{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := fill(ctx, client, io.Discard)
	require.ErrorIs(t, err, context.Canceled)
}

func TestDemoAgainstSomethingElse(t *testing.T) {
	for _, content := range []string{"<html>", `{"ok":true}`, ""} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, content) }))
		client := newClient(t, srv.URL)
		_, err := fill(t.Context(), client, io.Discard)
		require.ErrorContains(t, err, "is not Achilles")
		client.Close()
		srv.Close()
	}
}

func TestDemoSaysHowFastItWas(t *testing.T) {
	require.Equal(t, "Added 2 tags and 500 articles (3.2 MB) in 2.0 s: 250 articles/s.",
		fmt.Sprint(filled{tags: 2, articles: 500, bytes: 3_200_000, took: 2e9}))
	require.Equal(t, "Added 1 tags and 0 articles; the other articles were there already.", fmt.Sprint(filled{tags: 1}))
}
