package service_test

import (
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/tracetest"
	"github.com/achilles-blog/achilles/pkg/tracing"
)

// traced runs a service with a route for each way in which a transaction can
// end, and waits until it is ready.
func traced(t *testing.T, endpoint string) *running {
	t.Helper()
	c := config(t)
	c.Tracing = tracing.Config{Endpoint: endpoint, SampleRatio: 1}
	require.NoError(t, service.Migrate(t.Context(), c, migrations, io.Discard))
	r := run(t, command.Run[service.Config]{Config: c}, func(s *service.Service) {
		for path, work := range map[string]func(*gorm.DB) error{
			"/write":    func(tx *gorm.DB) error { return tx.Exec("INSERT INTO blog_toy DEFAULT VALUES").Error },
			"/broken":   func(tx *gorm.DB) error { return tx.Exec("nonsense").Error },
			"/lost":     func(*gorm.DB) error { return driver.ErrBadConn },
			"/again":    func(tx *gorm.DB) error { return tx.Exec("INSERT INTO blog_toy (id) VALUES (1)").Error },
			"/rejected": func(*gorm.DB) error { return errcode.New(errcode.NotFound) },
			"/own":      func(*gorm.DB) error { return errors.New("of the caller's own") },
		} {
			s.Engine.GET(path, func(c *gin.Context) {
				if err := s.DB.InTx(c, work); err != nil {
					responses.Error(c, err)
				}
			})
		}
	})
	require.Eventually(t, func() bool {
		status, _ := get(t, r.url+"/readyz")
		return status == http.StatusOK
	}, patience, 10*time.Millisecond)
	return r
}

// The spans of the last requests arrive, too. Work that belongs to no request,
// such as health checks, makes no spans.
func TestTraces(t *testing.T) {
	collector := tracetest.New(t)
	r := traced(t, collector.URL)
	paths := []string{"/write", "/broken", "/lost", "/again", "/rejected", "/own"}
	for _, path := range paths {
		get(t, r.url+path)
	}
	r.stop(t)

	spans := collector.Spans()
	require.Len(t, spans, 2*len(paths))
	for i, path := range paths {
		require.Equal(t, "database transaction", spans[2*i].Name)
		require.Equal(t, path == "/broken" || path == "/lost", spans[2*i].Failed, "only failures of the database fail the span: %s", path)
		require.Equal(t, "GET "+path, spans[2*i+1].Name)
		require.Equal(t, "achilles-toy", spans[2*i].Resource["service.name"])
	}
	require.Equal(t, spans[1].ID, spans[0].Parent)
	require.Equal(t, spans[1].TraceID, spans[0].TraceID)
	require.Equal(t, "SPAN_KIND_CLIENT", spans[0].Kind.String())
	require.Equal(t, map[string]any{"db.system.name": "sqlite"}, spans[0].Attributes)
	require.Contains(t, r.log.String(), `"trace_id":"`+spans[1].TraceID+`"`)
}

// A collector that is unavailable or hangs delays no request, and the stop only
// by a short time.
func TestTracesWithoutCollector(t *testing.T) {
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer hanging.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	hole, err := net.Listen("tcp", "127.0.0.1:0") // accepts nothing
	require.NoError(t, err)
	defer func() { require.NoError(t, hole.Close()) }()
	for about, c := range map[string]struct{ endpoint, says string }{
		"black hole": {"http://" + hole.Addr().String(), "the last traces are lost"},
		"hanging":    {hanging.URL, "the last traces are lost"}, "unavailable": {gone.URL, "requests are not affected"},
	} {
		t.Run(about, func(t *testing.T) {
			r := traced(t, c.endpoint)
			began := time.Now()
			for range 100 {
				status, body := get(t, r.url+"/version")
				require.Equal(t, http.StatusOK, status, body)
			}
			require.Less(t, time.Since(began), patience/2, "each waits for the collector")
			r.stop(t) // one that takes too long is an error
			require.Equal(t, 1, strings.Count(r.log.String(), c.says))
		})
	}
}

func TestNoTraces(t *testing.T) {
	r := traced(t, "")
	status, _ := get(t, r.url+"/write")
	require.Equal(t, http.StatusOK, status)
	r.stop(t)
	require.NotContains(t, r.log.String(), "trace")
}
