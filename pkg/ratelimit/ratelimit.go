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
	// Registerer registers the metrics, unless the limits are disabled. If nil,
	// there are none.
	Registerer prometheus.Registerer
}

// Limiter provides the middleware. It is safe for concurrent use.
type Limiter struct {
	deps                      Deps
	cfg                       Config
	read, search, write, auth *class
	shared                    *shared
	local                     *local
}

// New returns a limiter. cfg must be valid.
func New(deps Deps, cfg Config) *Limiter {
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	l := &Limiter{
		deps: deps, cfg: cfg, local: newLocal(maxClients),
		read:   newClass("read", cfg.read(), cfg, errcode.Text{ZH: "读取请求过多", EN: "too many reads", ZHHantTW: "讀取請求過多"}),
		search: newClass("search", cfg.search(), cfg, errcode.Text{ZH: "搜索请求过多", EN: "too many searches or lists with content", ZHHantTW: "搜尋請求過多"}),
		write:  newClass("write", cfg.write(), cfg, errcode.Text{ZH: "写入请求过多", EN: "too many writes", ZHHantTW: "寫入請求過多"}),
		auth:   newClass("auth", cfg.auth(), cfg, errcode.Text{ZH: "获取 Token 的请求过多", EN: "too many requests for a token", ZHHantTW: "取得 Token 的請求過多"}),
	}
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
	return l.middleware(func(c *gin.Context) {
		switch c.Request.Method {
		case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
			l.limit(c, l.write, l.identify(c))
		default:
			l.limit(c, l.read, l.identify(c))
		}
	})
}

// Search limits an expensive read, which has been counted as a read. It is for handlers:
// whether a read is expensive depends on its parameters. The headers are then those of
// this class.
func (l *Limiter) Search() gin.HandlerFunc {
	return l.middleware(func(c *gin.Context) { l.limit(c, l.search, l.identify(c)) })
}

// Batch returns a function that counts n more writes for a request that has been counted as
// one. It is for handlers. A client that is within its limit may exceed it by these, and must
// wait afterwards; one that has exceeded it gets a 429. So a batch may have more writes than
// the burst, but a client gets no more than one of those at a time.
func (l *Limiter) Batch() func(c *gin.Context, n int) {
	if !l.cfg.Enabled {
		return func(*gin.Context, int) {}
	}
	return func(c *gin.Context, n int) {
		l.apply(c, l.write, l.identify(c), func(budgets ...budget) decision { return l.local.takeAll(n, budgets...) })
	}
}

// Read limits every request as a read. It is for unknown routes and methods.
func (l *Limiter) Read() gin.HandlerFunc {
	return l.middleware(func(c *gin.Context) { l.limit(c, l.read, l.identify(c)) })
}

// Auth limits token requests by address: they are not authenticated yet.
func (l *Limiter) Auth() gin.HandlerFunc {
	return l.middleware(func(c *gin.Context) { l.limit(c, l.auth, l.identifyAddress(c)) })
}

func (l *Limiter) middleware(limit gin.HandlerFunc) gin.HandlerFunc {
	if !l.cfg.Enabled {
		return func(*gin.Context) {}
	}
	return limit
}

func (l *Limiter) limit(c *gin.Context, class *class, from identity) {
	l.apply(c, class, from, l.local.take)
}

// apply answers 429 unless take allows the request.
func (l *Limiter) apply(c *gin.Context, class *class, from identity, take func(...budget) decision) {
	budgets, n := class.budgets(from)
	decision := take(budgets[:n]...)
	header := c.Writer.Header()
	header["Ratelimit-Policy"] = class.policy // the canonical names
	header["Ratelimit"] = []string{class.state(decision)}
	if decision.allowed {
		class.allowed.Inc()
		return
	}
	class.limited.Inc()
	responses.Error(c, class.err(decision))
}

func (l *Limiter) registerMetrics() {
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "achilles_rate_limit_total",
		Help: "Requests that were allowed or rejected with 429 (limited), by class.",
	}, []string{"class", "outcome"})
	for _, class := range []*class{l.read, l.search, l.write, l.auth} {
		class.allowed = outcomes.WithLabelValues(class.name, "allowed")
		class.limited = outcomes.WithLabelValues(class.name, "limited")
	}
	if l.deps.Registerer == nil || !l.cfg.Enabled {
		return
	}
	l.deps.Registerer.MustRegister(outcomes, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "achilles_rate_limit_local",
		Help: "1 if this replica counts separately, without Redis, and 0 if it shares its counters.",
	}, func() float64 {
		if l.shared == nil || l.shared.unavailable() {
			return 1
		}
		return 0
	}))
}

// class is a class of requests with its quotas.
type class struct {
	name   string
	client quota
	site   quota
	policy []string // RateLimit-Policy
	msg    errcode.Text

	allowed, limited prometheus.Counter
}

func newClass(name string, q quota, cfg Config, msg errcode.Text) *class {
	policy := fmt.Sprintf("%q;q=%d;w=%d", name, q.burst, seconds(q.window()))
	return &class{name: name, client: q, site: q.times(cfg.IPv6SiteFactor), policy: []string{policy}, msg: msg}
}

// budget is a counter with its quota.
type budget struct {
	key key
	quota
}

// budgets returns the n budgets that a request counts against, the widest last.
func (c *class) budgets(from identity) (all [maxBudgets]budget, n int) {
	all[0] = budget{key{c.name, from.client}, c.client}
	if from.site == "" {
		return all, 1
	}
	all[1] = budget{key{c.name, from.site}, c.site}
	return all, 2
}

// state returns the header RateLimit.
func (c *class) state(d decision) string {
	text := append(make([]byte, 0, 64), '"')
	text = append(append(text, c.name...), `";r=`...)
	text = append(strconv.AppendInt(text, int64(d.remaining), 10), ";t="...)
	return string(strconv.AppendInt(text, int64(seconds(d.next)), 10))
}

func (c *class) err(d decision) *errcode.Error {
	wait := seconds(d.next)
	err := errcode.New(errcode.TooManyRequests, errcode.Text{
		ZH:       fmt.Sprintf("%s, 请在 %d 秒后重试", c.msg.ZH, wait),
		EN:       fmt.Sprintf("%s, try again in %d s", c.msg.EN, wait),
		ZHHantTW: fmt.Sprintf("%s, 請在 %d 秒後重試", c.msg.ZHHantTW, wait),
	})
	err.RetryAfter = time.Duration(wait) * time.Second
	return err
}
