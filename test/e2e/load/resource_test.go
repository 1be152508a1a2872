package load_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/scaffold/fields"
	"github.com/achilles-blog/achilles/test/e2e/load"
)

// store is a service with one resource. broken may change what it does.
type store struct {
	mu      sync.Mutex
	next    int
	objects map[string]map[string]any
	methods map[string]int
	broken  func(method string, object map[string]any) (skip bool)
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var sent map[string]any
	_ = json.NewDecoder(r.Body).Decode(&sent)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.methods[r.Method]++
	path := r.URL.Path
	object := s.objects[path]
	if s.broken != nil && s.broken(r.Method, sent) {
		_ = json.NewEncoder(w).Encode(map[string]any{"data": object})
		return
	}
	switch {
	case r.Method == http.MethodPost:
		s.next++
		object = sent
		object["id"] = s.next
		s.objects[fmt.Sprint(path, "/", s.next)] = object
		w.WriteHeader(http.StatusCreated)
	case path == "/api/v1/comments" || path == "/api/v1/tags":
		_ = json.NewEncoder(w).Encode(map[string]any{"list": []any{map[string]any{"id": s.next}}})
		return
	case object == nil:
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodDelete:
		delete(s.objects, path)
	default:
		for name, value := range sent {
			object[name] = value
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": object})
}

func comments(t *testing.T, text string) load.Resource {
	t.Helper()
	all, err := fields.Parse(text)
	require.NoError(t, err)
	return load.Resource{Name: "comment", Path: "/api/v1/comments", Fields: all}
}

func runResource(t *testing.T, broken func(string, map[string]any) bool) (*store, load.Result) {
	t.Helper()
	s := &store{objects: map[string]map[string]any{}, methods: map[string]int{}, broken: broken}
	server := httptest.NewServer(s)
	defer server.Close()
	resource := comments(t, "article_id:uint64 author:string(64) body:text state:state")
	resource.At = load.Endpoint{Addr: strings.TrimPrefix(server.URL, "http://"), Host: "comments"}
	l := load.Start(load.Config{Run: "r", Source: "s", Resources: []load.Resource{resource}, Mix: load.Mix{Resources: 2}, Think: time.Millisecond, MaxDuration: time.Second})
	until(t, l, func(c load.Count) bool { return c.Requests >= 300 })
	return s, l.Stop()
}

// The workers of a resource use every method, and their ledgers are those of the service.
func TestResource(t *testing.T) {
	s, result := runResource(t, nil)
	require.Zero(t, result.Failed, result.Failures)
	alive, edited := 0, 0
	for name, w := range result.Writers {
		require.Contains(t, name, "comment")
		for _, o := range w.Objects["comment"] {
			require.NotZero(t, o.ID)
			stored, is := s.objects[fmt.Sprint("/api/v1/comments/", o.ID)]
			require.Equal(t, !o.Deleted, is)
			if is {
				alive++
				require.Equal(t, float64(o.Edits.Acknowledged), stored["article_id"])
			}
			edited += o.Edits.Acknowledged
		}
	}
	require.Len(t, s.objects, alive)
	require.NotZero(t, edited)
	for _, method := range []string{"POST", "GET", "PUT", "PATCH", "DELETE"} {
		require.NotZero(t, s.methods[method], method)
	}
	require.Greater(t, s.methods["POST"], s.methods["GET"])
}

// A worker refers to an object of another resource, which it creates first and records, too.
func TestResourceThatRefers(t *testing.T) {
	s := &store{objects: map[string]map[string]any{}, methods: map[string]int{}}
	server := httptest.NewServer(s)
	defer server.Close()
	at := load.Endpoint{Addr: strings.TrimPrefix(server.URL, "http://"), Host: "comments"}
	resource := comments(t, "tag_id:uint64 body:text")
	resource.At, resource.Refers = at, map[string]load.Resource{"tag_id": {
		Name: "tag", Path: "/api/v1/tags", At: at, Fields: []fields.Field{{Name: "name", Type: fields.String, Size: 100}},
	}}
	l := load.Start(load.Config{Run: "r", Source: "s", Resources: []load.Resource{resource}, Mix: load.Mix{Resources: 2}, Think: time.Millisecond, MaxDuration: time.Second})
	until(t, l, func(c load.Count) bool { return c.Requests >= 100 })
	result := l.Stop()
	require.Zero(t, result.Failed, result.Failures)
	for _, w := range result.Writers {
		require.Len(t, w.Objects["tag"], 1)
		for _, o := range w.Objects["comment"] {
			if stored, is := s.objects[fmt.Sprint("/api/v1/comments/", o.ID)]; is {
				require.Equal(t, float64(w.Objects["tag"][0].ID), stored["tag_id"])
			}
		}
	}
}

// Faults of a service are noticed: an edit or a deletion that does nothing, and a creation
// that changes a value.
func TestResourceFaults(t *testing.T) {
	for name, broken := range map[string]func(string, map[string]any) bool{
		"edit":     func(method string, _ map[string]any) bool { return method == http.MethodPatch },
		"deletion": func(method string, _ map[string]any) bool { return method == http.MethodDelete },
		"creation": func(method string, object map[string]any) bool {
			if method == http.MethodPost {
				object["author"] = "nobody"
			}
			return false
		},
	} {
		_, result := runResource(t, broken)
		require.NotZero(t, result.Failed, name)
	}
}

// Every type of field has values that a service accepts, and that edits change.
func TestResourceValues(t *testing.T) {
	const name = "run/source/comment0/7"
	for _, c := range []struct {
		fields string
		first  map[string]any
		second map[string]any
	}{
		{"name:string(100)! state:state", map[string]any{"name": name}, map[string]any{"name": name}},
		{"a:string(64) b:text", map[string]any{"a": "revision-0", "b": name}, map[string]any{"a": "revision-1", "b": name}},
		{"a:string(5) b:string(64)", map[string]any{"a": "ion-0", "b": name}, map[string]any{"a": "ion-1", "b": name}},
		{"a:uint64 b:int64 c:bool d:time", map[string]any{"a": 0, "b": 0, "c": false, "d": "2023-11-14T22:13:20.000Z"}, map[string]any{"a": 1, "b": -1, "c": true, "d": "2023-11-14T22:13:21.000Z"}},
	} {
		r := comments(t, c.fields)
		require.Equal(t, c.first, r.Values(name, 0), c.fields)
		require.Equal(t, c.second, r.Values(name, 1), c.fields)
	}

	for _, text := range []string{"slug:string(8)!", "serial:uint64!"} {
		r := comments(t, text)
		_, named := r.Named()
		require.False(t, named)
		value := r.Values(name, 0)
		require.Equal(t, value, r.Values(name, 1), "edits keep unique values")
		require.NotEqual(t, value, r.Values(name+"1", 0))
	}
}
