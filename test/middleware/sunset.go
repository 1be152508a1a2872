// Package middleware is the example of docs/middleware.md: a service with a middleware of its
// own.
package middleware

import (
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/settings"
)

// SunsetConfig is the settings section Sunset.
type SunsetConfig struct {
	Prefix string `mapstructure:"Prefix" usage:"beginning of the paths that will be removed; empty: none" live:"true"`
	Date   string `mapstructure:"Date" usage:"day of the removal, such as 2027-01-31" live:"true"`
}

// Validate returns an error if the date is none.
func (c SunsetConfig) Validate() error {
	if _, err := time.Parse(time.DateOnly, c.Date); err != nil && c.Prefix != "" {
		return settings.Invalid("Date", c.Date, "a day such as 2027-01-31")
	}
	return nil
}

// sunset announces the removal of paths (RFC 8594).
func sunset(c SunsetConfig) (gin.HandlerFunc, error) {
	day, _ := time.Parse(time.DateOnly, c.Date)
	date := day.Format(http.TimeFormat)
	return func(g *gin.Context) {
		if c.Prefix != "" && strings.HasPrefix(g.Request.URL.Path, c.Prefix) {
			g.Header("Sunset", date)
		}
	}, nil
}
