package server_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/server"
)

// reads is an engine whose reads end when they are told to.
type reads struct {
	*gin.Engine
	end chan struct{}
	all sync.WaitGroup
}

// newReads returns an engine with room for two reads, and for two that wait.
func newReads() *reads {
	r := &reads{Engine: gin.New(), end: make(chan struct{})}
	r.Use(gin.CustomRecoveryWithWriter(io.Discard, func(c *gin.Context, _ any) { c.AbortWithStatus(http.StatusInternalServerError) }),
		server.LimitReads(server.Config{MaxRequests: 4}))
	run := func(c *gin.Context) {
		<-r.end
		c.Status(http.StatusNoContent)
	}
	r.GET("/", run)
	r.HEAD("/", run)
	r.POST("/", func(c *gin.Context) { c.Status(http.StatusCreated) })
	r.GET("/text", func(c *gin.Context) { c.String(http.StatusOK, "text") })
	r.GET("/string", func(c *gin.Context) { _, _ = c.Writer.WriteString("text") })
	r.GET("/panic", func(*gin.Context) { panic("boom") })
	return r
}

// start sends a request, and returns its response when there is one.
func (r *reads) start(method, path string, w http.ResponseWriter) {
	r.all.Go(func() { r.ServeHTTP(w, httptest.NewRequest(method, path, nil)) })
	synctest.Wait()
}

func (r *reads) do(method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func requireRejected(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
}

// Two reads run and two wait, for 25 ms at most. The next one is rejected at once, and
// writes don't depend on any of it.
func TestLimitReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, began := newReads(), time.Now()
		var answers [4]*httptest.ResponseRecorder
		for i, method := range []string{"GET", "HEAD", "GET", "HEAD"} {
			answers[i] = httptest.NewRecorder()
			r.start(method, "/", answers[i])
		}
		requireRejected(t, r.do("GET", "/text"))
		require.Equal(t, http.StatusCreated, r.do("POST", "/").Code)
		require.Zero(t, time.Since(began), "nothing has waited")

		time.Sleep(24 * time.Millisecond)
		r.end <- struct{}{} // of one that runs, so the one that has waited longest runs
		time.Sleep(time.Millisecond)
		synctest.Wait()
		requireRejected(t, answers[3])
		close(r.end)
		r.all.Wait()
		require.Equal(t, 25*time.Millisecond, time.Since(began))
		for i := range 3 {
			require.Equal(t, http.StatusNoContent, answers[i].Code, i)
		}
		require.Equal(t, http.StatusOK, r.do("GET", "/text").Code)
	})
}

// A client that doesn't read its response takes the place of no other, and neither does a
// panic.
func TestReadsGiveUpTheirPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReads()
		unread := make(chan struct{})
		for range 10 {
			r.start("GET", "/text", blocked{httptest.NewRecorder(), unread})
			r.start("GET", "/string", blocked{httptest.NewRecorder(), unread})
			require.Equal(t, http.StatusInternalServerError, r.do("GET", "/panic").Code)
		}
		require.Equal(t, http.StatusOK, r.do("GET", "/text").Code)
		close(unread)
		r.all.Wait()
	})
}

// blocked is a connection that accepts nothing until it is closed.
type blocked struct {
	*httptest.ResponseRecorder
	until chan struct{}
}

func (b blocked) Write(data []byte) (int, error) {
	<-b.until
	return b.ResponseRecorder.Write(data)
}

func (b blocked) WriteString(s string) (int, error) { return b.Write([]byte(s)) }
