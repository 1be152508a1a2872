// Package ratelimit limits the request rate of each client, in four classes: reads,
// expensive reads, writes, and token requests.
//
// # Clients
//
// A client is identified by its app key, or by its address if it is not
// authenticated. Token requests are always limited by address. IPv6 addresses in the
// same /64 are one client ([Config.IPv6Prefix]), and those in the same /48 have a second,
// larger limit together ([Config.IPv6SiteFactor]).
//
// # Classes
//
// The class depends on the middleware of the route and, for [Limiter.ByMethod], on
// the method. It never depends on the spelling of the request target.
//
// # Storage
//
// Each replica decides by its own counters, so that no request waits for Redis. In the
// background, within moments, it adds what its clients have spent to counters in Redis
// and learns what they have spent at other replicas. So a client may get what arrives at
// several replicas at the same moment, but pays for it by waiting longer. Each service
// has its own limits. The keys are "rate:achilles:full-at:SERVICE:CLASS:app:KEY" and
// "…:ip:ADDRESS", and expire. After an error, or 300 ms without an answer, Redis counts
// as unavailable, and is tried again once per second. While Redis is unavailable a client
// may use its limit once per replica.
//
// # Response headers
//
// A request that counts as several, see [Limiter.Batch], may exceed the limit. Then r is 0
// until that is made up for.
//
// Every response of a limited route has the headers of
// draft-ietf-httpapi-ratelimit-headers-11:
//
//	RateLimit-Policy: "read";q=100;w=2
//	RateLimit: "read";r=99;t=1
//
// q is the burst, and w the time in seconds after which an exhausted burst is fully
// available again; q/w is the rate. The limit is replenished continuously, not at the
// end of a window. r is the number of requests that would be allowed now, and t the
// time in seconds until it increases. Seconds are rounded up, to at least 1. Rejected
// requests get a 429 whose Retry-After is t.
package ratelimit

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// Deps are the dependencies of a Limiter.
type Deps struct {
	// Service is the name of the service, whose replicas share the limits.
	Service string
	// Redis stores the shared counters. If nil, each replica counts separately.
	Redis redis.UniversalClient
	// Principal returns the app key of an authenticated request, or "". If nil,
	// all requests are limited by address.
	Principal func(*gin.Context) string
	// Log is optional.
	Log *zap.Logger
	// Registerer registers the metrics, which are there while the limits are enabled. If
	// nil, there are none.
	Registerer prometheus.Registerer
}

// Limiter provides the middleware. It is safe for concurrent use.
type Limiter struct {
	deps     Deps
	limits   settings.Value[*limits]
	outcomes [classes]outcomes
	shared   *shared
	local    *local
}

// New returns a limiter. The settings must be valid. When they change, what clients have
// spent stays.
func New(deps Deps, cfg *settings.Live[Config]) *Limiter {
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	l := &Limiter{deps: deps, limits: settings.Map(cfg, newLimits), local: newLocal(maxClients)}
	if deps.Redis != nil {
		l.shared = newShared(deps.Redis, deps.Service, l.local, deps.Log)
	}
	l.registerMetrics()
	return l
}

// ByMethod limits POST, PUT, PATCH and DELETE as writes and other methods as reads.
// It must run after authentication and before middleware that rejects requests, so
// that rejected requests count too.
func (l *Limiter) ByMethod() gin.HandlerFunc {
	return func(c *gin.Context) {
		switch c.Request.Method {
		case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
			l.limit(c, write, l.deps.Principal, l.local.take)
		default:
			l.limit(c, read, l.deps.Principal, l.local.take)
		}
	}
}

// Search limits an expensive read, which has been counted as a read. It is for handlers:
// whether a read is expensive depends on its parameters. The headers are then those of
// this class.
func (l *Limiter) Search() gin.HandlerFunc {
	return func(c *gin.Context) { l.limit(c, search, l.deps.Principal, l.local.take) }
}

// Batch returns a function that counts n more writes for a request that has been counted as
// one. It is for handlers. A client that is within its limit may exceed it by these, and must
// wait afterwards; one that has exceeded it gets a 429. So a batch may have more writes than
// the burst, but a client gets no more than one of those at a time.
func (l *Limiter) Batch() func(c *gin.Context, n int) {
	return func(c *gin.Context, n int) {
		l.limit(c, write, l.deps.Principal, func(budgets ...budget) decision { return l.local.takeAll(n, budgets...) })
	}
}

// Read limits every request as a read. It is for unknown routes and methods.
func (l *Limiter) Read() gin.HandlerFunc {
	return func(c *gin.Context) { l.limit(c, read, l.deps.Principal, l.local.take) }
}

// Auth limits token requests by address: they are not authenticated yet.
func (l *Limiter) Auth() gin.HandlerFunc {
	return func(c *gin.Context) { l.limit(c, auth, nil, l.local.take) }
}

// limit answers 429 unless the limits are disabled or take allows the request. See identify
// for principal.
func (l *Limiter) limit(c *gin.Context, class class, principal func(*gin.Context) string, take func(...budget) decision) {
	limits := l.limits.In(c.Request.Context())
	if !limits.enabled {
		return
	}
	budgets, n := limits.budgets(class, identify(c, limits, principal))
	decision := take(budgets[:n]...)
	header := c.Writer.Header()
	header["Ratelimit-Policy"] = limits.classes[class].policy // the canonical names
	header["Ratelimit"] = []string{class.state(decision)}
	if decision.allowed {
		l.outcomes[class].allowed.Inc()
		return
	}
	l.outcomes[class].limited.Inc()
	responses.Error(c, class.err(decision))
}

// outcomes count the decisions on a class.
type outcomes struct{ allowed, limited prometheus.Counter }

func (l *Limiter) registerMetrics() {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "achilles_rate_limit_total",
		Help: "Requests that were allowed or rejected with 429 (limited), by class.",
	}, []string{"class", "outcome"})
	for c := range classes {
		l.outcomes[c] = outcomes{total.WithLabelValues(c.String(), "allowed"), total.WithLabelValues(c.String(), "limited")}
	}
	if l.deps.Registerer == nil {
		return
	}
	local := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "achilles_rate_limit_local",
		Help: "1 if this replica counts separately, without Redis, and 0 if it shares its counters.",
	}, func() float64 {
		if l.shared == nil || l.shared.unavailable() {
			return 1
		}
		return 0
	})
	l.deps.Registerer.MustRegister(prometheus.CollectorFunc(func(metrics chan<- prometheus.Metric) {
		if l.limits.In(context.Background()).enabled {
			total.Collect(metrics)
			local.Collect(metrics)
		}
	}))
}

// class is a class of requests.
type class int

const (
	read class = iota
	search
	write
	auth
	classes // their number
)

// String returns the name of the class in metrics, headers and Redis.
func (c class) String() string {
	switch c {
	case search:
		return "search"
	case write:
		return "write"
	case auth:
		return "auth"
	default:
		return "read"
	}
}

// budget is a counter with its quota.
type budget struct {
	key key
	quota
}

// budgets returns the n budgets that a request counts against, the widest last.
func (l *limits) budgets(class class, from identity) (all [maxBudgets]budget, n int) {
	of := &l.classes[class]
	all[0] = budget{key{class.String(), from.client}, of.client}
	if from.site == "" {
		return all, 1
	}
	all[1] = budget{key{class.String(), from.site}, of.site}
	return all, 2
}

// state returns the header RateLimit.
func (c class) state(d decision) string {
	text := append(make([]byte, 0, 64), '"')
	text = append(append(text, c.String()...), `";r=`...)
	text = append(strconv.AppendInt(text, int64(d.remaining), 10), ";t="...)
	return string(strconv.AppendInt(text, int64(seconds(d.next)), 10))
}

// excess says that there are too many requests of the class.
func (c class) excess() errcode.Text {
	switch c {
	case search:
		return errcode.Text{ZH: "搜索请求过多", EN: "too many searches or lists with content", ZHHantTW: "搜尋請求過多"}
	case write:
		return errcode.Text{ZH: "写入请求过多", EN: "too many writes", ZHHantTW: "寫入請求過多"}
	case auth:
		return errcode.Text{ZH: "获取 Token 的请求过多", EN: "too many requests for a token", ZHHantTW: "取得 Token 的請求過多"}
	default:
		return errcode.Text{ZH: "读取请求过多", EN: "too many reads", ZHHantTW: "讀取請求過多"}
	}
}

func (c class) err(d decision) *errcode.Error {
	wait, text := seconds(d.next), c.excess()
	err := errcode.New(errcode.TooManyRequests, errcode.Text{
		ZH:       fmt.Sprintf("%s, 请在 %d 秒后重试", text.ZH, wait),
		EN:       fmt.Sprintf("%s, try again in %d s", text.EN, wait),
		ZHHantTW: fmt.Sprintf("%s, 請在 %d 秒後重試", text.ZHHantTW, wait),
	})
	err.RetryAfter = time.Duration(wait) * time.Second
	return err
}
