package service

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// writableInterval is the time between two looks at a database that was read-only at the last
// one: writes go on soon after it has become writable.
const writableInterval = time.Second

var errReadOnly = errors.New("Server.ReadOnly is true")

// readOnly says whether the service rejects writes, because of Server.ReadOnly or because the
// database rejects them.
type readOnly struct {
	configured settings.Value[bool]
	writable   func(context.Context) error // that of database.DB
	database   atomic.Bool                 // whether the database was read-only at the last look
	changed    chan struct{}               // the database has become read-only
}

func newReadOnly(live *settings.Live[Config], writable func(context.Context) error, registerer prometheus.Registerer) *readOnly {
	r := &readOnly{
		configured: settings.Map(live, func(c Config) bool { return c.Server.ReadOnly }), writable: writable, changed: make(chan struct{}, 1),
	}
	gauge := func(reason string, is func() bool) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "achilles_read_only", Help: "1 while writes are answered with 503, because of the settings or of the database.",
			ConstLabels: prometheus.Labels{"reason": reason},
		}, func() float64 {
			if is() {
				return 1
			}
			return 0
		})
	}
	registerer.MustRegister(gauge("settings", func() bool { return r.configured.In(context.Background()) }), gauge("database", r.database.Load))
	return r
}

// check looks at the database. It is the check of a dependency.
func (r *readOnly) check(ctx context.Context) error {
	err := r.writable(ctx)
	if is := errors.Is(err, database.ErrReadOnly); r.database.Swap(is) != is && is {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
	return err
}

// watch looks at a read-only database more often than the checks of dependencies.
func (r *readOnly) watch(ctx context.Context) error {
	for {
		select {
		case <-r.changed:
		case <-ctx.Done():
			return nil
		}
		for r.database.Load() {
			select {
			case <-time.After(writableInterval):
				_ = r.check(ctx) // the checks of dependencies report the error
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// rejectWrites answers writes with 503 while the service is read-only.
func (r *readOnly) rejectWrites(c *gin.Context) {
	switch c.Request.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return
	}
	switch {
	case r.configured.In(c.Request.Context()):
		responses.Error(c, errcode.NewReadOnly(errReadOnly))
	case r.database.Load():
		responses.Error(c, errcode.NewReadOnly(database.ErrReadOnly))
	}
}
