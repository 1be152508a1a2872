package responses

import (
	"time"

	"github.com/gin-gonic/gin"
)

// responseOptions are what middleware has set for the response of a request.
type responseOptions struct {
	prefix  string
	scheme  string // "" if no proxy has named it
	host    string // "" if no proxy has named it
	caching string
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

// AllowCaching sets the Cache-Control of the responses of Object and List.
func AllowCaching(c *gin.Context, policy string) { optionsOf(c).caching = policy }

// WriteUntil sets the time until which the response may be written.
func WriteUntil(c *gin.Context, deadline time.Time) { optionsOf(c).until = deadline }
