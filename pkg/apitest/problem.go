package apitest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
)

// RequireProblem requires an error response with the code, message and details.
func RequireProblem(t testing.TB, result *Result, code errcode.Code, message string, details ...string) {
	t.Helper()
	require.Equal(t, code.Status(), result.Status, "%s", result.Body)
	require.Equal(t, "application/json; charset=utf-8", result.Header.Get("Content-Type"))
	var problem responses.Problem
	result.JSON(t, &problem)
	if details == nil {
		details = []string{}
	}
	require.NotNil(t, problem.Errors, "never null")
	for _, field := range problem.Errors {
		require.NotEmpty(t, field.Code)
		require.Contains(t, details, field.Message)
	}
	problem.Errors = nil
	require.Equal(t, responses.Problem{Code: int(code), Msg: message, Details: details}, problem)
}
