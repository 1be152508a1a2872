package health

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// The last error of a gate and of a dependency stays when it has passed.
func TestChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = time.Second
		cfg := configured(func(c *Config) { c.CheckInterval, c.StaleAfter = interval, time.Hour })
		h := New(cfg, nil, zap.NewNop(), prometheus.NewRegistry())
		schema := h.Gate("schema")
		refused := errors.New("10.1.2.3:3306 refuses")
		results := make(chan error)
		h.Dependency("database", func(context.Context) error { return <-results })
		require.Equal(t, []Check{{Name: "schema", Gate: true, Result: "not yet"}, {Name: "database", Result: "not checked yet"}}, h.Checks())
		require.Equal(t, "starting", h.Status())

		began := time.Now()
		schema.Set(refused)
		watching(t, h)
		results <- refused
		synctest.Wait()
		failing := []Check{
			{Name: "schema", Gate: true, Result: string(failed), Error: refused, Failed: began},
			{Name: "database", Result: string(failed), Checked: began, Error: refused, Failed: began},
		}
		require.Equal(t, failing, h.Checks())

		schema.Open()
		results <- nil
		synctest.Wait()
		failing[0].Result, failing[1].Result = passed, passed
		failing[1].Checked = began.Add(interval)
		require.Equal(t, failing, h.Checks())
		require.Equal(t, "ready", h.Status())
		_, body := ask(t, h.AdminReadyz, "/readyz")
		require.Empty(t, body.Errors, "they have passed")
		status, _ := ask(t, h.Readyz, "/readyz")
		require.Equal(t, http.StatusOK, status)
	})
}
