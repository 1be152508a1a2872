package service_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// mounted is a settings file as Kubernetes mounts a ConfigMap: settings.yaml is a link to
// ..data/settings.yaml, and ..data a link to a directory. An update makes a new directory, swaps
// ..data by a rename and removes the old directory.
type mounted struct {
	dir     string
	version int
}

func mount(t *testing.T, content string) *mounted {
	t.Helper()
	m := &mounted{dir: t.TempDir()}
	require.NoError(t, os.Symlink(filepath.Join("..data", "settings.yaml"), m.file()))
	m.update(t, content)
	return m
}

func (m *mounted) file() string { return filepath.Join(m.dir, "settings.yaml") }

func (m *mounted) update(t *testing.T, content string) {
	t.Helper()
	m.version++
	next := fmt.Sprintf("..2026_%d", m.version)
	require.NoError(t, os.Mkdir(filepath.Join(m.dir, next), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(m.dir, next, "settings.yaml"), []byte(content), 0o600))
	require.NoError(t, os.Symlink(next, filepath.Join(m.dir, "..data_tmp")))
	former, _ := os.Readlink(filepath.Join(m.dir, "..data"))
	require.NoError(t, os.Rename(filepath.Join(m.dir, "..data_tmp"), filepath.Join(m.dir, "..data")))
	if former != "" {
		require.NoError(t, os.RemoveAll(filepath.Join(m.dir, former)))
	}
}

// options returns those of a service with the defaults c and this file. The environment
// overrides the file.
func (m *mounted) options(t *testing.T, c service.Config, environ ...string) command.Run[service.Config] {
	t.Helper()
	reload := func(content []byte) (service.Config, error) {
		loaded := c
		err := settings.Load(&loaded, settings.Source{File: m.file(), Content: content, Environ: environ})
		return loaded, err
	}
	content, err := os.ReadFile(m.file())
	require.NoError(t, err)
	first, err := reload(content)
	require.NoError(t, err)
	return command.Run[service.Config]{Config: first, ConfigFile: m.file(), FileContent: content, Reload: reload}
}

// await waits until the log has a text.
func (r *running) await(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(r.log.String(), text) }, patience, 5*time.Millisecond, "the log has no %q", text)
}

// send sends a request. headers are pairs of names and values.
func send(t *testing.T, method, url string, headers ...string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response
}

// things adds routes of an API to a service.
func things(s *service.Service) {
	api := s.Engine.Group("/things", s.Access()...)
	ok := func(c *gin.Context) {
		responses.Object(c, responses.ETag{Version: "1"}, struct{ Text, Client string }{strings.Repeat("x", 2000), c.Request.RemoteAddr}, nil)
	}
	api.GET("", ok)
	api.HEAD("", ok)
	api.POST("", ok)
	api.PUT("", ok)
	api.PATCH("", ok)
	api.DELETE("", ok)
}

// migrated returns a configuration whose database is migrated.
func migrated(t *testing.T) service.Config {
	t.Helper()
	c := config(t)
	c.Database.Timeout = 10 * time.Second // less than that of requests
	require.NoError(t, service.Migrate(t.Context(), c, migrations, io.Discard))
	return c
}

func (r *running) awaitReady(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { status, _ := get(t, r.url+"/readyz"); return status == http.StatusOK }, patience, time.Millisecond)
}

// Each live setting changes while the service runs, without a restart.
func TestLiveSettings(t *testing.T) {
	file := mount(t, "Log: {Level: info}\n")
	r := run(t, file.options(t, migrated(t), "ACHILLES_LIMITS_READBURST=77"), things)
	defer r.stop(t)
	r.awaitReady(t)
	url := r.url + "/things"
	for _, step := range []struct {
		content, logged string
		check           func()
	}{
		{"Limits: {WriteBurst: 9, WritePerSecond: 3, ReadBurst: 5}", `Limits.WriteBurst: \"9\", was \"40\"`, func() {
			require.Equal(t, `"write";q=9;w=3`, send(t, http.MethodPost, url).Header.Get("RateLimit-Policy"))
			require.Contains(t, send(t, http.MethodGet, url).Header.Get("RateLimit-Policy"), `"read";q=77;`, "the environment has precedence over the file")
		}},
		{"Limits: {Enabled: false}", `Limits.Enabled: \"false\", was \"true\"`, func() {
			require.Empty(t, send(t, http.MethodGet, url).Header.Get("RateLimit"))
		}},
		{"Server: {CorsAllowedOrigins: [https://blog.example]}", `Server.CorsAllowedOrigins`, func() {
			header := send(t, http.MethodGet, url, "Origin", "https://blog.example").Header
			require.Equal(t, "https://blog.example", header.Get("Access-Control-Allow-Origin"))
		}},
		{"Server: {CorsAllowedOrigins: ['*'], CorsExposedHeaders: [ETag]}", `Server.CorsExposedHeaders`, func() {
			header := send(t, http.MethodGet, url, "Origin", "https://other.example").Header
			require.Equal(t, []string{"*", "Etag"}, []string{header.Get("Access-Control-Allow-Origin"), header.Get("Access-Control-Expose-Headers")})
		}},
		{"Server: {TrustedProxies: [127.0.0.0/8], PathPrefix: /blog}", `Server.TrustedProxies`, func() {
			send(t, http.MethodGet, url, "X-Forwarded-For", "192.0.2.7")
			r.await(t, `"client":"192.0.2.7"`)
		}},
		{"Server: {SharedMaxAge: 30s}", `Server.SharedMaxAge: \"30s\", was \"10s\"`, func() {
			require.Contains(t, send(t, http.MethodGet, url).Header.Get("Cache-Control"), "s-maxage=30")
		}},
		{"Server: {Compression: [gzip]}", `Server.Compression: \"gzip\", was \"zstd,gzip\"`, func() {
			require.Equal(t, "gzip", send(t, http.MethodGet, url, "Accept-Encoding", "zstd, gzip").Header.Get("Content-Encoding"))
		}},
		{"Server: {Compression: []}", `Server.Compression: \"\", was \"gzip\"`, func() {
			require.Empty(t, send(t, http.MethodGet, url, "Accept-Encoding", "zstd, gzip").Header.Get("Content-Encoding"))
		}},
		{"Server: {ReadOnly: true}", `Server.ReadOnly: \"true\", was \"false\"`, func() {
			require.Equal(t, http.StatusServiceUnavailable, send(t, http.MethodPost, url).StatusCode)
		}},
		{"Log: {Level: debug}", `Log.Level: \"debug\", was \"info\"`, func() {
			require.Equal(t, http.StatusOK, send(t, http.MethodPost, url).StatusCode, "no longer read-only")
			require.Eventually(t, func() bool {
				r.Log.Debug("whispered")
				return strings.Contains(r.log.String(), "whispered")
			}, patience, 10*time.Millisecond)
		}},
	} {
		file.update(t, step.content)
		r.await(t, step.logged)
		step.check()
	}
	status := r.ReloadStatus()
	require.True(t, status.OK)
	require.Empty(t, status.Restart)
}

// admin returns what the admin listener answers.
func (r *running) admin(t *testing.T, path string) string {
	t.Helper()
	_, body := get(t, "http://"+matches(adminLine, r.log.String())[0]+path)
	return body
}

// An invalid file changes nothing, and the log, the metrics and the status say so.
func TestInvalidSettingsAreNotUsed(t *testing.T) {
	file := mount(t, "Limits: {WriteBurst: 9}")
	r := run(t, file.options(t, migrated(t)), things)
	defer r.stop(t)
	r.awaitReady(t)
	first := r.ReloadStatus()
	require.True(t, first.OK)
	require.Contains(t, r.admin(t, "/metrics"), "achilles_config_last_reload_successful 1\n")
	for _, broken := range []struct{ content, want string }{
		{"Limits: {WriteBurst: 0}", "Limits.WriteBurst: 0 is not allowed"},
		{"Limits: {WriteBurst: 8, Burst: 2}", "Limits.Burst: no such setting"},
		{"Limits: {WriteBurst: 8}\nServer: {SharedMaxAge: soon}", "Server.SharedMaxAge"},
		{"Limits: {WriteBurst: 8", "near line 1"},
		{" \n", "is empty; write the settings into it"},
		{"Limits: {WriteBurst: 8}\nServer: {Middleware: [recovery, request_id, client_address, security_headers, request_limit, unread_body, timeout, trcing]}", "Server.Middleware: trcing is not allowed; it must be tracing"},
	} {
		file.update(t, broken.content)
		r.await(t, broken.want)
		require.Eventually(t, func() bool { return strings.Contains(r.ReloadStatus().Error, broken.want) }, patience, time.Millisecond)
		status := r.ReloadStatus()
		require.False(t, status.OK)
		require.True(t, status.Time.After(first.Time))
		require.Contains(t, send(t, http.MethodPost, r.url+"/things").Header.Get("RateLimit-Policy"), `"write";q=9;`)
		exposition := r.admin(t, "/metrics")
		require.Contains(t, exposition, "achilles_config_last_reload_successful 0\n")
		require.Contains(t, exposition, fmt.Sprintf("achilles_config_last_reload_success_timestamp_seconds %s\n", seconds(first.Time)))
	}
	require.NotContains(t, r.log.String(), "settings read again")
	file.update(t, "Limits: {WriteBurst: 7}")
	r.await(t, "settings read again")
	require.True(t, r.ReloadStatus().OK)
	require.Contains(t, r.admin(t, "/metrics"), "achilles_config_last_reload_successful 1\n")
	for line := range strings.Lines(r.log.String()) {
		require.True(t, json.Valid([]byte(line)), "%s", line)
	}
}

// seconds returns a time as Prometheus shows it.
func seconds(at time.Time) string {
	return strconv.FormatFloat(float64(at.UnixMilli())/1000, 'g', -1, 64)
}

// What can't change while the service runs is said, and a live setting that only goes together
// with it waits, too.
func TestSettingsThatNeedARestart(t *testing.T) {
	file := mount(t, "Limits: {WriteBurst: 9}")
	r := run(t, file.options(t, migrated(t)), things)
	defer r.stop(t)
	r.awaitReady(t)
	file.update(t, "Limits: {WriteBurst: 8}\nServer: {MaxRequests: 2000}\nDatabase: {MaxOpenConns: 40}")
	r.await(t, `"msg":"changed settings take effect at the next start","service":"toy","keys":["Server.MaxRequests","Database.MaxOpenConns"]`)
	r.await(t, "settings read again")
	require.Equal(t, []string{"Server.MaxRequests", "Database.MaxOpenConns"}, r.ReloadStatus().Restart)
	require.Contains(t, r.admin(t, "/metrics"), "achilles_config_restart_pending 1\n")
	require.Contains(t, send(t, http.MethodPost, r.url+"/things").Header.Get("RateLimit-Policy"), `"write";q=8;`)

	file.update(t, "Limits: {WriteBurst: 7}\nServer: {RequestTimeout: 20s, WriteTimeout: 25s, ShutdownTimeout: 25s}")
	r.await(t, "these settings only go together with others that need a restart: Server.WriteTimeout: 18s is not allowed")
	require.Eventually(t, func() bool { return len(r.ReloadStatus().Restart) == 4 }, patience, time.Millisecond)
	status := r.ReloadStatus()
	require.True(t, status.OK, "the file is valid")
	require.ElementsMatch(t, []string{"Server.RequestTimeout", "Server.WriteTimeout", "Server.ShutdownTimeout", "Limits.WriteBurst"}, status.Restart)
	require.Contains(t, send(t, http.MethodPost, r.url+"/things").Header.Get("RateLimit-Policy"), `"write";q=8;`)

	file.update(t, "Limits: {WriteBurst: 6}")
	require.Eventually(t, func() bool { return r.ReloadStatus().Restart == nil }, patience, time.Millisecond)
	require.Contains(t, r.admin(t, "/metrics"), "achilles_config_restart_pending 0\n")
}

// While the settings change, no request fails, and each sees one configuration: here the one
// with which it has begun.
func TestRequestsWhileSettingsChange(t *testing.T) {
	content := func(n int) string {
		return fmt.Sprintf("Server: {SharedMaxAge: %ds, CorsAllowedOrigins: ['https://%d.example']}\nLimits: {ReadBurst: %d, ReadPerSecond: 100000}", n, n, 50_000+n)
	}
	file := mount(t, content(1))
	type pair struct {
		age    time.Duration
		origin string
	}
	var ages settings.Value[time.Duration]
	var origins settings.Value[string]
	opts := file.options(t, migrated(t))
	own := service.Middleware[service.Config]{Name: "consistent", New: func(_ *service.Service, c service.Config) (gin.HandlerFunc, error) {
		want := pair{c.Server.SharedMaxAge, c.Server.CORSAllowedOrigins[0]}
		return func(c *gin.Context) {
			time.Sleep(time.Millisecond) // so that the settings change meanwhile
			if got := (pair{ages.In(c), origins.In(c.Request.Context())}); got != want {
				t.Errorf("a request saw %v and %v", want, got)
			}
		}, nil
	}}
	opts.Config.Server.Middleware = append(opts.Config.Server.Middleware, own.Name)
	reload := opts.Reload
	opts.Reload = func(content []byte) (service.Config, error) {
		c, err := reload(content)
		c.Server.Middleware = append(c.Server.Middleware, own.Name)
		return c, err
	}
	r := runLive(t, opts, func(s *service.Service, live *settings.Live[service.Config]) {
		ages = settings.Map(live, func(c service.Config) time.Duration { return c.Server.SharedMaxAge })
		origins = settings.Map(live, func(c service.Config) string { return c.Server.CORSAllowedOrigins[0] })
		things(s)
	}, own)
	defer r.stop(t)
	r.awaitReady(t)

	done := make(chan struct{})
	var clients sync.WaitGroup
	requests := make([]int, 4)
	for i := range requests {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				response, err := http.Get(r.url + "/things")
				if err != nil || response.StatusCode != http.StatusOK {
					t.Errorf("a request failed: %v %v", response, err)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				requests[i]++
			}
		})
	}
	for n := 2; n < 12; n++ {
		file.update(t, content(n))
		require.Eventually(t, func() bool {
			return strings.HasSuffix(send(t, http.MethodGet, r.url+"/things").Header.Get("Cache-Control"), fmt.Sprintf("s-maxage=%d", n))
		}, patience, time.Millisecond)
	}
	close(done)
	clients.Wait()
	for _, sent := range requests {
		require.Positive(t, sent)
	}
}
