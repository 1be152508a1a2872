package service_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/tracetest"
	"github.com/achilles-blog/achilles/pkg/tracing"
)

// traced runs a service with a route for each way in which a transaction can
// end, and returns its address and what stops it.
func traced(t *testing.T, endpoint string) (base string, stop func(), log *buffer) {
	t.Helper()
	log, signals, c := &buffer{}, make(chan os.Signal, 1), config(t)
	c.Tracing = tracing.Config{Endpoint: endpoint, SampleRatio: 1}
	require.NoError(t, service.Migrate(t.Context(), c, migrations, io.Discard))
	running, err := service.New(t.Context(), c, migrations, signals, log)
	require.NoError(t, err)
	for path, work := range map[string]func(*gorm.DB) error{
		"/write":   func(tx *gorm.DB) error { return tx.Exec("INSERT INTO blog_toy DEFAULT VALUES").Error },
		"/broken":  func(tx *gorm.DB) error { return tx.Exec("nonsense").Error },
		"/away":    func(*gorm.DB) error { return driver.ErrBadConn },
		"/again":   func(tx *gorm.DB) error { return tx.Exec("INSERT INTO blog_toy (id) VALUES (1)").Error },
		"/refused": func(*gorm.DB) error { return errcode.New(errcode.NotFound) },
		"/own":     func(*gorm.DB) error { return errors.New("of the caller's own") },
	} {
		running.Engine.GET(path, func(c *gin.Context) {
			if err := running.DB.InTx(c, work); err != nil {
				responses.Error(c, err)
			}
		})
	}
	ended := make(chan error, 1)
	go func() { ended <- running.Run(context.WithoutCancel(t.Context())) }()
	base = log.address(t)
	require.Eventually(t, func() bool {
		status, _ := get(t, base+"/readyz")
		return status == http.StatusOK
	}, patience, 10*time.Millisecond)
	return base, func() {
		signals <- syscall.SIGTERM
		require.NoError(t, <-ended)
	}, log
}

// The spans of the last requests arrive too, and those of requests only: the
// service looks at its database by itself as well.
func TestTraces(t *testing.T) {
	collector := tracetest.New(t)
	base, stop, log := traced(t, collector.URL)
	paths := []string{"/write", "/broken", "/away", "/again", "/refused", "/own"}
	for _, path := range paths {
		get(t, base+path)
	}
	stop()

	spans := collector.Spans()
	require.Len(t, spans, 2*len(paths))
	for i, path := range paths {
		require.Equal(t, "database transaction", spans[2*i].Name)
		require.Equal(t, path == "/broken" || path == "/away", spans[2*i].Failed, "a no is no failure of the database: %s", path)
		require.Equal(t, "GET "+path, spans[2*i+1].Name)
		require.Equal(t, "achilles-toy", spans[2*i].Resource["service.name"])
	}
	require.Equal(t, spans[1].ID, spans[0].Parent)
	require.Equal(t, spans[1].TraceID, spans[0].TraceID)
	require.Equal(t, "SPAN_KIND_CLIENT", spans[0].Kind.String())
	require.Equal(t, map[string]any{"db.system.name": "sqlite"}, spans[0].Attributes)
	require.Contains(t, log.String(), `"trace_id":"`+spans[1].TraceID+`"`)
}

// A collector that is away or hangs costs requests nothing, and the stop no
// more than a moment.
func TestTracesWithoutCollector(t *testing.T) {
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer hanging.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for about, c := range map[string]struct{ endpoint, says string }{
		"hanging": {hanging.URL, "the last traces are lost"}, "gone": {gone.URL, "requests are not affected"},
	} {
		t.Run(about, func(t *testing.T) {
			base, stop, log := traced(t, c.endpoint)
			began := time.Now()
			for range 100 {
				status, body := get(t, base+"/version")
				require.Equal(t, http.StatusOK, status, body)
			}
			require.Less(t, time.Since(began), patience/2, "each waits for the collector")
			stop() // one that takes too long is an error
			require.Equal(t, 1, strings.Count(log.String(), c.says))
		})
	}
}

func TestNoTraces(t *testing.T) {
	base, stop, log := traced(t, "")
	status, _ := get(t, base+"/write")
	require.Equal(t, http.StatusOK, status)
	stop()
	require.NotContains(t, log.String(), "trace")
}
