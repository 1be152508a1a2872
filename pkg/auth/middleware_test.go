package auth

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/locale"
	"github.com/achilles-blog/achilles/pkg/responses"
)

// door is a service with a route that anyone may read and one that takes the
// scope write; both answer with who is asking.
func door(keySet *KeySet) http.Handler {
	engine := gin.New()
	engine.Use(func(c *gin.Context) {
		c.Request = c.Request.WithContext(locale.NewContext(c.Request.Context(), c.GetHeader("locale")))
	}, Authenticate(keySet), RejectInvalidToken())
	who := func(c *gin.Context) { c.String(http.StatusOK, "%s", FromContext(c.Request.Context()).AppKey) }
	engine.GET("/read", who)
	engine.POST("/write", RequireScope(ScopeWrite), who)
	return engine
}

func ask(handler http.Handler, method, path string, header http.Header) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, path, nil)
	request.Header = header
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

func requireRefused(t *testing.T, answer *httptest.ResponseRecorder, code errcode.Code, challenge string) responses.Problem {
	t.Helper()
	require.Equal(t, code.Status(), answer.Code, "%s", answer.Body)
	require.Equal(t, challenge, answer.Header().Get("WWW-Authenticate"))
	var problem responses.Problem
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &problem))
	require.EqualValues(t, code, problem.Code)
	require.Len(t, problem.Details, 1)
	return problem
}

func TestMiddleware(t *testing.T) {
	keySet := keySetOf(t, GenerateKeySet(time.Now()))
	sign := func(app string, at time.Time, scopes ...string) string {
		token, err := keySet.Sign(app, scopes, at)
		require.NoError(t, err)
		return token
	}
	now := time.Now()
	writer, other, reader := sign("writer", now, ScopeWrite), sign("other", now, ScopeWrite), sign("reader", now)
	handler := door(keySet)
	bearer := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	for name, c := range map[string]struct {
		header      http.Header
		app         string       // who it is, "" for anybody
		read, write errcode.Code // 0 for success
		challenge   string       // of the write
	}{
		"anybody":               {http.Header{}, "", 0, errcode.UnauthorizedToken, `Bearer realm="achilles"`},
		"a writer":              {bearer(writer), "writer", 0, 0, ""},
		"scheme in small":       {http.Header{"Authorization": {"bearer " + writer}}, "writer", 0, 0, ""},
		"SCHEME, two blanks":    {http.Header{"Authorization": {"BEARER  " + writer}}, "writer", 0, 0, ""},
		"a tab behind it":       {http.Header{"Authorization": {"Bearer\t" + writer}}, "", errcode.UnauthorizedToken, errcode.UnauthorizedToken, invalidToken},
		"header token":          {http.Header{"Token": {writer}}, "writer", 0, 0, ""},
		"both, the same":        {http.Header{"Token": {writer}, "Authorization": {"Bearer " + writer}}, "writer", 0, 0, ""},
		"both, different":       {http.Header{"Token": {writer}, "Authorization": {"Bearer " + other}}, "", errcode.UnauthorizedToken, errcode.UnauthorizedToken, invalidToken},
		"good and bad":          {http.Header{"Token": {writer}, "Authorization": {"Bearer x"}}, "", errcode.UnauthorizedToken, errcode.UnauthorizedToken, invalidToken},
		"good and empty":        {http.Header{"Token": {""}, "Authorization": {"Bearer " + writer}}, "", errcode.UnauthorizedToken, errcode.UnauthorizedToken, invalidToken},
		"two of one header":     {http.Header{"Authorization": {"Bearer " + writer, "Bearer " + other}}, "", errcode.UnauthorizedToken, errcode.UnauthorizedToken, invalidToken},
		"first, other, first":   {http.Header{"Token": {writer, other, writer}}, "", errcode.UnauthorizedToken, errcode.UnauthorizedToken, invalidToken},
		"no scope":              {bearer(reader), "reader", 0, errcode.Forbidden, `Bearer realm="achilles", error="insufficient_scope", scope="write"`},
		"nonsense":              {bearer("nonsense"), "", errcode.UnauthorizedToken, errcode.UnauthorizedToken, `Bearer realm="achilles", error="invalid_token"`},
		"nothing behind it":     {http.Header{"Authorization": {"Bearer"}}, "", errcode.UnauthorizedToken, errcode.UnauthorizedToken, invalidToken},
		"an empty token":        {http.Header{"Token": {""}}, "", errcode.UnauthorizedToken, errcode.UnauthorizedToken, invalidToken},
		"another scheme":        {http.Header{"Authorization": {"Basic dTpw"}}, "", 0, errcode.UnauthorizedToken, Challenge},
		"a proxy's scheme, too": {http.Header{"Authorization": {"Basic dTpw"}, "Token": {writer}}, "writer", 0, 0, ""},
		"no scheme":             {http.Header{"Authorization": {writer}}, "", 0, errcode.UnauthorizedToken, Challenge},
		"a cookie":              {http.Header{"Cookie": {"token=" + writer}}, "", 0, errcode.UnauthorizedToken, Challenge},
	} {
		t.Run(name, func(t *testing.T) {
			for request, want := range map[string]errcode.Code{"GET /read": c.read, "POST /write": c.write} {
				method, path, _ := strings.Cut(request, " ")
				answer := ask(handler, method, path, c.header.Clone())
				if want == 0 {
					require.Equal(t, http.StatusOK, answer.Code, "%s: %s", request, answer.Body)
					require.Equal(t, c.app, answer.Body.String())
					require.Empty(t, answer.Header().Get("WWW-Authenticate"))
					continue
				}
				requireRefused(t, answer, want, c.challenge)
			}
		})
	}

	t.Run("never the query", func(t *testing.T) {
		for _, query := range []string{"token=", "access_token=", "Authorization=Bearer%20"} {
			answer := ask(handler, http.MethodPost, "/write?"+query+writer, http.Header{})
			requireRefused(t, answer, errcode.UnauthorizedToken, Challenge)
		}
	})
}

// An expired token has a code of its own, on routes that need none, too.
func TestExpiredTokenIsTold(t *testing.T) {
	keySet := keySetOf(t, GenerateKeySet(time.Now().AddDate(0, 0, -2)))
	token, err := keySet.Sign("demo", []string{ScopeWrite}, time.Now().Add(-2*time.Hour))
	require.NoError(t, err)
	problem := requireRefused(t, ask(door(keySet), http.MethodGet, "/read", http.Header{"Token": {token}}), errcode.UnauthorizedExpired, invalidToken)
	require.Equal(t, "鉴权失败, Token 超时", problem.Msg)
}

// Each refusal says what to do, in the client's language.
func TestRefusalsSpeakEachLanguage(t *testing.T) {
	keySet := keySetOf(t, GenerateKeySet(time.Now()))
	reader, err := keySet.Sign("reader", nil, time.Now())
	require.NoError(t, err)
	texts := map[string]bool{}
	for _, language := range []string{"zh", "en", "zh_Hant_TW"} {
		for _, tokens := range [][]string{nil, {reader}, {"nonsense"}, {"one", "two"}} {
			answer := ask(door(keySet), http.MethodPost, "/write", http.Header{"Locale": {language}, "Token": tokens})
			var problem responses.Problem
			require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &problem))
			require.Len(t, problem.Details, 1)
			texts[problem.Details[0]] = true
			if len(tokens) == 0 {
				require.Contains(t, problem.Details[0], "POST /auth")
				require.Contains(t, problem.Details[0], "Authorization: Bearer")
			}
			require.NotContains(t, answer.Body.String(), reader[:20])
		}
	}
	require.Len(t, texts, 9, "no token and a wrong one say the same; the rest differs")
}

func TestCallerOfAContext(t *testing.T) {
	require.Zero(t, FromContext(context.Background()))
	principal := Principal{AppKey: "demo", Scopes: []string{ScopeWrite}}
	require.Equal(t, principal, FromContext(NewContext(context.Background(), principal)))
}
