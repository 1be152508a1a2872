package server

import (
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/metrics"
)

// measure records the metrics of requests.
func measure(m *metrics.Metrics) gin.HandlerFunc {
	return func(c *gin.Context) {
		begin, returned := time.Now(), false
		m.RequestStarted()
		defer func() {
			m.RequestDone(c.Request.Method, c.FullPath(), finalStatus(c, returned), time.Since(begin))
		}()
		c.Next()
		returned = true
	}
}
