package bootstrap_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/services/article/internal/bootstrap"
)

// backend behaves like both services with one tag and one article. The response to
// the request broken has status and body.
type backend struct {
	broken, body string
	status       int
	undeleted    bool // DELETE deletes nothing
	mark         string
	deleted      map[string]bool
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request := r.Method + " " + r.URL.RequestURI()
	status, body := b.respond(request, r)
	if request == b.broken {
		status, body = b.status, b.body
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func (b *backend) respond(request string, r *http.Request) (int, string) {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") {
		return http.StatusUnauthorized, `{"code":10000004}`
	}
	if r.Method == http.MethodGet && !b.undeleted && b.deleted[r.URL.Path] {
		return http.StatusNotFound, `{"code":10000002}`
	}
	article := `{"id":7,"title":"` + b.mark + `","tags":[{"id":3,"name":"` + b.mark + `"}]}`
	switch request {
	case "POST /api/v1/tags":
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		b.mark = strings.Split(body.String(), `"`)[3]
		return http.StatusCreated, `{"data":{"id":3}}`
	case "POST /api/v1/articles":
		return http.StatusCreated, `{"data":` + article + `}`
	case "GET /api/v1/tags/3":
		return http.StatusOK, `{"data":{"id":3,"name":"` + b.mark + `"}}`
	case "GET /api/v1/articles/7":
		return http.StatusOK, `{"data":` + article + `}`
	case "GET /api/v1/articles?tag_id=3":
		return http.StatusOK, `{"list":[` + article + `]}`
	case "POST /api/v1/file/upload":
		return http.StatusCreated, `{"data":{"files":[{"file_id":9}]}}`
	case "GET /api/v1/file/download/9":
		return http.StatusOK, b.mark
	case "DELETE /api/v1/file/9":
		b.deleted["/api/v1/file/download/9"] = true
		return http.StatusOK, `{"data":{}}`
	case "DELETE /api/v1/tags/3", "DELETE /api/v1/articles/7":
		b.deleted[r.URL.Path] = true
		return http.StatusOK, `{"data":{}}`
	}
	return http.StatusOK, `{"list":[]}`
}

func runCheck(t *testing.T, b *backend) (exit int, stdout, stderr string) {
	t.Helper()
	b.deleted = map[string]bool{}
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	var out, errors bytes.Buffer
	exit = bootstrap.Command().Main([]string{"check", "--tags", server.URL, "--articles", server.URL, "--wait", "0s", "--auth.keysfile", keySet(t)}, nil, &out, &errors)
	return exit, out.String(), errors.String()
}

// keySet returns the name of a file with a new key set.
func keySet(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "keys.yaml")
	require.NoError(t, os.WriteFile(file, []byte(auth.GenerateKeySet(time.Now())), 0o600))
	return file
}

func TestCheck(t *testing.T) {
	b := &backend{}
	exit, stdout, stderr := runCheck(t, b)
	require.Zero(t, exit, stderr)
	require.Equal(t, 15, strings.Count(stdout, "\n"), "a line for each request:\n%s", stdout)
	require.Equal(t, map[string]bool{"/api/v1/tags/3": true, "/api/v1/articles/7": true, "/api/v1/file/download/9": true}, b.deleted)
}

// A service without a storage of files is all right.
func TestCheckWithoutFiles(t *testing.T) {
	b := &backend{broken: "POST /api/v1/file/upload", status: http.StatusNotImplemented, body: `{"code":20030012}`}
	exit, stdout, stderr := runCheck(t, b)
	require.Zero(t, exit, stderr)
	require.Contains(t, stdout, "no storage of files (Files.URL)")
	require.Equal(t, map[string]bool{"/api/v1/tags/3": true, "/api/v1/articles/7": true}, b.deleted)
}

// A wrong response is an error that names it. The check deletes its objects nevertheless.
func TestCheckFails(t *testing.T) {
	for _, c := range []struct {
		name, broken  string
		status        int
		body, message string
		deleted       int
	}{
		{"unavailable", "GET /api/v1/articles", 503, `{"msg":"unavailable"}`, "status is 503, want 200", 0},
		{"failed write", "POST /api/v1/articles", 500, `{"msg":"failed"}`, "status is 500, want 201", 1},
		{"lost write", "GET /api/v1/articles/7", 404, `{}`, "status is 404, want 200", 2},
		{"wrong name", "GET /api/v1/tags/3", 200, `{"data":{"id":3,"name":"other"}}`, "the tag is", 2},
		{"wrong title", "GET /api/v1/articles/7", 200, `{"data":{"id":7,"title":"other"}}`, "the article is", 2},
		{"no tags", "GET /api/v1/articles?tag_id=3", 200, `{"list":[]}`, "the articles of the new tag", 2},
		{"two articles", "GET /api/v1/articles?tag_id=3", 200, `{"list":[{"id":7},{"id":8}]}`, "the articles of the new tag", 2},
		{"not JSON", "GET /api/v1/tags/3", 200, `<html>`, "invalid character", 2},
		{"files, unwritable storage", "POST /api/v1/file/upload", 503, `{"msg":"unavailable"}`, "no file was stored", 2},
		{"files, advice", "POST /api/v1/file/upload", 503, `{}`, "check that the storage of files (Files.URL)", 2},
		{"files, lost file", "GET /api/v1/file/download/9", 503, `{}`, "the file can't be read", 3},
		{"files, other content", "GET /api/v1/file/download/9", 200, `x`, `the file is "x"`, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &backend{broken: c.broken, status: c.status, body: c.body}
			exit, _, stderr := runCheck(t, b)
			require.Equal(t, 1, exit)
			require.Contains(t, stderr, c.message)
			require.Len(t, b.deleted, c.deleted, "created objects are deleted")
		})
	}
}

func TestCheckVerifiesDeletion(t *testing.T) {
	exit, _, stderr := runCheck(t, &backend{undeleted: true})
	require.Equal(t, 1, exit)
	require.Contains(t, stderr, "status is 200, want 404")
	exit, _, stderr = runCheck(t, &backend{broken: "DELETE /api/v1/articles/7", status: 500, body: `{}`})
	require.Equal(t, 1, exit)
	require.Contains(t, stderr, "status is 500, want 200")
}

func TestCheckUnreachable(t *testing.T) {
	var stdout, stderr bytes.Buffer
	exit := bootstrap.Command().Main([]string{"check", "--tags", "http://127.0.0.1:1", "--wait", "0s", "--auth.keysfile", keySet(t)}, nil, &stdout, &stderr)
	require.Equal(t, 1, exit)
	require.Contains(t, stderr.String(), "check the address")
}
