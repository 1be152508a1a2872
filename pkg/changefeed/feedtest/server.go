package feedtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/achilles-blog/achilles/pkg/changefeed"
	"github.com/achilles-blog/achilles/pkg/changefeed/readmodel"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// Token is what a Server accepts.
const Token settings.Secret = "the services' token, of 32 characters or more"

// Server is a service with a feed of changes in memory, with long polls. Its objects are rows of
// the read model that a test fills; in JSON, their id is named id.
type Server[R readmodel.Row] struct {
	*httptest.Server
	name, plural string

	mu      sync.Mutex
	epoch   string
	trimmed uint64 // sequence of the last trimmed change
	changes []map[string]any
	rows    map[uint64]R
	changed chan struct{}
	served  map[string]int
	waits   []string
	instead func(w http.ResponseWriter, r *http.Request) bool
	hold    func(r *http.Request)
}

// NewServer returns a server of the resource, such as tag, of which several have the name plural.
// Its first epoch is "first".
func NewServer[R readmodel.Row](t *testing.T, name, plural string) *Server[R] {
	t.Helper()
	s := &Server[R]{name: name, plural: plural, epoch: "first", rows: map[uint64]R{}, changed: make(chan struct{}), served: map[string]int{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// Put creates or updates an object.
func (s *Server[R]) Put(row R) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows[row.Key()] = row
	change := map[string]any{}
	text, err := json.Marshal(row)
	if err == nil {
		err = json.Unmarshal(text, &change)
	}
	if err != nil {
		panic(err)
	}
	delete(change, "id")
	s.append(row.Key(), changefeed.Put, change)
}

// Remove deletes an object.
func (s *Server[R]) Remove(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rows, id)
	s.append(id, changefeed.Delete, map[string]any{})
}

func (s *Server[R]) append(id uint64, kind changefeed.Kind, change map[string]any) {
	change["sequence"], change["kind"], change[s.name+"_id"] = s.last()+1, kind, id
	s.changes = append(s.changes, change)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server[R]) last() uint64 { return s.trimmed + uint64(len(s.changes)) }

// Forget deletes an object without a change in the feed, as a restored backup does.
func (s *Server[R]) Forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rows, id)
}

// Trim removes all changes.
func (s *Server[R]) Trim() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trimmed, s.changes = s.last(), nil
}

// Restart begins an epoch at an offset with the same objects, as after a restored backup.
func (s *Server[R]) Restart(epoch string, at uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch, s.trimmed, s.changes = epoch, at, nil
}

// Answer makes instead answer requests before the feed does, unless it returns false. nil is
// for the feed alone.
func (s *Server[R]) Answer(instead func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = instead
}

// Hold makes hold run between reading the changes and writing the response.
func (s *Server[R]) Hold(hold func(r *http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = hold
}

// Count returns the number of requests for a path.
func (s *Server[R]) Count(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.served[path]
}

// Waits returns the values of the parameter wait.
func (s *Server[R]) Waits() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.waits)
}

// Rows returns the objects by their ids.
func (s *Server[R]) Rows() map[uint64]R {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.rows)
}

// ServeHTTP implements http.Handler.
func (s *Server[R]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.served[r.URL.Path]++
	instead := s.instead
	s.mu.Unlock()
	if instead != nil && instead(w, r) {
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+Token.Reveal() {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	switch r.URL.Path {
	case "/internal/v1/" + s.name + "-changes":
		s.serveChanges(w, r)
	case "/internal/v1/" + s.name + "-snapshot":
		Respond(w, s.snapshot())
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (s *Server[R]) serveChanges(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	after, err := strconv.ParseUint(query.Get("after"), 10, 64)
	limit, err2 := strconv.Atoi(query.Get("limit"))
	wait, err3 := strconv.Atoi(query.Get("wait"))
	if err != nil || err2 != nil || err3 != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.waits = append(s.waits, query.Get("wait"))
	s.mu.Unlock()
	deadline := time.After(time.Duration(wait) * time.Second)
	for {
		found, ok, changed, hold := s.look(after, limit)
		if hold != nil {
			hold(r)
		}
		if !ok {
			w.WriteHeader(http.StatusGone)
			return
		}
		if len(found.Changes) > 0 || wait == 0 {
			Respond(w, found)
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

func (s *Server[R]) look(after uint64, limit int) (found changefeed.Changes[map[string]any], ok bool, changed <-chan struct{}, hold func(*http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found = changefeed.Changes[map[string]any]{Epoch: s.epoch, Changes: []map[string]any{}, Last: s.last()}
	if after < s.trimmed || after > found.Last {
		return found, false, nil, s.hold
	}
	changes := s.changes[after-s.trimmed:]
	found.Changes = append(found.Changes, changes[:min(limit, len(changes))]...)
	return found, true, s.changed, s.hold
}

func (s *Server[R]) snapshot() map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := []R{}
	for _, row := range s.rows {
		rows = append(rows, row)
	}
	return map[string]any{"epoch": s.epoch, "sequence": s.last(), s.plural: rows}
}

// Respond writes a response with data.
func Respond(w http.ResponseWriter, data any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"code": 0, "msg": "成功", "data": data})
}

// Status returns a function for Answer that responds with a status.
func Status(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		_, _ = fmt.Fprintln(w, `{"code":10000000}`)
		return true
	}
}
