package responses

import (
	"fmt"
	"time"

	"github.com/gin-gonic/gin"
)

// responseOptions are what middleware has set for the response of a request.
type responseOptions struct {
	prefix  string
	scheme  string // "" if no proxy has named it
	host    string // "" if no proxy has named it
	caching string
	shared  time.Duration // for which caching lets shared caches keep the response
	until   time.Time
}

type optionsKey struct{}

// optionsOf returns the options of the response, which the caller may change. They are
// one value because each value of a gin.Context costs more than what it holds.
func optionsOf(c *gin.Context) *responseOptions {
	if set, found := c.Get(optionsKey{}); found {
		return set.(*responseOptions)
	}
	set := &responseOptions{}
	c.Set(optionsKey{}, set)
	return set
}

// SetPathPrefix sets what a proxy has removed from the front of the path, such as
// "/blog". The addresses of created objects begin with it.
func SetPathPrefix(c *gin.Context, prefix string) { optionsOf(c).prefix = prefix }

// SetAddress sets the scheme and the host that the client used, as a trusted proxy names
// them; either may be "".
func SetAddress(c *gin.Context, scheme, host string) {
	set := optionsOf(c)
	set.scheme, set.host = scheme, host
}

// PathPrefix returns what a proxy has removed from the front of the path; see SetPathPrefix.
func PathPrefix(c *gin.Context) string { return optionsOf(c).prefix }

// AllowCaching sets the Cache-Control of the responses of Object and List. shared is the time for
// which it lets shared caches keep them, 0 for none.
func AllowCaching(c *gin.Context, policy string, shared time.Duration) {
	set := optionsOf(c)
	set.caching, set.shared = policy, shared
}

// CacheUntil makes shared caches keep the response no longer than until a time at which it is known
// to change, unless that is the zero time.
func CacheUntil(c *gin.Context, t time.Time) {
	if t.IsZero() {
		return
	}
	set := optionsOf(c)
	if left := max(0, time.Until(t)); left < set.shared {
		AllowCaching(c, SharedCaching(left), left)
	}
}

// SharedCaching returns the Cache-Control of responses that shared caches, such as a CDN, may keep
// for a time, of which whole seconds count.
func SharedCaching(d time.Duration) string {
	if seconds := int(d.Seconds()); seconds > 0 {
		return fmt.Sprintf("public, max-age=0, s-maxage=%d", seconds)
	}
	return "public, no-cache"
}

// WriteUntil sets the time until which the response may be written.
func WriteUntil(c *gin.Context, deadline time.Time) { optionsOf(c).until = deadline }
