package process_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/achilles-blog/achilles/test/process"
)

// configMap is a settings file as Kubernetes mounts it: settings.yaml leads through ..data to a
// directory. An update makes another directory and swaps ..data.
type configMap struct {
	dir      string
	settings map[string]map[string]any
	versions int
}

func newConfigMap(t *testing.T, settings map[string]map[string]any) *configMap {
	t.Helper()
	c := &configMap{dir: t.TempDir(), settings: settings}
	require.NoError(t, os.Symlink(filepath.Join("..data", "settings.yaml"), c.file()))
	c.publish(t)
	return c
}

func (c *configMap) file() string { return filepath.Join(c.dir, "settings.yaml") }

func (c *configMap) set(t *testing.T, key string, value any) {
	t.Helper()
	section, name, _ := strings.Cut(key, ".")
	if c.settings[section] == nil {
		c.settings[section] = map[string]any{}
	}
	c.settings[section][name] = value
	c.publish(t)
}

func (c *configMap) publish(t *testing.T) {
	t.Helper()
	c.versions++
	next := fmt.Sprintf("..2026_%d", c.versions)
	text, err := yaml.Marshal(c.settings)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(c.dir, next), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, next, "settings.yaml"), text, 0o600))
	require.NoError(t, os.Symlink(next, filepath.Join(c.dir, "..data_tmp")))
	former, _ := os.Readlink(filepath.Join(c.dir, "..data"))
	require.NoError(t, os.Rename(filepath.Join(c.dir, "..data_tmp"), filepath.Join(c.dir, "..data")))
	if former != "" {
		require.NoError(t, os.RemoveAll(filepath.Join(c.dir, former)))
	}
}

// plural is the path of the objects of a service.
func plural(program string) string { return "/api/v1/" + filepath.Base(program) + "s" }

// Each live setting takes effect in a running process, under writes on connections that are kept,
// which never retry. None is lost.
func TestLiveSettings(t *testing.T) {
	each(t, func(t *testing.T, program string, settings process.Settings) {
		process.Migrate(t, program, settings)
		limits := map[string]any{}
		maps.DeleteFunc(settings, func(key, _ string) bool { // variables would override the file
			if name, is := strings.CutPrefix(key, "Limits."); is {
				limits[name] = 100_000
				return true
			}
			return key == "Server.RequestTimeout"
		})
		file := newConfigMap(t, map[string]map[string]any{"Limits": limits, "Server": {"RequestTimeout": "45s"}})
		p := process.Start(t, program, settings, "serve", "--config", file.file())
		p.Addr(t)
		path := plural(program)
		process.Await(t, "the schema", func() bool { return ask(t, p, "GET", path, nil).Status == 200 })
		tr := newTraffic(path, func(name string) any {
			if filepath.Base(program) == "tag" {
				return newTag(name)
			}
			return newArticle(name)
		})
		tr.add(p.Addr(t))
		tr.begin("busy", 4, 10*time.Millisecond)
		tr.awaitMore(t, 3)

		header := func(more http.Header, name string) string { // of an anonymous read
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL(t, path), nil)
			require.NoError(t, err)
			maps.Copy(request.Header, more)
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, 200, response.StatusCode)
			return strings.Join(response.Header.Values(name), ", ")
		}
		for _, step := range []struct {
			key   string
			value any
			check func()
		}{
			{"Log.Level", "debug", nil},
			{"Limits.ReadBurst", 90_000, func() { require.Contains(t, header(nil, "RateLimit-Policy"), `"read";q=90000;`) }},
			{"Limits.IPv6Prefix", 56, nil},
			{"Limits.IPv6SiteFactor", 8, nil},
			{"App.DefaultPageSize", 3, func() {
				var list struct {
					Pager struct {
						PageSize int `json:"page_size"`
					}
				}
				require.NoError(t, ask(t, p, "GET", path, nil).JSON(&list))
				require.Equal(t, 3, list.Pager.PageSize)
			}},
			{"App.MaxPageSize", 7, func() {
				var list struct {
					Pager struct {
						PageSize int `json:"page_size"`
					}
				}
				require.NoError(t, ask(t, p, "GET", path+"?page_size=100", nil).JSON(&list))
				require.Equal(t, 7, list.Pager.PageSize)
			}},
			{"App.MaxOffset", 20, func() { require.Equal(t, 400, ask(t, p, "GET", path+"?page=100", nil).Status) }},
			{"Server.CorsAllowedOrigins", []string{"https://blog.example"}, func() {
				require.Equal(t, "https://blog.example", header(http.Header{"Origin": {"https://blog.example"}}, "Access-Control-Allow-Origin"))
			}},
			{"Server.CorsExposedHeaders", []string{"Link"}, func() {
				require.Equal(t, "Link", header(http.Header{"Origin": {"https://blog.example"}}, "Access-Control-Expose-Headers"))
			}},
			{"Server.TrustedProxies", []string{"127.0.0.0/8"}, func() {
				header(http.Header{"X-Forwarded-For": {"192.0.2.7"}}, "X")
				process.Await(t, "the client in the log", func() bool { return strings.Contains(p.Stdout(), `"client":"192.0.2.7"`) })
			}},
			{"Server.TrustedHops", 2, nil},
			{"Server.PathPrefix", "/blog", nil},
			{"Server.SharedMaxAge", "30s", func() { require.Contains(t, header(nil, "Cache-Control"), "s-maxage=30") }},
			{"Server.Compression", []string{}, func() { require.NotContains(t, header(nil, "Vary"), "Accept-Encoding") }},
			{"Server.RequestTimeout", "44s", nil},
			{"Tracing.SampleRatio", 0.5, nil},
		} {
			file.set(t, step.key, step.value)
			process.Await(t, step.key, func() bool {
				for _, line := range p.Log("settings read again") {
					if containsText(line["changed"], step.key+": ") {
						return true
					}
				}
				return false
			})
			if step.check != nil {
				step.check()
			}
			tr.awaitMore(t, 1)
		}
		tr.end()
		require.Empty(t, tr.lost)

		file.set(t, "Server.ReadOnly", true)
		process.Await(t, "read-only mode", func() bool { return ask(t, p, "POST", path, tr.body("late")).Status == 503 })
		var problem struct{ Code int }
		require.NoError(t, ask(t, p, "POST", path, tr.body("late")).JSON(&problem))
		require.Equal(t, 10000022, problem.Code)
		require.Equal(t, 200, ask(t, p, "GET", path, nil).Status)
		file.set(t, "Server.ReadOnly", false)
		process.Await(t, "the end of read-only mode", func() bool { return ask(t, p, "POST", path, tr.body("later")).Status == 201 })
		require.Empty(t, p.Log("the changed settings are not used"))
		p.Signal(t, sigterm)
		require.Zero(t, p.Exit(t))
	})
}

// A list of middleware that is unsafe stops the start with a sentence.
func TestUnsafeMiddleware(t *testing.T) {
	each(t, func(t *testing.T, program string, settings process.Settings) {
		const all = "recovery,request_id,client_address,security_headers,request_limit,unread_body,timeout"
		for list, want := range map[string]string{
			all + ",nonsense": "Server.Middleware: nonsense is not allowed; it must be one of recovery, request_id, ",
			all + ",recovery": "Server.Middleware: recovery twice is not allowed; it must be a list that names each middleware once (from environment variable ACHILLES_SERVER_MIDDLEWARE)",
			"request_id,recovery,client_address,security_headers,request_limit,unread_body,timeout": "Server.Middleware: request_id as the first is not allowed; it must be recovery first",
			"recovery,request_id":                   "Server.Middleware: a list without client_address is not allowed",
			strings.Replace(all, ",timeout", "", 1): "Server.Middleware: a list without timeout is not allowed; it must be one with timeout: without it a request could take for ever",
		} {
			requireFailure(t, program, settings.With(process.Settings{"Server.Middleware": list}), "serve", want)
		}
	})
}
