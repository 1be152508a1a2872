package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
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
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/pkg/requests"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/services/article/docs"
	"github.com/achilles-blog/achilles/services/article/internal/access"
	"github.com/achilles-blog/achilles/services/article/internal/api"
	"github.com/achilles-blog/achilles/services/article/internal/store"
	"github.com/achilles-blog/achilles/services/article/migrations"
)

const (
	authPath   = "/auth"
	demoSecret = "the secret of the demo"
)

// desk is POST /auth behind a real connection and on a real database, which
// knows demo and reader.
type desk struct {
	*apitest.Client
	keySet *auth.KeySet
	logs   *observer.ObservedLogs
}

func openDesk(t *testing.T, cfg database.Config, keySet *auth.KeySet, allowed ratelimit.Config) desk {
	t.Helper()
	db := dbtest.Open(t, cfg)
	_, _, err := database.Migrate(t.Context(), db, migrations.All())
	require.NoError(t, err)
	clients, err := access.NewService(store.NewClients(db)).WithCost(bcrypt.MinCost)
	require.NoError(t, err)
	require.NoError(t, clients.Add(t.Context(), "demo", []string{auth.ScopeWrite}, demoSecret))
	require.NoError(t, clients.Add(t.Context(), "reader", nil, demoSecret))
	core, logs := observer.New(zapcore.DebugLevel)
	engine, err := server.NewEngine(server.Default(), server.Deps{
		Log: zap.New(core), Metrics: metrics.New(buildinfo.Get()), Health: health.New(health.Default(), nil, zap.NewNop(), nil), Info: buildinfo.Get(),
	})
	require.NoError(t, err)
	binder, err := requests.NewBinder()
	require.NoError(t, err)
	(&api.Tokens{Clients: clients, KeySet: keySet, Binder: binder}).Register(engine.Group("", ratelimit.New(allowed, ratelimit.Options{Service: "article"}).Auth()))
	return desk{apitest.New(t, engine, docs.OpenAPI), keySet, logs}
}

func eachDesk(t *testing.T, test func(t *testing.T, d desk)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, cfg database.Config) { test(t, openDesk(t, cfg, apitest.KeySet(t), unlimited())) })
}

// show sends credentials in either encoding.
func (d desk) show(t *testing.T, encoding, key, secret string, header ...http.Header) *apitest.Result {
	t.Helper()
	c := encodings[encoding](apitest.Case{Method: http.MethodPost, Path: authPath}, fields{"app_key": key, "app_secret": secret})
	if len(header) > 0 {
		c.Header = header[0]
	}
	result := d.Do(t, c)
	require.Equal(t, "no-store", result.Header.Get("Cache-Control"))
	return result
}

func TestToken(t *testing.T) {
	eachDesk(t, func(t *testing.T, d desk) {
		for encoding, client := range map[string]auth.Principal{
			"json": {AppKey: "demo", Scopes: []string{"write"}}, "form": {AppKey: "reader", Scopes: []string{}},
		} {
			result := d.show(t, encoding, client.AppKey, demoSecret)
			require.Equal(t, http.StatusOK, result.Status, "%s", result.Body)
			var answer struct {
				Code int
				Msg  string
				Data map[string]any
			}
			result.JSON(t, &answer)
			require.Zero(t, answer.Code)
			require.Equal(t, "成功", answer.Msg)
			token, _ := answer.Data["token"].(string)
			require.Equal(t, map[string]any{"token": token, "token_type": "Bearer", "expires_in": 3600.}, answer.Data)
			caller, err := d.keySet.Verify(token, time.Now())
			require.NoError(t, err)
			require.Equal(t, client, caller)
		}
	})
}

// Nothing in the answer tells an unknown key from a wrong secret.
func TestRefusedCredentials(t *testing.T) {
	d := openDesk(t, dbtest.SQLite(t), apitest.KeySet(t), unlimited())
	want := d.show(t, "json", "nobody", demoSecret)
	requireProblem(t, want, errcode.UnauthorizedApp, errcode.UnauthorizedApp.Message("zh"))
	require.Equal(t, auth.Challenge, want.Header.Get("WWW-Authenticate"))
	for name, pair := range map[string][3]string{
		"wrong secret": {"demo", "another secret, then", "json"}, "another case": {"Demo", demoSecret, "form"},
		"a blank behind the key": {"demo ", demoSecret, "form"}, "a blank behind the secret": {"demo", demoSecret + " ", "form"},
		"a long secret": {"demo", demoSecret + strings.Repeat("x", 100), "json"}, "a long key": {strings.Repeat("d", 1000), demoSecret, "json"},
		"NUL": {"demo\x00", demoSecret, "form"}, "empty": {"", "", "form"}, "no secret": {"demo", "", "json"},
	} {
		got := d.show(t, pair[2], pair[0], pair[1])
		require.Equal(t, want.Status, got.Status, name)
		require.Equal(t, string(want.Body), string(got.Body), name)
		for _, result := range []*apitest.Result{want, got} {
			result.Header.Del("Date")
			result.Header.Del("X-Request-ID")
			result.Header.Del("RateLimit")
		}
		require.Equal(t, want.Header, got.Header, name)
	}
	require.NotZero(t, d.logs.Len())
	for _, entry := range d.logs.All() {
		require.NotContains(t, fmt.Sprint(entry.Message, entry.ContextMap()), demoSecret)
	}
}

func TestRefusedAuthBodies(t *testing.T) {
	d := openDesk(t, dbtest.SQLite(t), apitest.KeySet(t), unlimited())
	for name, c := range map[string]struct {
		body    twoWays
		details []string
	}{
		"nothing":     {twoWays{`{}`, ``}, []string{"app_key为必填字段", "app_secret为必填字段"}},
		"null":        {twoWays{`{"app_key":null,"app_secret":"x"}`, `app_secret=x`}, []string{"app_key为必填字段"}},
		"no secret":   {twoWays{`{"app_key":"demo"}`, `app_key=demo`}, []string{"app_secret为必填字段"}},
		"other names": {twoWays{`{"appKey":"demo","appSecret":"x"}`, `appKey=demo&appSecret=x`}, []string{"app_key为必填字段", "app_secret为必填字段"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.body.each(t, func(t *testing.T, request apitest.Case) {
				request.Method, request.Path = http.MethodPost, authPath
				result := d.Do(t, request)
				requireProblem(t, result, errcode.InvalidParams, "入参错误", c.details...)
				require.Equal(t, "no-store", result.Header.Get("Cache-Control"))
			})
		})
	}
	t.Run("in the query", func(t *testing.T) {
		query := url.Values{"app_key": {"demo"}, "app_secret": {demoSecret}}
		result := d.Do(t, apitest.Case{Method: http.MethodPost, Path: authPath, Query: query, Body: []byte(`{}`), ContentType: asJSON, Invalid: true})
		requireProblem(t, result, errcode.InvalidParams, "入参错误", "app_key为必填字段", "app_secret为必填字段")
	})
	t.Run("another media type", func(t *testing.T) {
		result := d.Do(t, apitest.Case{Method: http.MethodPost, Path: authPath, Body: []byte(`<a/>`), ContentType: "text/xml", Invalid: true})
		require.Equal(t, http.StatusUnsupportedMediaType, result.Status)
	})
}

// Without a key to sign with even the right secret gets none; who has none is
// not told.
func TestNoKeyToSignWith(t *testing.T) {
	empty, err := auth.OpenKeySet(auth.Default())
	require.NoError(t, err)
	d := openDesk(t, dbtest.SQLite(t), empty, unlimited())
	result := d.show(t, "json", "demo", demoSecret, in("en"))
	requireProblem(t, result, errcode.UnauthorizedGenerate, errcode.UnauthorizedGenerate.Message("en"),
		"the service has no signing key, ask its operator to set one (Auth.KeysFile)")
	require.Equal(t, auth.Challenge, result.Header.Get("WWW-Authenticate"))
	requireProblem(t, d.show(t, "json", "demo", "another secret, then"), errcode.UnauthorizedApp, errcode.UnauthorizedApp.Message("zh"))
}

// The longest key that a client can have is one that a token can have.
func TestEveryAppKeyCanBeInAToken(t *testing.T) {
	keySet := apitest.KeySet(t)
	db := dbtest.Open(t, dbtest.SQLite(t))
	_, _, err := database.Migrate(t.Context(), db, migrations.All())
	require.NoError(t, err)
	key := strings.Repeat("A9._-zZ0", 8)
	clients, err := access.NewService(store.NewClients(db)).WithCost(bcrypt.MinCost)
	require.NoError(t, err)
	require.NoError(t, clients.Add(t.Context(), key, nil, demoSecret))
	token, err := keySet.Sign(key, nil, time.Now())
	require.NoError(t, err)
	caller, err := keySet.Verify(token, time.Now())
	require.NoError(t, err)
	require.Equal(t, key, caller.AppKey)
}

// A database that is away is a 503 for everyone, whoever they are.
func TestAuthWithoutDatabase(t *testing.T) {
	server := dbtest.NewMySQL(t)
	d := openDesk(t, server.Config(t), apitest.KeySet(t), unlimited())
	server.Kill(t)
	for _, key := range []string{"demo", "nobody"} {
		result := d.show(t, "json", key, demoSecret)
		requireProblem(t, result, errcode.Unavailable, errcode.Unavailable.Message("zh"))
		require.NotEmpty(t, result.Header.Get("Retry-After"))
		require.Empty(t, result.Header.Get("WWW-Authenticate"))
	}
}
