package server

import (
	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/locale"
)

// language negotiates the language of the response.
func language(negotiator *locale.Negotiator) gin.HandlerFunc {
	return func(c *gin.Context) {
		name := negotiator.Negotiate(c.GetHeader("locale"), c.GetHeader("Accept-Language"))
		c.Request = c.Request.WithContext(locale.NewContext(c.Request.Context(), name))
		c.Next()
	}
}
