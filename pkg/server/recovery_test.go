package server_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/server"
)

func panicking(e *gin.Engine) {
	e.GET("/panic", func(c *gin.Context) {
		c.Header("Content-Type", "text/csv")
		c.Header("Location", "/nowhere")
		c.Status(http.StatusCreated)
		none := []string{}
		c.String(http.StatusOK, none[len(c.Errors)])
	})
	e.GET("/late", func(c *gin.Context) {
		c.String(http.StatusOK, "half an ans")
		c.Writer.Flush()
		panic("late")
	})
	e.GET("/abort", func(*gin.Context) { panic(http.ErrAbortHandler) })
}

func TestPanic(t *testing.T) {
	f := start(t, server.Default(), panicking)
	// Over a real server, which would log an unrecovered panic.
	response, err := http.Get("http://" + f.addr + "/panic?token=hush")
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	_ = response.Body.Close()
	http.DefaultClient.CloseIdleConnections()

	answer := result{response, string(body)}
	require.Equal(t, http.StatusInternalServerError, answer.StatusCode)
	require.EqualValues(t, errcode.Internal, answer.problem(t).Code)
	require.Empty(t, answer.Header.Get("Location"))
	require.NotContains(t, answer.body, "index out of range")
	require.NotContains(t, answer.body, ".go")

	panics := f.logs.FilterMessage("panic").All()
	require.Len(t, panics, 1)
	fields := panics[0].ContextMap()
	require.Contains(t, fields["value"], "index out of range")
	require.Contains(t, fields["stack"], "server_test.panicking")
	require.Equal(t, "/panic", fields["route"])
	require.Equal(t, answer.Header.Get("X-Request-ID"), fields["request_id"])
	require.Equal(t, 1, strings.Count(textOf(f.logs), "index out of range"), "logged once")

	entry, access := f.access(t)
	require.Equal(t, "error", entry.Level.String())
	require.EqualValues(t, 500, access["status"])
	require.Len(t, f.logs.All(), 2)
	text := f.exposition()
	require.Contains(t, text, "achilles_http_panics_total 1\n")
	require.Contains(t, text, `achilles_http_requests_total{method="GET",route="/panic",status="500"} 1`)
	require.Contains(t, text, "achilles_http_requests_in_flight 0")
}

func TestPanicAfterHeaderClosesConnection(t *testing.T) {
	f := start(t, server.Default(), panicking)
	_, reader := f.raw(t, "GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
	response, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF, "the client must notice the truncation")
	require.Equal(t, "half an ans", string(body))
	_ = response.Body.Close()
	_, access := f.access(t)
	require.EqualValues(t, 500, access["status"])
	require.Equal(t, 1, f.logs.FilterMessage("panic").Len())
	require.Len(t, f.logs.All(), 2, textOf(f.logs))
}

func TestErrAbortHandler(t *testing.T) {
	f := start(t, server.Default(), panicking)
	_, reader := f.raw(t, "GET /abort HTTP/1.1\r\nHost: x\r\n\r\n")
	_, err := http.ReadResponse(reader, nil)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	f.access(t)
	require.Len(t, f.logs.All(), 1, textOf(f.logs))
	require.Contains(t, f.exposition(), "achilles_http_panics_total 0\n")
	require.Contains(t, f.exposition(), "achilles_http_requests_in_flight 0")
}

func TestConcurrentPanics(t *testing.T) {
	f := start(t, server.Default(), panicking)
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			for range 20 {
				if status := f.do("GET", "/panic", "").StatusCode; status != 500 {
					t.Errorf("status %d", status)
				}
			}
		})
	}
	clients.Wait()
	require.Contains(t, f.exposition(), "achilles_http_panics_total 400\n")
	require.Equal(t, 400, f.logs.FilterMessage("panic").Len())
}
