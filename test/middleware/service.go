package middleware

import (
	"context"
	"net/http"
	"testing/fstest"

	"github.com/gin-gonic/gin"

	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/service"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// Config holds the settings of the service.
type Config struct {
	service.Config `mapstructure:",squash"`
	Sunset         SunsetConfig
}

func defaults() Config {
	config := Config{Config: service.Default()}
	config.Server.Middleware = append(config.Server.Middleware, "sunset")
	return config
}

func shared(c Config) service.Config { return c.Config }

func migrations() database.Migrations {
	return database.Migrations{Service: "example", Files: fstest.MapFS{
		"sqlite/0001_example.sql": {Data: []byte("-- +goose Up\nCREATE TABLE blog_example (id integer PRIMARY KEY);\n")},
	}}
}

// serve runs the service.
func serve(ctx context.Context, run command.Run[Config]) error {
	return service.Run(ctx, run, shared, migrations(), register, service.Middleware[Config]{Name: "sunset", New: newSunset})
}

func newSunset(_ *service.Service, c Config) (gin.HandlerFunc, error) { return sunset(c.Sunset) }

func register(s *service.Service, _ *settings.Live[Config]) error {
	s.Engine.GET("/api/v0/things", func(c *gin.Context) { c.String(http.StatusOK, "things") })
	return nil
}

// Command returns the command line of the service.
func Command() command.Service[Config] {
	return command.Service[Config]{
		Name: "example", Summary: "A service with a middleware of its own", Defaults: defaults, Serve: serve,
		Migrate: func(ctx context.Context, run command.Run[Config]) error {
			return service.Migrate(ctx, shared(run.Config), migrations(), run.Stdout)
		},
	}
}
