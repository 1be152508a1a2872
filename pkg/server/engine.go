package server

import (
	"cmp"
	"fmt"
	"net/http"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/locale"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/responses"
)

// Paths of every engine. Probes are frequent and therefore logged at debug level.
const (
	healthzPath = "/healthz"
	readyzPath  = "/readyz"
	versionPath = "/version"
)

func isProbe(route string) bool { return route == healthzPath || route == readyzPath }

// Deps are the dependencies of an engine.
type Deps struct {
	Log     *zap.Logger
	Metrics *metrics.Metrics
	Health  *health.Health
	Info    buildinfo.Info
	// Tracer creates a span for each request. It is optional.
	Tracer trace.Tracer
	// LimitUnknown limits requests of unknown routes. It is optional.
	LimitUnknown gin.HandlerFunc
}

// NewEngine returns an engine with the middleware and routes of every service.
// Unknown routes, wrong methods and panics are answered with the envelope.
func NewEngine(cfg Config, deps Deps) (*gin.Engine, error) {
	// In other modes gin prints its routes to stdout, where the log goes.
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	// Many clients don't resend the body of a redirected POST.
	engine.RedirectTrailingSlash = false
	// Contexts of handlers must have the deadline of the request.
	engine.ContextWithFallback = true
	engine.RemoteIPHeaders = []string{"X-Forwarded-For"} // proxies often pass on a client's X-Real-IP
	if err := engine.SetTrustedProxies(cfg.TrustedProxies); err != nil {
		return nil, fmt.Errorf("trusted proxies: %w", err)
	}
	crossOrigin, err := crossOrigin(cfg.CORSAllowedOrigins)
	if err != nil {
		return nil, err
	}
	engine.Use(recovery(deps.Log, deps.Metrics), requestID())
	if deps.Tracer != nil {
		engine.Use(traceRequests(deps.Tracer))
	}
	engine.Use(
		accessLog(deps.Log),
		measure(deps.Metrics),
		securityHeaders(),
		servedBy(cfg.ServedBy),
		// Before middleware that may reject the request, so that its errors are translated.
		language(locale.NewNegotiator()),
		crossOrigin,
		caching(cfg.SharedMaxAge),
		bodyLimit(cmp.Or(cfg.MaxBodyBytes, defaultMaxBodyBytes)),
		requestTimeout(cfg.RequestTimeout),
	)
	limit := deps.LimitUnknown
	if limit == nil {
		limit = func(*gin.Context) {}
	}
	engine.NoRoute(limit, func(c *gin.Context) { responses.Error(c, errcode.New(errcode.NotFound)) })
	engine.NoMethod(limit, func(c *gin.Context) { responses.Error(c, errcode.New(errcode.MethodNotAllowed)) })
	probes := []string{http.MethodGet, http.MethodHead}
	engine.Match(probes, healthzPath, gin.WrapF(deps.Health.Healthz))
	engine.Match(probes, readyzPath, gin.WrapF(deps.Health.Readyz))
	engine.GET(versionPath, func(c *gin.Context) { c.JSON(http.StatusOK, deps.Info) })
	return engine, nil
}
