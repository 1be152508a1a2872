package service

import (
	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// Middleware is a service's own middleware. It runs where Server.Middleware names it.
type Middleware[C any] struct {
	// Name must not be that of a standard middleware.
	Name string
	// New returns the handler for a configuration. It is called at the start, when s has its
	// log, metrics, database and Redis, and again for each configuration whose live settings
	// have changed. An error ends the start, and makes the service keep its former
	// configuration.
	New func(s *Service, config C) (gin.HandlerFunc, error)
}

func names[C any](own []Middleware[C]) (all []string) {
	for _, m := range own {
		all = append(all, m.Name)
	}
	return all
}

// handlers returns the handlers of those middleware that Server.Middleware may name.
func handlers[C any](s *Service, live *settings.Live[C], own []Middleware[C]) (map[string]gin.HandlerFunc, error) {
	all := map[string]gin.HandlerFunc{}
	for _, m := range own {
		handler, err := server.Live(live, func(config C) (gin.HandlerFunc, error) { return m.New(s, config) })
		if err != nil {
			return nil, err
		}
		all[m.Name] = handler
	}
	return all, nil
}
