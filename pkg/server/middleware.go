package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/locale"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/spelling"
)

// The names of the standard middleware in Config.Middleware, in the default order.
const (
	Recovery        = "recovery"         // answers 500 if a handler panics
	RequestIDs      = "request_id"       // id and language of the request, and its snapshot of the settings
	ClientAddress   = "client_address"   // the client behind trusted proxies
	Tracing         = "tracing"          // spans, if Tracing.Endpoint is set
	AccessLog       = "access_log"       // a line for each request
	Metrics         = "metrics"          // achilles_http_requests_total and others
	SecurityHeaders = "security_headers" // such as Content-Security-Policy
	ServedBy        = "served_by"        // X-Served-By, if Server.ServedBy is set
	Compression     = "compression"      // zstd and gzip
	CORS            = "cors"             // calls from pages of Server.CorsAllowedOrigins
	RequestLimit    = "request_limit"    // Server.MaxRequests
	Caching         = "caching"          // Cache-Control of reads
	UnreadBody      = "unread_body"      // bodies that no handler reads delay nothing
	Timeout         = "timeout"          // Server.RequestTimeout
)

// standard returns the names of the standard middleware in the default order.
func standard() []string {
	return []string{
		Recovery, RequestIDs, ClientAddress, Tracing, AccessLog, Metrics, SecurityHeaders, ServedBy, Compression, CORS, RequestLimit,
		Caching, UnreadBody, Timeout,
	}
}

// indispensable returns the middleware that an engine can't do without, and what happens
// without it.
func indispensable() map[string]string {
	return map[string]string{
		Recovery:        "a panic would end the connection without an answer",
		RequestIDs:      "requests would have no id, no language, and no settings",
		SecurityHeaders: "caches could keep any response, and browsers could show it as a page",
		ClientAddress:   "Server.TrustedProxies would have no effect, and all clients behind a proxy would be one",
		RequestLimit:    "one client could take all memory",
		UnreadBody:      "a body that never comes would delay the response",
		Timeout:         "a request could take for ever",
	}
}

// rule is an order of two middleware that is unsafe to change.
type rule struct{ first, then, because string }

func rules() []rule {
	const named, counted = "which needs the address of the client", "so that requests which end there are counted"
	const logged, protected = "so that requests which end there are logged", "so that responses which come from there have the headers"
	return []rule{
		{ClientAddress, Tracing, named}, {ClientAddress, AccessLog, named}, {ClientAddress, RequestLimit, named},
		{Tracing, AccessLog, "which logs the id of the trace"},
		{AccessLog, Compression, "so that the bytes which are sent are logged"},
		{AccessLog, CORS, logged}, {AccessLog, RequestLimit, logged},
		{Metrics, CORS, counted}, {Metrics, RequestLimit, counted},
		{SecurityHeaders, CORS, protected}, {SecurityHeaders, RequestLimit, protected},
		{CORS, RequestLimit, "so that pages of other origins can read its 503"},
	}
}

// checkOrder returns an error if middleware is missing, named twice or in an unsafe order.
// Names that aren't standard are those of a service's own middleware.
func checkOrder(names []string) error {
	invalid := func(got, allowed string) error { return settings.Invalid("Middleware", got, allowed) }
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			return invalid(name+" twice", "a list that names each middleware once")
		}
	}
	for _, name := range standard() {
		if without, needed := indispensable()[name]; needed && !slices.Contains(names, name) {
			if near := spelling.Nearest(name, names); near != "" && !slices.Contains(standard(), near) {
				return invalid(near, "spelt "+name)
			}
			return invalid("a list without "+name, fmt.Sprintf("one with %s: without it %s", name, without))
		}
	}
	if names[0] != Recovery {
		return invalid(names[0]+" as the first", Recovery+" first: a panic before it would end the connection without an answer")
	}
	if names[1] != RequestIDs {
		return invalid(names[1]+" as the second", RequestIDs+" second, after "+Recovery+": all others need the id, the language and the settings of the request")
	}
	for _, r := range rules() {
		first, then := slices.Index(names, r.first), slices.Index(names, r.then)
		if first >= 0 && then >= 0 && first > then {
			return invalid(r.then+" before "+r.first, fmt.Sprintf("%s before %s, %s", r.first, r.then, r.because))
		}
	}
	return nil
}

// CheckMiddleware returns an error if Config.Middleware has a name that is neither that of
// a standard middleware nor among own, or if one of own is that of a standard middleware.
func CheckMiddleware(cfg Config, own ...string) error {
	for _, name := range own {
		if slices.Contains(standard(), name) {
			return fmt.Errorf("the service's own middleware %s has the name of a standard one: give it another", name)
		}
	}
	known := append(standard(), own...)
	for _, name := range cfg.Middleware {
		if slices.Contains(known, name) {
			continue
		}
		allowed := "one of " + strings.Join(known, ", ")
		if near := spelling.Nearest(name, known); near != "" {
			allowed = near + ", or another " + allowed
		}
		return settings.Invalid("Server.Middleware", name, allowed)
	}
	return nil
}

// Live returns a middleware that create makes, and makes anew when the settings change. Each
// request has one that fits its snapshot of the settings. create may reject settings by an error.
func Live[C any](cfg *settings.Live[C], create func(C) (gin.HandlerFunc, error)) (gin.HandlerFunc, error) {
	made, err := settings.Derive(cfg, create)
	return func(c *gin.Context) { made.In(c.Request.Context())(c) }, err
}

// newMiddleware returns the middleware with the name, or nil if it has nothing to do.
func newMiddleware(name string, live *settings.Live[Config], deps Deps) (gin.HandlerFunc, error) {
	cfg := live.Now()
	switch name {
	case Recovery:
		return recovery(deps.Log, deps.Metrics), nil
	case RequestIDs:
		return describe(locale.NewNegotiator(), live), nil
	case ClientAddress:
		return Live(live, forwarded)
	case Tracing:
		if deps.Tracer == nil {
			return nil, nil
		}
		return traceRequests(deps.Tracer), nil
	case AccessLog:
		return accessLog(deps.Log, deps.AppKey), nil
	case Metrics:
		return measure(deps.Metrics, deps.Slow), nil
	case SecurityHeaders:
		return securityHeaders(), nil
	case ServedBy:
		return servedBy(cfg.ServedBy), nil
	case Compression:
		return Live(live, newEncoders().compress)
	case CORS:
		return Live(live, crossOrigin)
	case RequestLimit:
		return requestLimit(cfg.MaxRequests, deps.Client), nil
	case Caching:
		return Live(live, caching)
	case UnreadBody:
		return unreadBody(), nil
	case Timeout:
		return Live(live, requestTimeout)
	default:
		return deps.Own[name], nil
	}
}
