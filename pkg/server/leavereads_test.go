package server_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/server"
)

// Reads that wait for something else than the database give up their places: however many
// there are, others run.
func TestLeaveReads(t *testing.T) {
	cfg := server.Default()
	cfg.MaxRequests = 4 // two reads run, two wait for a place
	release, waiting := make(chan struct{}), make(chan struct{})
	engine := gin.New()
	limited := engine.Group("", server.LimitReads(cfg), func(c *gin.Context) {
		c.Writer = wrapped{c.Writer} // as middleware may
	})
	limited.GET("/wait", func(c *gin.Context) {
		server.LeaveReads(c)
		server.LeaveReads(c) // no harm
		waiting <- struct{}{}
		<-release
		c.String(http.StatusOK, "changed")
	})
	limited.GET("/read", func(c *gin.Context) { c.String(http.StatusOK, "read") })
	unlimited := engine.Group("")
	unlimited.GET("/unlimited", func(c *gin.Context) { server.LeaveReads(c); c.Status(http.StatusOK) })
	get := func(path string) int {
		response := httptest.NewRecorder()
		engine.ServeHTTP(response, httptest.NewRequest(http.MethodGet, path, nil))
		return response.Code
	}
	var polls sync.WaitGroup
	for range 10 {
		polls.Go(func() {
			if status := get("/wait"); status != http.StatusOK {
				t.Errorf("status %d", status)
			}
		})
		<-waiting
	}
	for range 10 {
		require.Equal(t, http.StatusOK, get("/read"))
	}
	close(release)
	polls.Wait()
	for range 10 {
		require.Equal(t, http.StatusOK, get("/read"), "each place was given up once")
	}
	require.Equal(t, http.StatusOK, get("/unlimited"))
}

// wrapped is a writer around another one.
type wrapped struct{ gin.ResponseWriter }

// Unwrap is for http.ResponseController.
func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }
