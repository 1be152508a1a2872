// Package ratelimit limits the request rate of each client, in three classes: reads,
// writes, and token requests.
//
// # Clients
//
// A client is identified by its app key, or by its address if it is not
// authenticated. Token requests are always limited by address. IPv6 addresses in the
// same /64 are one client.
//
// # Classes
//
// The class depends on the middleware of the route and, for [Limiter.ByMethod], on
// the method. It never depends on the spelling of the request target.
//
// # Storage
//
// The replicas of a service share their counters in Redis. Each service has its own
// limits. The keys are "rate:achilles:limit:SERVICE:CLASS:app:KEY" and
// "…:ip:ADDRESS", and expire. Each replica also has local counters, and asks Redis
// only if these allow the request. If Redis does not answer within 50 ms, the local
// counters decide. After an error, or after 300 ms without an answer in time, Redis
// counts as unavailable, and one request per second tries it again. While Redis is
// unavailable a client may use its limit once per replica.
//
// # Response headers
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

// Options configure a Limiter.
type Options struct {
	// Service is the name of the service, whose replicas share the limits.
	Service string
	// Redis stores the shared counters. If nil, each replica counts separately.
	Redis *redis.Client
	// Principal returns the app key of an authenticated request, or "". If nil,
	// all requests are limited by address.
	Principal func(*gin.Context) string
	Log       *zap.Logger
	// Registerer registers the metrics, unless the limits are disabled. If nil,
	// there are none.
	Registerer prometheus.Registerer
}

// Limiter provides the middleware. It is safe for concurrent use.
type Limiter struct {
	options           Options
	disabled          bool
	read, write, auth *class
	shared            *shared
	local             *local
	outcomes          *prometheus.CounterVec
}

// New returns a limiter. cfg must be valid.
func New(cfg Config, options Options) *Limiter {
	if options.Log == nil {
		options.Log = zap.NewNop()
	}
	l := &Limiter{
		options: options, disabled: !cfg.Enabled, local: newLocal(maxClients),
		read:  newClass("read", cfg.read(), errcode.Text{ZH: "读取请求过多", EN: "too many reads", ZHHantTW: "讀取請求過多"}),
		write: newClass("write", cfg.write(), errcode.Text{ZH: "写入请求过多", EN: "too many writes", ZHHantTW: "寫入請求過多"}),
		auth:  newClass("auth", cfg.auth(), errcode.Text{ZH: "获取 Token 的请求过多", EN: "too many requests for a token", ZHHantTW: "取得 Token 的請求過多"}),
	}
	if options.Redis != nil {
		l.shared = newShared(options.Redis, options.Log)
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
			l.limit(c, l.write, l.clientOf(c))
		default:
			l.limit(c, l.read, l.clientOf(c))
		}
	})
}

// Read limits every request as a read. It is for unknown routes and methods.
func (l *Limiter) Read() gin.HandlerFunc {
	return l.middleware(func(c *gin.Context) { l.limit(c, l.read, l.clientOf(c)) })
}

// Auth limits token requests by address: they are not authenticated yet.
func (l *Limiter) Auth() gin.HandlerFunc {
	return l.middleware(func(c *gin.Context) { l.limit(c, l.auth, "ip:"+address(c)) })
}

func (l *Limiter) middleware(limit gin.HandlerFunc) gin.HandlerFunc {
	if l.disabled {
		return func(*gin.Context) {}
	}
	return limit
}

// clientOf returns the key of the client. The prefix distinguishes app keys from
// addresses.
func (l *Limiter) clientOf(c *gin.Context) string {
	if l.options.Principal != nil {
		if appKey := l.options.Principal(c); appKey != "" {
			return "app:" + appKey
		}
	}
	return "ip:" + address(c)
}

func (l *Limiter) limit(c *gin.Context, class *class, client string) {
	// The client comes last, so that it can't be mistaken for another part.
	decision := l.take(c, "achilles:limit:"+l.options.Service+":"+class.name+":"+client, class.quota)
	c.Header("RateLimit-Policy", class.policy)
	c.Header("RateLimit", class.state(decision))
	if decision.allowed {
		l.outcomes.WithLabelValues(class.name, "allowed").Inc()
		return
	}
	l.outcomes.WithLabelValues(class.name, "limited").Inc()
	responses.Error(c, class.err(decision))
}

// take allows a request if both the local counter and Redis allow it. So a request
// that only one of them has counted is not allowed a second time, and a flood does
// not reach Redis.
func (l *Limiter) take(c *gin.Context, key string, q quota) decision {
	local := l.local.take(key, q)
	if l.shared == nil || !local.allowed {
		return local
	}
	shared, ok := l.shared.take(c.Request.Context(), key, q)
	if !ok || shared.allowed && local.remaining < shared.remaining {
		return local
	}
	return shared
}

func (l *Limiter) registerMetrics() {
	l.outcomes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "achilles_rate_limit_total",
		Help: "Requests that were allowed or rejected with 429 (limited), by class.",
	}, []string{"class", "outcome"})
	for _, class := range []*class{l.read, l.write, l.auth} {
		l.outcomes.WithLabelValues(class.name, "allowed")
		l.outcomes.WithLabelValues(class.name, "limited")
	}
	if l.options.Registerer == nil || l.disabled {
		return
	}
	l.options.Registerer.MustRegister(l.outcomes, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "achilles_rate_limit_local",
		Help: "1 if this replica counts separately, without Redis, and 0 if it shares its counters.",
	}, func() float64 {
		if l.shared == nil || l.shared.unavailable() {
			return 1
		}
		return 0
	}))
}

// class is a class of requests with its quota.
type class struct {
	name   string
	quota  quota
	policy string // RateLimit-Policy
	msg    errcode.Text
}

func newClass(name string, q quota, msg errcode.Text) *class {
	policy := fmt.Sprintf("%q;q=%d;w=%d", name, q.burst, seconds(q.window()))
	return &class{name: name, quota: q, policy: policy, msg: msg}
}

// state returns the header RateLimit.
func (c *class) state(d decision) string {
	return `"` + c.name + `";r=` + strconv.Itoa(d.remaining) + ";t=" + strconv.Itoa(seconds(d.next))
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
