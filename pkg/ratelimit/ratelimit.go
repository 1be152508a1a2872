// Package ratelimit limits how often a client may ask, by three classes: reads,
// writes, and requests for a token.
//
// # Who is limited
//
// An app key, else a client address; for requests for a token always the
// address. An IPv6 address stands for its /64.
//
// # Which class
//
// That of the middleware on the route, and for [Limiter.ByMethod] that of the
// method. The request target is never looked at, so there is no way to write it
// that changes the class.
//
// # Where it is counted
//
// In Redis, for all replicas of a service together; each service has a budget of
// its own. The keys are "rate:achilles:limit:SERVICE:CLASS:app:KEY" and
// "…:ip:ADDRESS", and go by themselves. Each replica also counts by itself, and
// asks Redis only about what its own count allows; that alone decides where Redis
// has no answer within 50 ms. After an error, or when nobody has had an answer for
// 300 ms, Redis is away: one request a second tries it again. While it is away a
// client may use its budget once with each replica, and never more.
//
// # What the client sees
//
// Every answer of a limited route has the fields of
// draft-ietf-httpapi-ratelimit-headers-11:
//
//	RateLimit-Policy: "read";q=100;w=2
//	RateLimit: "read";r=99;t=1
//
// q is the burst, so many requests may come at once, and w the seconds in which
// a burst that was used up becomes whole again; q/w is the rate. Between these
// two the budget grows evenly: there is no moment at which a window ends. r is how
// many requests would be allowed now, and t the seconds until it is one more.
// Seconds are rounded up, and at least 1. A refusal is a 429 with Retry-After,
// which is t.
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

// Options are what a Limiter works with.
type Options struct {
	// Service is the name of the service, whose replicas share the limits.
	Service string
	// Redis is where they share them; nil: each replica counts alone.
	Redis *redis.Client
	// Principal returns the app key that the request has proven to come from, ""
	// for none; nil: nobody has one. It has to work before the limit does.
	Principal func(*gin.Context) string
	Log       *zap.Logger
	// Registerer gets the counter achilles_rate_limit_total and the gauge
	// achilles_rate_limit_local, unless the limits are off; nil: no metrics.
	Registerer prometheus.Registerer
}

// Limiter makes the middleware. Its methods are safe for concurrent use.
type Limiter struct {
	options           Options
	off               bool
	read, write, auth *class
	shared            *shared
	local             *local
	outcomes          *prometheus.CounterVec
}

// New returns a limiter by the rules of cfg, which has to be valid.
func New(cfg Config, options Options) *Limiter {
	if options.Log == nil {
		options.Log = zap.NewNop()
	}
	l := &Limiter{
		options: options, off: !cfg.Enabled, local: newLocal(maxClients),
		read:  newClass("read", cfg.read(), errcode.Text{ZH: "读取请求过多", EN: "too many reads", ZHHantTW: "讀取請求過多"}),
		write: newClass("write", cfg.write(), errcode.Text{ZH: "写入请求过多", EN: "too many writes", ZHHantTW: "寫入請求過多"}),
		auth:  newClass("auth", cfg.auth(), errcode.Text{ZH: "获取 Token 的请求过多", EN: "too many requests for a token", ZHHantTW: "取得 Token 的請求過多"}),
	}
	if options.Redis != nil {
		l.shared = newShared(options.Redis, options.Log)
	}
	l.measure()
	return l
}

// ByMethod limits the routes of the API: POST, PUT, PATCH and DELETE as writes,
// all others as reads. It goes before what refuses requests, so that they count
// too, and behind what finds out who sent them.
func (l *Limiter) ByMethod() gin.HandlerFunc {
	return l.middleware(func(c *gin.Context) {
		switch c.Request.Method {
		case http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
			l.limit(c, l.write, l.caller(c))
		default:
			l.limit(c, l.read, l.caller(c))
		}
	})
}

// Read limits every request as a read: it is for what answers unknown routes
// and wrong methods.
func (l *Limiter) Read() gin.HandlerFunc {
	return l.middleware(func(c *gin.Context) { l.limit(c, l.read, l.caller(c)) })
}

// Auth limits requests for a token, by the client's address alone: an app key
// has not been proven yet.
func (l *Limiter) Auth() gin.HandlerFunc {
	return l.middleware(func(c *gin.Context) { l.limit(c, l.auth, "ip:"+address(c)) })
}

func (l *Limiter) middleware(limit gin.HandlerFunc) gin.HandlerFunc {
	if l.off {
		return func(*gin.Context) {}
	}
	return limit
}

// caller is who has to stay within the limits. The prefix keeps an app key from
// being an address.
func (l *Limiter) caller(c *gin.Context) string {
	if l.options.Principal != nil {
		if app := l.options.Principal(c); app != "" {
			return "app:" + app
		}
	}
	return "ip:" + address(c)
}

func (l *Limiter) limit(c *gin.Context, of *class, caller string) {
	// The caller comes last: nothing that it contains can be taken for another part.
	verdict := l.take(c, "achilles:limit:"+l.options.Service+":"+of.name+":"+caller, of.quota)
	c.Header("RateLimit-Policy", of.policy)
	c.Header("RateLimit", of.state(verdict))
	if verdict.allowed {
		l.outcomes.WithLabelValues(of.name, "allowed").Inc()
		return
	}
	l.outcomes.WithLabelValues(of.name, "limited").Inc()
	responses.Error(c, of.refusal(verdict))
}

// take asks this replica's own count and then Redis; both have to allow it. So
// what one of them has let through while the other was not asked is not allowed a
// second time, and a flood does not get as far as Redis.
func (l *Limiter) take(c *gin.Context, key string, q quota) verdict {
	alone := l.local.take(key, q)
	if l.shared == nil || !alone.allowed {
		return alone
	}
	together, ok := l.shared.take(c.Request.Context(), key, q)
	if !ok || together.allowed && alone.remaining < together.remaining {
		return alone
	}
	return together
}

func (l *Limiter) measure() {
	l.outcomes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "achilles_rate_limit_total",
		Help: "Requests that were let through (allowed) or refused with 429 (limited), by class.",
	}, []string{"class", "outcome"})
	for _, of := range []*class{l.read, l.write, l.auth} {
		l.outcomes.WithLabelValues(of.name, "allowed")
		l.outcomes.WithLabelValues(of.name, "limited")
	}
	if l.options.Registerer == nil || l.off {
		return
	}
	l.options.Registerer.MustRegister(l.outcomes, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "achilles_rate_limit_local",
		Help: "Whether this replica counts alone, without Redis (1), or together with the others (0).",
	}, func() float64 {
		if l.shared == nil || l.shared.away() {
			return 1
		}
		return 0
	}))
}

// class is a kind of requests that has a quota.
type class struct {
	name   string
	quota  quota
	policy string // RateLimit-Policy
	about  errcode.Text
}

func newClass(name string, q quota, about errcode.Text) *class {
	policy := fmt.Sprintf("%q;q=%d;w=%d", name, q.burst, seconds(q.window()))
	return &class{name: name, quota: q, policy: policy, about: about}
}

// state is the field RateLimit.
func (of *class) state(v verdict) string {
	return `"` + of.name + `";r=` + strconv.Itoa(v.remaining) + ";t=" + strconv.Itoa(seconds(v.next))
}

func (of *class) refusal(v verdict) *errcode.Error {
	wait := seconds(v.next)
	err := errcode.New(errcode.TooManyRequests, errcode.Text{
		ZH:       fmt.Sprintf("%s, 请在 %d 秒后重试", of.about.ZH, wait),
		EN:       fmt.Sprintf("%s, try again in %d s", of.about.EN, wait),
		ZHHantTW: fmt.Sprintf("%s, 請在 %d 秒後重試", of.about.ZHHantTW, wait),
	})
	err.RetryAfter = time.Duration(wait) * time.Second
	return err
}
