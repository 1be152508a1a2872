package server_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/server"
)

func TestRequestID(t *testing.T) {
	for sent, kept := range map[string]bool{
		"a":                      true,
		"4f1c-9.b_X":             true,
		strings.Repeat("x", 128): true,
		strings.Repeat("x", 129): false,
		"":                       false,
		"with space":             false,
		"line\nbreak":            false,
		"trailing\n":             false,
		"\x1b[31mred":            false,
		`"},{"level":"fatal`:     false,
		"<script>":               false,
		"日志":                     false,
		"a/b":                    false,
	} {
		f := start(t, server.Default(), func(e *gin.Engine) {
			e.GET("/id", func(c *gin.Context) { c.String(http.StatusOK, server.RequestID(c)) })
		})
		answer := f.do("GET", "/id", "", "X-Request-ID", sent)
		id := answer.Header.Get("X-Request-ID")
		require.Equal(t, kept, id == sent, "%q", sent)
		if !kept {
			require.NoError(t, uuid.Validate(id))
		}
		require.Equal(t, id, answer.body, "the context of the handler has the id")
		_, fields := f.access(t)
		require.Equal(t, id, fields["request_id"])
	}
	require.Empty(t, server.RequestID(context.Background()))
}

func TestRequestIDsDiffer(t *testing.T) {
	f := start(t, server.Default(), nil)
	require.NotEqual(t, f.do("GET", "/", "").Header.Get("X-Request-ID"), f.do("GET", "/", "").Header.Get("X-Request-ID"))
}
