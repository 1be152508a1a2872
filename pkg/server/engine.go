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

// Paths that every engine serves. Probes come every few seconds, so the log has
// them at debug level only.
const (
	healthzPath = "/healthz"
	readyzPath  = "/readyz"
	versionPath = "/version"
)

func isProbe(route string) bool { return route == healthzPath || route == readyzPath }

// Deps is what an engine works with; all of it is needed but the tracer.
type Deps struct {
	Log     *zap.Logger
	Metrics *metrics.Metrics
	Health  *health.Health
	Info    buildinfo.Info
	// Tracer makes spans of the requests; nil for none.
	Tracer trace.Tracer
	// LimitUnknown may refuse requests for what is not there; nil never does.
	LimitUnknown gin.HandlerFunc
}

// NewEngine returns an engine with the chain of middleware and the routes that
// every service has; the service adds its own. Unknown routes, wrong methods
// and panics are answered with the envelope.
func NewEngine(cfg Config, deps Deps) (*gin.Engine, error) {
	// Otherwise gin prints its routes to stdout, between the lines of the log.
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	// A redirected POST would lose its body in many clients.
	engine.RedirectTrailingSlash = false
	// The context that handlers pass on must be the request's, with its deadline.
	engine.ContextWithFallback = true
	engine.RemoteIPHeaders = []string{"X-Forwarded-For"} // X-Real-IP too often is the client's own
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
		// Before everything that may refuse: refusals are in the client's language too.
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
