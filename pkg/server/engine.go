package server

import (
	"maps"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/slowtrace"
	"github.com/achilles-blog/achilles/pkg/tracing"
)

// Paths of every engine.
const (
	healthzPath = "/healthz"
	readyzPath  = "/readyz"
	versionPath = "/version"
)

// Deps are the dependencies of an engine.
type Deps struct {
	Log     *zap.Logger
	Metrics *metrics.Metrics
	Health  *health.Health
	Info    buildinfo.Info
	// Tracer creates a span for each request. It is optional.
	Tracer *tracing.Tracer
	// Client returns what identifies the client of a request before it is
	// authenticated. If nil, requests in progress are not limited by client.
	Client func(*gin.Context) string
	// Slow keeps the execution trace of slow requests. It is optional.
	Slow *slowtrace.Recorder
	// AppKey returns the app key of the client once a request is authenticated, or "", for the
	// access log. It is optional.
	AppKey func(*gin.Context) string
	// LimitReads limits requests of /version, unknown routes and wrong methods. It is
	// optional.
	LimitReads gin.HandlerFunc
	// Own has a service's own middleware by name. Those that Config.Middleware names run.
	Own map[string]gin.HandlerFunc
}

// NewEngine returns an engine with the middleware of Config.Middleware and the routes of
// every service. Unknown routes, wrong methods and panics are answered with the envelope.
func NewEngine(cfg *settings.Live[Config], deps Deps) (*gin.Engine, error) {
	// In other modes gin prints its routes to stdout, where the log goes.
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	// Many clients don't resend the body of a redirected POST.
	engine.RedirectTrailingSlash = false
	// Contexts of handlers must have the deadline of the request.
	engine.ContextWithFallback = true
	engine.ForwardedByClientIP = false // forwarded does it
	// Probes are frequent, and must be answered while everything else is slow: they
	// have no middleware, and so no log line, metrics or limits.
	reads := []string{http.MethodGet, http.MethodHead}
	engine.Match(reads, healthzPath, gin.WrapF(deps.Health.Healthz))
	engine.Match(reads, readyzPath, gin.WrapF(deps.Health.Readyz))
	if err := CheckMiddleware(cfg.Now(), slices.Sorted(maps.Keys(deps.Own))...); err != nil {
		return nil, err
	}
	for _, name := range cfg.Now().Middleware {
		handler, err := newMiddleware(name, cfg, deps)
		if err != nil {
			return nil, err
		}
		if handler != nil {
			engine.Use(handler)
		}
	}
	limit := deps.LimitReads
	if limit == nil {
		limit = func(*gin.Context) {}
	}
	engine.NoRoute(limit, func(c *gin.Context) { responses.Error(c, errcode.New(errcode.NotFound)) })
	engine.NoMethod(limit, func(c *gin.Context) { responses.Error(c, errcode.New(errcode.MethodNotAllowed)) })
	engine.Match(reads, versionPath, limit, func(c *gin.Context) { c.JSON(http.StatusOK, deps.Info) })
	return engine, nil
}
