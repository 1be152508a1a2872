package api_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/crypto/bcrypt"

	"github.com/achilles-blog/achilles/pkg/apitest"
	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/dbtest"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/issuer/access"
	"github.com/achilles-blog/achilles/pkg/issuer/api"
	"github.com/achilles-blog/achilles/pkg/issuer/store"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
)

const (
	authPath   = "/auth"
	demoSecret = "the secret of the demo"
	asJSON     = "application/json"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

func migrated(t *testing.T, cfg database.Config) *database.DB {
	t.Helper()
	db := dbtest.Open(t, cfg)
	_, _, err := database.Migrate(t.Context(), db, database.Migrations{Service: "issuer", Files: fstest.MapFS{"mysql": {Mode: fs.ModeDir}, "sqlite": {Mode: fs.ModeDir}}, Shared: map[int64]fs.FS{1: store.Schema()}})
	require.NoError(t, err)
	return db
}

// description returns the API description of the service that issues the tokens.
func description(t *testing.T) []byte {
	t.Helper()
	files, err := filepath.Glob("../../../services/*/docs/openapi.json")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if bytes.Contains(text, []byte(`"/auth": {`)) {
			return text
		}
	}
	t.Fatal("no service describes POST /auth: run make docs")
	return nil
}

// tokenAPI is POST /auth behind a real connection, with a database that has the
// clients demo and reader.
type tokenAPI struct {
	*apitest.Client
	handler http.Handler
	keySet  *auth.KeySet
	logs    *observer.ObservedLogs
}

func startTokenAPI(t *testing.T, cfg database.Config, keySet *auth.KeySet, limits ratelimit.Config) tokenAPI {
	t.Helper()
	db := migrated(t, cfg)
	clients, err := access.NewService(store.NewClients(db)).WithCost(bcrypt.MinCost)
	require.NoError(t, err)
	require.NoError(t, clients.Add(t.Context(), "demo", []string{auth.ScopeWrite}, demoSecret))
	require.NoError(t, clients.Add(t.Context(), "reader", nil, demoSecret))
	core, logs := observer.New(zapcore.DebugLevel)
	config := server.Default()
	engine, err := server.NewEngine(settings.Fixed(config), server.Deps{
		Log: zap.New(core), Metrics: metrics.New(buildinfo.Get()), Health: health.New(health.Default(), nil, zap.NewNop(), nil), Info: buildinfo.Get(),
	})
	require.NoError(t, err)
	binder, err := requests.NewBinder()
	require.NoError(t, err)
	(&api.Tokens{Clients: clients, KeySet: keySet, Binder: binder}).Register(engine.Group("", ratelimit.New(ratelimit.Deps{Service: "article"}, settings.Fixed(limits)).Auth()))
	return tokenAPI{apitest.New(t, engine, description(t)), engine, keySet, logs}
}

func eachTokenAPI(t *testing.T, test func(t *testing.T, a tokenAPI)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		test(t, startTokenAPI(t, cfg, apitest.KeySet(t), unlimited()))
	})
}

// requestToken sends the credentials in the encoding.
func (a tokenAPI) requestToken(t *testing.T, encoding, key, secret string, header ...http.Header) *apitest.Result {
	t.Helper()
	c := apitest.Case{Method: http.MethodPost, Path: authPath}
	if encoding == "json" {
		c.JSON = map[string]string{"app_key": key, "app_secret": secret}
	} else {
		c.Form = url.Values{"app_key": {key}, "app_secret": {secret}}
	}
	if len(header) > 0 {
		c.Header = header[0]
	}
	result := a.Do(t, c)
	require.Equal(t, "no-store", result.Header.Get("Cache-Control"))
	return result
}

func TestToken(t *testing.T) {
	eachTokenAPI(t, func(t *testing.T, a tokenAPI) {
		for encoding, want := range map[string]auth.Principal{
			"json": {AppKey: "demo", Scopes: []string{"write"}}, "form": {AppKey: "reader", Scopes: []string{}},
		} {
			result := a.requestToken(t, encoding, want.AppKey, demoSecret)
			require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
			var response struct {
				Code int
				Msg  string
				Data map[string]any
			}
			result.JSON(t, &response)
			require.Zero(t, response.Code)
			require.Equal(t, "成功", response.Msg)
			token, _ := response.Data["token"].(string)
			require.Equal(t, map[string]any{"token": token, "token_type": "Bearer", "expires_in": 3600.}, response.Data)
			principal, err := a.keySet.Verify(token, time.Now())
			require.NoError(t, err)
			require.Equal(t, want, principal)
		}
	})
}

// The responses to an unknown key and to a wrong secret are the same.
func TestInvalidCredentials(t *testing.T) {
	a := startTokenAPI(t, dbtest.SQLite(t), apitest.KeySet(t), unlimited())
	want := a.requestToken(t, "json", "nobody", demoSecret)
	apitest.RequireProblem(t, want, errcode.UnauthorizedApp, errcode.UnauthorizedApp.Message("zh"))
	require.Equal(t, auth.Challenge, want.Header.Get("WWW-Authenticate"))
	for name, pair := range map[string][3]string{
		"wrong secret": {"demo", "another secret, then", "json"}, "another case": {"Demo", demoSecret, "form"},
		"a space after the key": {"demo ", demoSecret, "form"}, "a space after the secret": {"demo", demoSecret + " ", "form"},
		"a long secret": {"demo", demoSecret + strings.Repeat("x", 100), "json"}, "a long key": {strings.Repeat("d", 1000), demoSecret, "json"},
		"NUL": {"demo\x00", demoSecret, "form"}, "empty": {"", "", "form"}, "no secret": {"demo", "", "json"},
	} {
		got := a.requestToken(t, pair[2], pair[0], pair[1])
		require.Equal(t, want.Status, got.Status, name)
		require.Equal(t, string(want.Body), string(got.Body), name)
		for _, result := range []*apitest.Result{want, got} {
			result.Header.Del("Date")
			result.Header.Del("X-Request-ID")
			result.Header.Del("RateLimit")
		}
		require.Equal(t, want.Header, got.Header, name)
	}
	require.NotZero(t, a.logs.Len())
	for _, entry := range a.logs.All() {
		require.NotContains(t, fmt.Sprint(entry.Message, entry.ContextMap()), demoSecret)
	}
}

func TestInvalidAuthBodies(t *testing.T) {
	a := startTokenAPI(t, dbtest.SQLite(t), apitest.KeySet(t), unlimited())
	for name, c := range map[string]struct {
		json, form string
		details    []string
	}{
		"empty":       {`{}`, ``, []string{"app_key为必填字段", "app_secret为必填字段"}},
		"missing key": {`{"app_secret":"x"}`, `app_secret=x`, []string{"app_key为必填字段"}},
		"no secret":   {`{"app_key":"demo"}`, `app_key=demo`, []string{"app_secret为必填字段"}},
		"other names": {`{"appKey":"demo","appSecret":"x"}`, `appKey=demo&appSecret=x`, []string{`没有字段"appKey", 是否指app_key`, `没有字段"appSecret", 是否指app_secret`}},
	} {
		t.Run(name, func(t *testing.T) {
			for contentType, body := range map[string]string{asJSON: c.json, "application/x-www-form-urlencoded": c.form} {
				result := a.Do(t, apitest.Case{Method: http.MethodPost, Path: authPath, Body: []byte(body), ContentType: contentType, Invalid: true})
				apitest.RequireProblem(t, result, errcode.InvalidParams, "入参错误", c.details...)
				require.Equal(t, "no-store", result.Header.Get("Cache-Control"))
			}
		})
	}
	t.Run("in the query", func(t *testing.T) {
		query := url.Values{"app_key": {"demo"}, "app_secret": {demoSecret}}
		result := a.Do(t, apitest.Case{Method: http.MethodPost, Path: authPath, Query: query, Body: []byte(`{}`), ContentType: asJSON, Invalid: true})
		apitest.RequireProblem(t, result, errcode.InvalidParams, "入参错误", "app_key为必填字段", "app_secret为必填字段")
	})
	t.Run("another media type", func(t *testing.T) {
		result := a.Do(t, apitest.Case{Method: http.MethodPost, Path: authPath, Body: []byte(`<a/>`), ContentType: "text/xml", Invalid: true})
		require.Equal(t, http.StatusUnsupportedMediaType, result.Status)
	})
}

// Without a signing key, valid credentials get an error that says so. Invalid ones
// get the usual error.
func TestNoSigningKey(t *testing.T) {
	empty, err := auth.OpenKeySet(auth.Default())
	require.NoError(t, err)
	a := startTokenAPI(t, dbtest.SQLite(t), empty, unlimited())
	result := a.requestToken(t, "json", "demo", demoSecret, in("en"))
	apitest.RequireProblem(t, result, errcode.UnauthorizedGenerate, errcode.UnauthorizedGenerate.Message("en"),
		"the service has no signing key, ask its operator to set one (Auth.KeysFile)")
	require.Equal(t, auth.Challenge, result.Header.Get("WWW-Authenticate"))
	apitest.RequireProblem(t, a.requestToken(t, "json", "demo", "another secret, then"), errcode.UnauthorizedApp, errcode.UnauthorizedApp.Message("zh"))
}

// Guesses that don't fit into the queue get a 503. A client that has got a token
// before still gets one.
func TestGuessesAreRejectedFirst(t *testing.T) {
	a := startTokenAPI(t, dbtest.SQLite(t), apitest.KeySet(t), unlimited())
	require.Equal(t, http.StatusOK, a.requestToken(t, "json", "demo", demoSecret).Status)
	stop := make(chan struct{})
	var busy atomic.Pointer[apitest.Result]
	var guessers sync.WaitGroup
	for range 60 {
		guessers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if result := a.requestToken(t, "json", "nobody", demoSecret, in("en")); result.Status == http.StatusServiceUnavailable {
					busy.Store(result)
				}
			}
		})
	}
	require.Eventually(t, func() bool { return busy.Load() != nil }, time.Minute, time.Millisecond)
	for range 10 {
		require.Equal(t, http.StatusOK, a.requestToken(t, "json", "demo", demoSecret).Status)
	}
	close(stop)
	guessers.Wait()
	apitest.RequireProblem(t, busy.Load(), errcode.Unavailable, errcode.Unavailable.Message("en"), "too many requests for a token are being checked")
	require.Equal(t, "1", busy.Load().Header.Get("Retry-After"))
	require.Empty(t, busy.Load().Header.Get("WWW-Authenticate"))
}

// The longest app key fits into a token.
func TestLongestAppKey(t *testing.T) {
	keySet := apitest.KeySet(t)
	db := migrated(t, dbtest.SQLite(t))
	key := strings.Repeat("A9._-zZ0", 8)
	clients, err := access.NewService(store.NewClients(db)).WithCost(bcrypt.MinCost)
	require.NoError(t, err)
	require.NoError(t, clients.Add(t.Context(), key, nil, demoSecret))
	token, err := keySet.Sign(key, nil, time.Now())
	require.NoError(t, err)
	principal, err := keySet.Verify(token, time.Now())
	require.NoError(t, err)
	require.Equal(t, key, principal.AppKey)
}

// While the database is unavailable, the response is a 503 for valid and invalid
// credentials.
func TestAuthWithoutDatabase(t *testing.T) {
	server := dbtest.NewMySQL(t)
	a := startTokenAPI(t, server.Config(t), apitest.KeySet(t), unlimited())
	server.Kill(t)
	for _, key := range []string{"demo", "nobody"} {
		result := a.requestToken(t, "json", key, demoSecret)
		apitest.RequireProblem(t, result, errcode.Unavailable, errcode.Unavailable.Message("zh"))
		require.NotEmpty(t, result.Header.Get("Retry-After"))
		require.Empty(t, result.Header.Get("WWW-Authenticate"))
	}
}

// TestTooManyRequests requires the documented 429 in every language.
func TestTooManyRequests(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, cfg database.Config) {
		a := startTokenAPI(t, cfg, apitest.KeySet(t), ratelimit.Config{Enabled: true, ReadPerSecond: 1, ReadBurst: 1, SearchPerSecond: 1, SearchBurst: 1, WritePerSecond: 1, WriteBurst: 1, AuthPerMinute: 60, AuthBurst: 1})
		for language, details := range map[string]string{
			"zh": "获取 Token 的请求过多, 请在 1 秒后重试", "en": "too many requests for a token, try again in 1 s", "zh_Hant_TW": "取得 Token 的請求過多, 請在 1 秒後重試",
		} {
			var limited *apitest.Result
			for range 100 { // on a slow machine, more than one request may succeed
				if limited = a.Do(t, apitest.Case{Method: http.MethodPost, Path: authPath, JSON: map[string]string{"app_key": "demo", "app_secret": "x"}, Header: in(language)}); limited.Status == http.StatusTooManyRequests {
					break
				}
			}
			apitest.RequireProblem(t, limited, errcode.TooManyRequests, errcode.TooManyRequests.Message(language), details)
			require.Equal(t, "1", limited.Header.Get("Retry-After"))
			require.Equal(t, `"auth";r=0;t=1`, limited.Header.Get("RateLimit"))
		}
	})
}

// hostileBody returns a JSON object of more than 6 MB with very many keys.
func hostileBody() []byte {
	var body bytes.Buffer
	body.WriteString(`{"app_key":"demo"`)
	for i := 0; body.Len() < 6_200_000; i++ {
		fmt.Fprintf(&body, `,"a%x":0`, i)
	}
	body.WriteString("}")
	return body.Bytes()
}

// Anonymous clients can't use much memory by their bodies.
func TestHostileAuthBodies(t *testing.T) {
	tokens := startTokenAPI(t, dbtest.SQLite(t), apitest.KeySet(t), unlimited())
	server := httptest.NewServer(tokens.handler)
	defer server.Close()
	hostile := hostileBody()
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"with Content-Length": func(r io.Reader) io.Reader { return r },
		"chunked":             func(r io.Reader) io.Reader { return io.MultiReader(r) },
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			var clients sync.WaitGroup
			for range 8 {
				clients.Go(func() {
					response, err := http.Post(server.URL+authPath, asJSON, wrap(bytes.NewReader(hostile)))
					if err != nil {
						return // the server closes a connection whose body it does not read
					}
					defer func() { _ = response.Body.Close() }()
					if response.StatusCode != http.StatusRequestEntityTooLarge {
						t.Error(response.Status)
					}
				})
			}
			clients.Wait()
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(len(hostile)), "client and server together, for all 8 bodies")
		})
	}
}

// unlimited returns limits that no test exceeds. They are enabled, so that every
// response has a RateLimit header.
func unlimited() ratelimit.Config {
	return ratelimit.Config{
		Enabled: true, ReadPerSecond: 1000, ReadBurst: 100_000, SearchPerSecond: 1000, SearchBurst: 100_000, WritePerSecond: 1000, WriteBurst: 100_000, AuthPerMinute: 1000, AuthBurst: 100_000,
	}
}

func in(language string) http.Header { return http.Header{"Locale": {language}} }
