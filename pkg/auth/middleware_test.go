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

// newService returns a handler with a public route and a route that requires the
// scope write. Both respond with the app key of the principal.
func newService(keySet *KeySet) http.Handler {
	engine := gin.New()
	engine.Use(func(c *gin.Context) {
		c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), locale.Key{}, c.GetHeader("locale")))
	}, Authenticate(keySet), RejectInvalidToken())
	respond := func(c *gin.Context) { c.String(http.StatusOK, "%s", FromContext(c.Request.Context()).AppKey) }
	engine.GET("/read", respond)
	engine.POST("/write", RequireScope(ScopeWrite), respond)
	return engine
}

func send(handler http.Handler, method, path string, header http.Header) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, path, nil)
	request.Header = header
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return recorder
}

func requireProblem(t *testing.T, response *httptest.ResponseRecorder, code errcode.Code, challenge string) responses.Problem {
	t.Helper()
	require.Equal(t, code.Status(), response.Code, "%s", response.Body)
	require.Equal(t, challenge, response.Header().Get("WWW-Authenticate"))
	var problem responses.Problem
	require.NoError(t, json.Unmarshal(response.Body.Bytes(), &problem))
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
	handler := newService(keySet)
	bearer := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	for name, c := range map[string]struct {
		header      http.Header
		app         string       // app key of the principal, "" if anonymous
		read, write errcode.Code // 0 for success
		challenge   string       // of the write
	}{
		"no token":                         {http.Header{}, "", 0, errcode.UnauthorizedToken, `Bearer realm="achilles"`},
		"writer":                           {bearer(writer), "writer", 0, 0, ""},
		"lower-case scheme":                {http.Header{"Authorization": {"bearer " + writer}}, "writer", 0, 0, ""},
		"upper-case scheme, two spaces":    {http.Header{"Authorization": {"BEARER  " + writer}}, "writer", 0, 0, ""},
		"tab after the scheme":             {http.Header{"Authorization": {"Bearer\t" + writer}}, "", errcode.UnauthorizedToken, errcode.UnauthorizedToken, invalidToken},
		"header token":                     {http.Header{"Token": {writer}}, "writer", 0, 0, ""},
		"same token in both headers":       {http.Header{"Token": {writer}, "Authorization": {"Bearer " + writer}}, "", errcode.InvalidParams, errcode.InvalidParams, invalidRequest},
		"same token twice":                 {http.Header{"Token": {writer, writer}}, "", errcode.InvalidParams, errcode.InvalidParams, invalidRequest},
		"same Authorization twice":         {http.Header{"Authorization": {"Bearer " + writer, "Bearer " + writer}}, "", errcode.InvalidParams, errcode.InvalidParams, invalidRequest},
		"empty Authorization and valid":    {http.Header{"Authorization": {"", "Bearer " + writer}}, "", errcode.InvalidParams, errcode.InvalidParams, invalidRequest},
		"valid and empty Authorization":    {http.Header{"Authorization": {"Bearer " + writer, ""}}, "", errcode.InvalidParams, errcode.InvalidParams, invalidRequest},
		"blank Authorization and token":    {http.Header{"Authorization": {" "}, "Token": {writer}}, "", errcode.InvalidParams, errcode.InvalidParams, invalidRequest},
		"two empty lines":                  {http.Header{"Authorization": {"", ""}}, "", errcode.InvalidParams, errcode.InvalidParams, invalidRequest},
		"two schemes":                      {http.Header{"Authorization": {"Basic dTpw", "Bearer " + writer}}, "", errcode.InvalidParams, errcode.InvalidParams, invalidRequest},
		"empty Authorization":              {http.Header{"Authorization": {""}}, "", errcode.UnauthorizedToken, errcode.UnauthorizedToken, invalidToken},
		"different tokens in both headers": {http.Header{"Token": {writer}, "Authorization": {"Bearer " + other}}, "", errcode.InvalidParams, errcode.InvalidParams, invalidRequest},
		"valid and invalid":                {http.Header{"Token": {writer}, "Authorization": {"Bearer x"}}, "", errcode.InvalidParams, errcode.InvalidParams, invalidRequest},
		"valid and empty":                  {http.Header{"Token": {""}, "Authorization": {"Bearer " + writer}}, "", errcode.InvalidParams, errcode.InvalidParams, invalidRequest},
		"one header twice":                 {http.Header{"Authorization": {"Bearer " + writer, "Bearer " + other}}, "", errcode.InvalidParams, errcode.InvalidParams, invalidRequest},
		"one header three times":           {http.Header{"Token": {writer, other, writer}}, "", errcode.InvalidParams, errcode.InvalidParams, invalidRequest},
		"no scope":                         {bearer(reader), "reader", 0, errcode.Forbidden, `Bearer realm="achilles", error="insufficient_scope", scope="write"`},
		"nonsense":                         {bearer("nonsense"), "", errcode.UnauthorizedToken, errcode.UnauthorizedToken, `Bearer realm="achilles", error="invalid_token"`},
		"scheme only":                      {http.Header{"Authorization": {"Bearer"}}, "", errcode.UnauthorizedToken, errcode.UnauthorizedToken, invalidToken},
		"empty token":                      {http.Header{"Token": {""}}, "", errcode.UnauthorizedToken, errcode.UnauthorizedToken, invalidToken},
		"another scheme":                   {http.Header{"Authorization": {"Basic dTpw"}}, "", 0, errcode.UnauthorizedToken, Challenge},
		"another scheme and a token":       {http.Header{"Authorization": {"Basic dTpw"}, "Token": {writer}}, "writer", 0, 0, ""},
		"no scheme":                        {http.Header{"Authorization": {writer}}, "", 0, errcode.UnauthorizedToken, Challenge},
		"cookie":                           {http.Header{"Cookie": {"token=" + writer}}, "", 0, errcode.UnauthorizedToken, Challenge},
	} {
		t.Run(name, func(t *testing.T) {
			for request, want := range map[string]errcode.Code{"GET /read": c.read, "POST /write": c.write} {
				method, path, _ := strings.Cut(request, " ")
				answer := send(handler, method, path, c.header.Clone())
				if want == 0 {
					require.Equal(t, http.StatusOK, answer.Code, "%s: %s", request, answer.Body)
					require.Equal(t, c.app, answer.Body.String())
					require.Empty(t, answer.Header().Get("WWW-Authenticate"))
					continue
				}
				requireProblem(t, answer, want, c.challenge)
			}
		})
	}

	t.Run("query", func(t *testing.T) {
		for _, query := range []string{"token=", "access_token=", "Authorization=Bearer%20"} {
			answer := send(handler, http.MethodPost, "/write?"+query+writer, http.Header{})
			requireProblem(t, answer, errcode.UnauthorizedToken, Challenge)
		}
	})
}

// An expired token has its own code, even on routes that need no token.
func TestExpiredToken(t *testing.T) {
	keySet := keySetOf(t, GenerateKeySet(time.Now().AddDate(0, 0, -2)))
	token, err := keySet.Sign("demo", []string{ScopeWrite}, time.Now().Add(-2*time.Hour))
	require.NoError(t, err)
	problem := requireProblem(t, send(newService(keySet), http.MethodGet, "/read", http.Header{"Token": {token}}), errcode.UnauthorizedExpired, invalidToken)
	require.Equal(t, "鉴权失败, Token 超时", problem.Msg)
}

// Each error says what to do, in the language of the client.
func TestErrorsAreTranslated(t *testing.T) {
	keySet := keySetOf(t, GenerateKeySet(time.Now()))
	reader, err := keySet.Sign("reader", nil, time.Now())
	require.NoError(t, err)
	texts := map[string]bool{}
	for _, language := range []string{"zh", "en", "zh_Hant_TW"} {
		for _, tokens := range [][]string{nil, {reader}, {"nonsense"}, {"one", "two"}} {
			answer := send(newService(keySet), http.MethodPost, "/write", http.Header{"Locale": {language}, "Token": tokens})
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
	require.Len(t, texts, 9, "a missing and an invalid token have the same details")
}

func TestContext(t *testing.T) {
	require.Zero(t, FromContext(context.Background()))
	principal := Principal{AppKey: "demo", Scopes: []string{ScopeWrite}}
	require.Equal(t, principal, FromContext(NewContext(context.Background(), principal)))
}
