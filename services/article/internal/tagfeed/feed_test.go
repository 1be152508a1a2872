package tagfeed_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/services/article/internal/tagfeed"
)

const (
	token    settings.Secret = "the services' token"
	patience                 = time.Minute
)

// feed is a fake tag service with long polls.
type feed struct {
	*httptest.Server

	mu      sync.Mutex
	epoch   string
	trimmed uint64 // sequence of the last trimmed change
	changes []tagfeed.Change
	tags    map[uint64]tagfeed.Tag
	changed chan struct{}
	// served counts the requests by path. waits are the query parameters wait.
	served map[string]int
	waits  []string
	// instead, if set, answers requests before the feed unless it returns false.
	instead func(w http.ResponseWriter, r *http.Request) bool
	// beforeAnswer runs between reading the changes and writing the response.
	beforeAnswer func(r *http.Request)
}

func newFeed(t *testing.T) *feed {
	t.Helper()
	f := &feed{epoch: "first", tags: map[uint64]tagfeed.Tag{}, changed: make(chan struct{}), served: map[string]int{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// put creates or updates a tag.
func (f *feed) put(id uint64, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tags[id] = tagfeed.Tag{ID: id, Name: name, State: 1}
	f.append(tagfeed.Change{TagID: id, Kind: changefeed.Put, Name: name, State: 1})
}

func (f *feed) remove(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.tags, id)
	f.append(tagfeed.Change{TagID: id, Kind: changefeed.Delete})
}

func (f *feed) append(change tagfeed.Change) {
	change.Sequence = f.trimmed + uint64(len(f.changes)) + 1
	f.changes = append(f.changes, change)
	close(f.changed)
	f.changed = make(chan struct{})
}

// trim removes all changes.
func (f *feed) trim() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trimmed += uint64(len(f.changes))
	f.changes = nil
}

// restart begins a new epoch with the same tags, as after a restored backup.
func (f *feed) restart(epoch string, at uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.epoch, f.trimmed, f.changes = epoch, at, nil
}

func (f *feed) answer(instead func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instead = instead
}

func (f *feed) hold(beforeAnswer func(r *http.Request)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.beforeAnswer = beforeAnswer
}

func (f *feed) count(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.served[path]
}

const (
	changesPath  = "/internal/v1/tag-changes"
	snapshotPath = "/internal/v1/tag-snapshot"
)

func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.served[r.URL.Path]++
	instead := f.instead
	f.mu.Unlock()
	if instead != nil && instead(w, r) {
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+token.Reveal() {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch r.URL.Path {
	case changesPath:
		f.serveChanges(w, r)
	case snapshotPath:
		write(w, f.snapshot())
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (f *feed) serveChanges(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	after, err := strconv.ParseUint(query.Get("after"), 10, 64)
	limit, err2 := strconv.Atoi(query.Get("limit"))
	wait, err3 := strconv.Atoi(query.Get("wait"))
	if err != nil || err2 != nil || err3 != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	f.waits = append(f.waits, query.Get("wait"))
	f.mu.Unlock()
	deadline := time.After(time.Duration(wait) * time.Second)
	for {
		found, ok, changed, beforeAnswer := f.look(after, limit)
		if beforeAnswer != nil {
			beforeAnswer(r)
		}
		if !ok {
			w.WriteHeader(http.StatusGone)
			return
		}
		if len(found.Changes) > 0 || wait == 0 {
			write(w, found)
			return
		}
		select {
		case <-changed:
		case <-deadline:
			wait = 0
		case <-r.Context().Done():
			return
		}
	}
}

func (f *feed) look(after uint64, limit int) (found tagfeed.Changes, ok bool, changed <-chan struct{}, beforeAnswer func(*http.Request)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	found = tagfeed.Changes{Epoch: f.epoch, Changes: []tagfeed.Change{}, Last: f.trimmed + uint64(len(f.changes))}
	if after < f.trimmed || after > found.Last {
		return found, false, nil, f.beforeAnswer
	}
	for _, change := range f.changes[after-f.trimmed:] {
		if len(found.Changes) < limit {
			found.Changes = append(found.Changes, change)
		}
	}
	return found, true, f.changed, f.beforeAnswer
}

func (f *feed) snapshot() tagfeed.Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := tagfeed.Snapshot{Epoch: f.epoch, Sequence: f.trimmed + uint64(len(f.changes)), Tags: []tagfeed.Tag{}}
	for _, tag := range f.tags {
		s.Tags = append(s.Tags, tag)
	}
	return s
}

func write(w http.ResponseWriter, data any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"code": 0, "msg": "成功", "data": data})
}

func status(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		_, _ = fmt.Fprintln(w, `{"code":10000000}`)
		return true
	}
}

func newClient(t *testing.T, base string, secret settings.Secret, timeout time.Duration) *tagfeed.Client {
	t.Helper()
	client := tagfeed.NewClient(base, secret, timeout)
	t.Cleanup(client.Close)
	return client
}

func requireWithin(t *testing.T, limit time.Duration, work func()) {
	t.Helper()
	began := time.Now()
	work()
	require.Less(t, time.Since(began), limit)
}
