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

// backend answers like both services with one tag and one article, except for the request that spoilt names and with what stays.
type backend struct {
	spoilt, with string
	status       int
	stays        bool // what is deleted is still there
	mark         string
	deleted      map[string]bool
}

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request := r.Method + " " + r.URL.RequestURI()
	status, body := b.answer(request, r)
	if request == b.spoilt {
		status, body = b.status, b.with
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func (b *backend) answer(request string, r *http.Request) (int, string) {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") {
		return http.StatusUnauthorized, `{"code":10000004}`
	}
	if r.Method == http.MethodGet && !b.stays && b.deleted[r.URL.Path] {
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
	var out, problems bytes.Buffer
	exit = bootstrap.Command().Main([]string{"check", "--tags", server.URL, "--articles", server.URL, "--wait", "0s", "--auth.keysfile", keySet(t)}, nil, &out, &problems)
	return exit, out.String(), problems.String()
}

// keySet returns the file of a new one.
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
	require.Equal(t, 11, strings.Count(stdout, "\n"), "a line for each request:\n%s", stdout)
	require.Equal(t, map[string]bool{"/api/v1/tags/3": true, "/api/v1/articles/7": true}, b.deleted)
}

// Whatever is wrong with one answer is an error that names it, and what was made is removed all the same.
func TestCheckNotices(t *testing.T) {
	for _, c := range []struct {
		name, spoilt string
		status       int
		with, names  string
		left         int
	}{
		{"no answer", "GET /api/v1/articles", 503, `{"msg":"unavailable"}`, "503 instead of 200", 0},
		{"a refused write", "POST /api/v1/articles", 500, `{"msg":"failed"}`, "500 instead of 201", 1},
		{"a lost write", "GET /api/v1/articles/7", 404, `{}`, "404 instead of 200", 2},
		{"another name", "GET /api/v1/tags/3", 200, `{"data":{"id":3,"name":"other"}}`, "the tag reads", 2},
		{"another title", "GET /api/v1/articles/7", 200, `{"data":{"id":7,"title":"other"}}`, "the article reads", 2},
		{"no tags", "GET /api/v1/articles?tag_id=3", 200, `{"list":[]}`, "the articles of the new tag", 2},
		{"two articles", "GET /api/v1/articles?tag_id=3", 200, `{"list":[{"id":7},{"id":8}]}`, "the articles of the new tag", 2},
		{"another page", "GET /api/v1/tags/3", 200, `<html>`, "invalid character", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &backend{spoilt: c.spoilt, status: c.status, with: c.with}
			exit, _, stderr := runCheck(t, b)
			require.Equal(t, 1, exit)
			require.Contains(t, stderr, c.names)
			require.Len(t, b.deleted, c.left, "what was made is deleted")
		})
	}
}

func TestCheckNoticesWhatStays(t *testing.T) {
	exit, _, stderr := runCheck(t, &backend{stays: true})
	require.Equal(t, 1, exit)
	require.Contains(t, stderr, "200 instead of 404")
	exit, _, stderr = runCheck(t, &backend{spoilt: "DELETE /api/v1/articles/7", status: 500, with: `{}`})
	require.Equal(t, 1, exit)
	require.Contains(t, stderr, "500 instead of 200")
}

func TestCheckOfNobody(t *testing.T) {
	var stdout, stderr bytes.Buffer
	exit := bootstrap.Command().Main([]string{"check", "--tags", "http://127.0.0.1:1", "--wait", "0s", "--auth.keysfile", keySet(t)}, nil, &stdout, &stderr)
	require.Equal(t, 1, exit)
	require.Contains(t, stderr.String(), "look at the address")
}
