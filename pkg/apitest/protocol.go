package apitest

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
)

// RequireProblemDetails requires every error of a collection of objects at path, and of
// what isn't there, to be a problem of RFC 9457 for a client that asks for one.
// anonymous is a client without a token.
func RequireProblemDetails(t *testing.T, client, anonymous *Client, path string) {
	t.Helper()
	for name, c := range map[string]struct {
		client *Client
		Case
		status int
	}{
		"invalid body": {client, Case{Method: "POST", Path: path, JSON: map[string]any{"state": 9}, Invalid: true}, 400},
		"invalid id":   {client, Case{Path: path + "/x", Invalid: true}, 400},
		"no token":     {anonymous, Case{Method: "POST", Path: path, JSON: map[string]any{}, Invalid: true}, 401},
		"no object":    {client, Case{Path: path + "/9"}, 404},
		"no route":     {client, Case{Path: "/nothing", Undescribed: true}, 404},
		"wrong method": {client, Case{Method: "POST", Path: path + "/1", Undescribed: true}, 405},
		"too large":    {client, Case{Method: "POST", Path: path, Body: make([]byte, 32<<20), ContentType: "application/json", Invalid: true}, 413},
		"not JSON":     {client, Case{Method: "POST", Path: path, Body: []byte("x"), ContentType: "text/plain", Invalid: true}, 415},
	} {
		t.Run(name, func(t *testing.T) {
			problem := requireProblem(t, askForProblem(t, c.client, c.Case), c.status)
			require.Equal(t, c.status == 400, len(problem.Errors) > 0)
		})
	}
}

// RequireFailureProblems requires that the errors of a collection at path are problems
// of RFC 9457, too, if they aren't the client's fault, and say when to try again.
// clients has a client for each status that a read of the collection must fail with,
// be it after some reads.
func RequireFailureProblems(t *testing.T, path string, clients map[int]*Client) {
	t.Helper()
	retryAfter := map[int]string{429: "1", 500: "", 503: "1", 504: "1"}
	require.ElementsMatch(t, slices.Collect(maps.Keys(retryAfter)), slices.Collect(maps.Keys(clients)))
	for status, client := range clients {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			result := askForProblem(t, client, Case{Path: path})
			for range 100 {
				if result.Status == status {
					break
				}
				result = askForProblem(t, client, Case{Path: path})
			}
			requireProblem(t, result, status)
			require.Equal(t, retryAfter[status], result.Header.Get("Retry-After"))
		})
	}
}

// askForProblem sends a request whose errors are to be problems of RFC 9457.
func askForProblem(t *testing.T, client *Client, c Case) *Result {
	t.Helper()
	c.Header = http.Header{"Accept": {"application/problem+json"}, "Locale": {"en"}}
	return client.Do(t, c)
}

func requireProblem(t *testing.T, result *Result, status int) responses.ProblemDetails {
	t.Helper()
	require.Equal(t, status, result.Status, "%s", result.Body)
	require.Equal(t, "application/problem+json", result.Header.Get("Content-Type"))
	require.Contains(t, result.Header.Values("Vary"), "Accept")
	var problem responses.ProblemDetails
	result.JSON(t, &problem)
	require.Equal(t, status, problem.Status)
	require.Equal(t, errcode.Code(problem.Code).Message("en"), problem.Title)
	require.Contains(t, problem.Type, "#"+strconv.Itoa(problem.Code))
	return problem
}

// RequireHeads requires HEAD to work wherever GET does.
func RequireHeads(t *testing.T, handler http.Handler) {
	t.Helper()
	methods := map[string][]string{}
	for _, route := range handler.(*gin.Engine).Routes() {
		methods[route.Path] = append(methods[route.Path], route.Method)
	}
	require.Contains(t, methods, "/version")
	for path, allowed := range methods {
		require.Equal(t, slices.Contains(allowed, http.MethodGet), slices.Contains(allowed, http.MethodHead), path)
	}
}
