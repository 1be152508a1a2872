package status_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/achilles-blog/achilles/pkg/status"
)

func get(t *testing.T, page *status.Page, target, accept string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequest(http.MethodGet, target, nil)
	request.Header.Set("Accept", accept)
	response := httptest.NewRecorder()
	page.ServeHTTP(response, request)
	require.Equal(t, "no-store", response.Header().Get("Cache-Control"))
	require.Equal(t, "nosniff", response.Header().Get("X-Content-Type-Options"))
	return response
}

const (
	browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	attack  = `</td><script>alert("x")</script>`
)

func example() *status.Page {
	page := status.New("State of <tag>", status.Link{Path: "/configz", About: "configuration"})
	page.Add("build", func() status.Content {
		return status.Fields{{Name: "version", Value: "v1"}, {Name: "build_time", Value: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, {Name: "connections", Value: 7.0}, {Name: "unknown"}}
	})
	page.Add("last_errors", func() status.Content {
		return status.Table{Columns: []string{"first_seen", "line"}, Rows: [][]any{{attack, json.RawMessage(`{"a": "<b>"}`)}, {nil, 1}}}
	})
	page.Add("empty", func() status.Content { return status.Table{Columns: []string{"nothing"}} })
	return page
}

func TestJSON(t *testing.T) {
	for target, accept := range map[string]string{"/statusz": "*/*", "/statusz?": "application/json", "/statusz?format=json": browser} {
		response := get(t, example(), target, accept)
		require.Equal(t, "application/json; charset=utf-8", response.Header().Get("Content-Type"))
		require.JSONEq(t, `{
			"build": {"version": "v1", "build_time": "2026-01-02T03:04:05Z", "connections": 7, "unknown": null},
			"last_errors": [
				{"first_seen": "</td><script>alert(\"x\")</script>", "line": {"a": "<b>"}},
				{"first_seen": null, "line": 1}
			],
			"empty": []
		}`, response.Body.String())
	}
}

func TestHTML(t *testing.T) {
	for target, accept := range map[string]string{"/statusz": browser, "/statusz?format=html": "application/json"} {
		response := get(t, example(), target, accept)
		require.Equal(t, "text/html; charset=utf-8", response.Header().Get("Content-Type"))
		require.Regexp(t, "^default-src 'none'; style-src 'sha256-[^']+'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$", response.Header().Get("Content-Security-Policy"))
		text := response.Body.String()
		for _, want := range []string{
			`<h1>State of &lt;tag&gt;</h1>`, `<a href="/configz">configuration</a>`, `<h2 id="last_errors">last errors</h2>`,
			`<tr><th>build time</th><td>2026-01-02T03:04:05Z</td></tr>`, `<tr><th>connections</th><td>7</td></tr>`, `<tr><th>unknown</th><td></td></tr>`,
			`<tr><th>first seen</th><th>line</th></tr>`, `<td>none</td>`,
		} {
			require.Contains(t, text, want)
		}
		document, err := html.Parse(response.Body)
		require.NoError(t, err)
		var cells []string
		for node := range document.Descendants() {
			require.NotEqual(t, "script", node.Data)
			if node.Data == "style" {
				sum := sha256.Sum256([]byte(node.FirstChild.Data))
				require.Contains(t, response.Header().Get("Content-Security-Policy"), "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'", "browsers would ignore it")
			}
			if node.Data == "td" && node.FirstChild != nil {
				cells = append(cells, node.FirstChild.Data)
			}
		}
		require.Contains(t, cells, attack, "shown as it is")
	}
}

func TestUnknownFormat(t *testing.T) {
	response := get(t, example(), "/statusz?format=xml", browser)
	require.Equal(t, http.StatusBadRequest, response.Code)
	require.Equal(t, "format must be html or json\n", response.Body.String())
}

// A section may be added while the page is read.
func TestAddLater(t *testing.T) {
	page := status.New("x")
	done := make(chan struct{})
	go func() {
		defer close(done)
		page.Add("late", func() status.Content { return status.Fields{} })
	}()
	get(t, page, "/statusz", "")
	<-done
	require.JSONEq(t, `{"late": {}}`, get(t, page, "/statusz", "").Body.String())
}
