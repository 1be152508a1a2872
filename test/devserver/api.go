package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

const (
	demoClients   = 8
	pageSize      = 100 // the most that the API gives
	answerLimit   = 8 << 20
	busyTries     = 5
	busyPause     = time.Second // where the answer names none
	answerTimeout = 30 * time.Second
)

// api is a client of the gateway.
type api struct {
	base   string
	client *http.Client
	token  string // sent with every request, unless empty
}

// errUnknownClient means that no client has this key and secret.
var errUnknownClient = errors.New("there is no such client")

func newAPI(base string) *api {
	transport := &http.Transport{MaxIdleConnsPerHost: demoClients, IdleConnTimeout: time.Minute}
	return &api{base: base, client: &http.Client{Transport: transport, Timeout: answerTimeout}}
}

func (a *api) close() { a.client.CloseIdleConnections() }

// answer is what all answers of the API have in common.
type answer struct {
	Code    *int
	Msg     string
	Details []string
	Data    object
	List    []object
	Pager   struct {
		TotalRows int `json:"total_rows"`
	}
	status int
	pause  time.Duration // after which to ask again
}

type object struct {
	ID    uint64
	Title string
	Token string
}

// login gets a token for the client, which later requests carry. It returns
// errUnknownClient if the service rejects key and secret.
func (a *api) login(ctx context.Context, own credentials) error {
	got, err := a.send(ctx, http.MethodPost, "/auth", map[string]any{"app_key": own.key, "app_secret": own.secret})
	switch {
	case err != nil:
		return err
	case got.status == http.StatusUnauthorized:
		return errUnknownClient
	case got.status != http.StatusOK || got.Data.Token == "":
		return got.failure("asking for a token")
	}
	a.token = got.Data.Token
	return nil
}

// createTag creates a tag and returns its id, or returns the id of the tag that
// has the name already.
func (a *api) createTag(ctx context.Context, name string) (id uint64, added bool, err error) {
	got, err := a.send(ctx, http.MethodPost, "/api/v1/tags", map[string]any{"name": name})
	if err != nil {
		return 0, false, err
	}
	switch got.status {
	case http.StatusCreated:
		return got.Data.ID, true, nil
	case http.StatusConflict:
		id, found, err := a.findTag(ctx, name)
		if err == nil && !found {
			err = fmt.Errorf("the tag %q exists but isn't listed", name)
		}
		return id, false, err
	default:
		return 0, false, got.failure("creating the tag " + strconv.Quote(name))
	}
}

// findTag returns the id of the tag of that name.
func (a *api) findTag(ctx context.Context, name string) (id uint64, found bool, err error) {
	got, err := a.list(ctx, "/api/v1/tags?name="+url.QueryEscape(name))
	if err != nil || len(got.List) == 0 {
		return 0, false, err
	}
	return got.List[0].ID, true, nil
}

// titles returns the titles of all articles.
func (a *api) titles(ctx context.Context) (map[string]bool, error) {
	titles := make(map[string]bool)
	for page := 1; ; page++ {
		got, err := a.list(ctx, fmt.Sprintf("/api/v1/articles?page_size=%d&page=%d", pageSize, page))
		if err != nil {
			return nil, err
		}
		for _, article := range got.List {
			titles[article.Title] = true
		}
		if len(got.List) == 0 || page*pageSize >= got.Pager.TotalRows {
			return titles, nil
		}
	}
}

func (a *api) createArticle(ctx context.Context, p post, tags []uint64) error {
	body := map[string]any{"title": p.Title, "desc": p.Desc, "content": p.Content, "tag_ids": tags}
	if p.Cover != "" {
		body["cover_image_url"] = p.Cover
	}
	got, err := a.send(ctx, http.MethodPost, "/api/v1/articles", body)
	if err == nil && got.status != http.StatusCreated {
		err = got.failure("creating the article " + strconv.Quote(p.Title))
	}
	return err
}

func (a *api) list(ctx context.Context, path string) (*answer, error) {
	got, err := a.send(ctx, http.MethodGet, path, nil)
	if err == nil && got.status != http.StatusOK {
		err = got.failure("GET " + path)
	}
	return got, err
}

func (got *answer) failure(what string) error {
	return fmt.Errorf("%s was answered with %d, code %d: %s %v", what, got.status, *got.Code, got.Msg, got.Details)
}

// send makes a request. After 429 and 503 it waits and repeats the request a few
// times; a POST has an idempotency key, so that it takes effect once.
func (a *api) send(ctx context.Context, method, path string, body any) (*answer, error) {
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	key := rand.Text()
	for try := 1; ; try++ {
		got, err := a.once(ctx, method, path, content, key)
		if err != nil || !got.busy() || try == busyTries {
			return got, err
		}
		select {
		case <-time.After(got.pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (got *answer) busy() bool {
	return got.status == http.StatusServiceUnavailable || got.status == http.StatusTooManyRequests
}

func (a *api) once(ctx context.Context, method, path string, content []byte, key string) (*answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	request.Header.Set("locale", "en")
	if a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	if method == http.MethodPost {
		request.Header.Set("Idempotency-Key", key)
	}
	if content != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := a.client.Do(request)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("nothing runs on %s: start make run in another terminal, or give the DATA of the one that runs", a.base)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	got := &answer{status: response.StatusCode, pause: busyPause}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		got.pause = time.Duration(seconds) * time.Second
	}
	err = json.NewDecoder(io.LimitReader(response.Body, answerLimit)).Decode(got)
	if err != nil || got.Code == nil {
		return nil, fmt.Errorf("the server on %s is not Achilles (%s %s: status %d): give the PORT of make run",
			a.base, method, path, response.StatusCode)
	}
	return got, nil
}
