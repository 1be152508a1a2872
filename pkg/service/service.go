// Package service connects what every service of Achilles has: log, metrics,
// traces, health, database, Redis, access, engine and lifecycle, in the one order in
// which they start and, the other way round, stop.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/cache"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/failpoint"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/pkg/logging"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tracing"
)

// StopTimeout bounds the closing of each thing that a service closes.
const StopTimeout = 2 * time.Second

// schemaInterval is the pause between two looks at a database that is not
// there, or not migrated, yet.
const schemaInterval = 500 * time.Millisecond

var errNotMigrated = errors.New("the database was not reached yet, or has no schema")

// Config are the sections of settings that every service has.
type Config struct {
	Server   server.Config
	Database database.Config
	Log      logging.Config
	Health   health.Config
	Tracing  tracing.Config
	Redis    cache.Config
	Auth     auth.Config
	Limits   ratelimit.Config
}

// Validate says which values of different sections cannot work together.
func (c Config) Validate() error {
	if c.Database.Timeout >= c.Server.RequestTimeout {
		return settings.Invalid("Database.Timeout", c.Database.Timeout.String(),
			fmt.Sprintf("less than Server.RequestTimeout (%s), so that a slow database is answered with 503", c.Server.RequestTimeout))
	}
	return nil
}

// Service is what the parts of one service are built on. A service registers
// its routes with Engine, its workers and closers with Process, and then calls
// Run.
type Service struct {
	Log     *zap.Logger
	Metrics *metrics.Metrics
	Health  *health.Health
	Process *lifecycle.Process
	DB      *database.DB
	// Redis is nil where none is configured.
	Redis  *redis.Client
	KeySet *auth.KeySet
	Limits *ratelimit.Limiter
	Engine *gin.Engine

	config     Config
	migrations database.Migrations
	logger     *logging.Logger
	traces     *tracing.Tracing
	schema     *health.Gate
	migrated   atomic.Bool
}

// New connects the parts. It binds the admin port, but neither listens for
// requests nor waits for the database: the service is unready until the
// database was reached and has the schema of migrations.
func New(ctx context.Context, config Config, migrations database.Migrations, signals <-chan os.Signal, stdout io.Writer) (*Service, error) {
	if failpoint.Enabled(failpoint.StartLate) {
		time.Sleep(failpoint.StartDelay)
	}
	logger, err := logging.New(config.Log, config.Server.Release(), stdout)
	if err != nil {
		return nil, err
	}
	info := buildinfo.Get()
	log := logger.With(zap.String("service", migrations.Service))
	log.Info("starting", zap.String("version", info.Version), zap.String("commit", info.Commit),
		zap.String("build_time", info.BuildTime), zap.String("go_version", info.GoVersion))
	s := &Service{
		Log: log, Metrics: metrics.New(info), Process: lifecycle.New(config.Server.Lifecycle(), signals, log),
		config: config, migrations: migrations, logger: logger,
	}
	s.Process.OnStop("log", StopTimeout, func(context.Context) error { return logger.Close() })
	s.Metrics.TrackDraining(s.Process.Draining())
	if err := s.listenAdmin(ctx); err != nil {
		return nil, errors.Join(err, logger.Close())
	}
	s.traces = tracing.New(config.Tracing, "achilles-"+migrations.Service, info.Version, log)
	s.Process.OnStop("tracing", StopTimeout, s.traces.Close)
	if err := s.openDatabase(); err != nil {
		return nil, errors.Join(err, s.traces.Close(ctx), logger.Close())
	}
	s.Health = s.newHealth()
	s.openRedis()
	if err := s.newEngine(info); err != nil {
		return nil, errors.Join(err, s.closeRedis(), s.DB.Close(), s.traces.Close(ctx), logger.Close())
	}
	return s, nil
}

func (s *Service) newEngine(info buildinfo.Info) (err error) {
	if s.KeySet, err = auth.OpenKeySet(s.config.Auth); err != nil {
		return err
	}
	s.Process.Go("key set", func(ctx context.Context) error { return s.KeySet.Watch(ctx, s.Log) })
	s.Limits = ratelimit.New(s.config.Limits, ratelimit.Options{
		Service: s.migrations.Service, Redis: s.Redis, Log: s.Log, Registerer: s.Metrics.Registry(),
		Principal: func(c *gin.Context) string { return auth.PrincipalOf(c).AppKey },
	})
	s.Engine, err = server.NewEngine(s.config.Server, server.Deps{
		Log: s.Log, Metrics: s.Metrics, Health: s.Health, Info: info, Tracer: s.traces.Tracer(), LimitUnknown: s.Limits.Read(),
	})
	if err == nil {
		s.Engine.Use(s.requireSchema)
	}
	return err
}

// Access is what the routes of an API begin with: who asks, how often, and
// whether with a token that is none. Wrong tokens count against their sender's
// address.
func (s *Service) Access() []gin.HandlerFunc {
	return []gin.HandlerFunc{auth.Authenticate(s.KeySet), s.Limits.ByMethod(), auth.RejectInvalidToken()}
}

// openRedis is for what replicas tell each other and count together; both go on
// without it.
func (s *Service) openRedis() {
	if s.Redis = cache.Open(s.config.Redis); s.Redis == nil {
		return
	}
	s.Process.OnStop("redis", StopTimeout, func(context.Context) error { return s.closeRedis() })
	s.Health.Dependency("redis", func(ctx context.Context) error { return s.Redis.Ping(ctx).Err() })
}

func (s *Service) closeRedis() error {
	if s.Redis == nil {
		return nil
	}
	return s.Redis.Close()
}

// requireSchema refuses the service's own routes until the database was reached
// and migrated. It applies to the routes that are registered after it.
func (s *Service) requireSchema(c *gin.Context) {
	if !s.migrated.Load() {
		responses.Error(c, &errcode.Error{Code: errcode.Unavailable, RetryAfter: time.Second, Cause: errNotMigrated})
	}
}

func (s *Service) openDatabase() (err error) {
	if s.DB, err = database.Open(s.config.Database, s.Log); err != nil {
		return err
	}
	if err := s.DB.Register(s.Metrics.Registry()); err != nil {
		return errors.Join(err, s.DB.Close())
	}
	s.Process.OnStop("database", StopTimeout, func(context.Context) error { return s.DB.Close() })
	return nil
}

func (s *Service) newHealth() *health.Health {
	c := s.config.Health
	checks := health.New(health.Options{
		Strict: c.Strict, CheckInterval: c.CheckInterval, CheckTimeout: c.CheckTimeout, StaleAfter: c.StaleAfter,
		FailAfter: c.FailAfter, PassAfter: c.PassAfter,
		Draining: s.Process.Draining(), Log: s.Log, Registerer: s.Metrics.Registry(),
	})
	checks.Dependency("database", s.DB.Ping)
	s.schema = checks.Gate("schema")
	return checks
}

// awaitSchema opens the gate once the database is there and migrated, and logs
// each reason why it is not once.
func (s *Service) awaitSchema(ctx context.Context) error {
	said := ""
	for {
		err := database.SchemaCurrent(ctx, s.DB, s.migrations)
		s.schema.Set(shown(err))
		if err == nil {
			s.migrated.Store(true)
			s.Log.Info("the database is there and its schema is current")
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		if err.Error() != said {
			said = err.Error()
			s.Log.Warn("not ready: waiting for the database", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(schemaInterval):
		}
	}
}

// shown lets /readyz say what a person can do about it.
func shown(err error) error {
	if errors.Is(err, database.ErrSchemaBehind) {
		return fmt.Errorf("%w: %w", health.Reason("the schema is behind: run the command migrate"), err)
	}
	return err
}

func (s *Service) listenAdmin(ctx context.Context) error {
	listener, err := server.ListenAdmin(ctx, s.config.Server)
	if err != nil {
		return err
	}
	s.Process.ServeAdmin("admin", server.NewAdminServer(metrics.AdminHandler(s.Metrics), s.Log), listener)
	s.Log.Info("metrics and profiles", zap.String("address", listener.Addr().String()))
	return nil
}

// Run serves until a signal or a failure, and then stops everything in order.
// It returns an error unless everything was served and stopped as it should.
func (s *Service) Run(ctx context.Context) error {
	listener, err := server.Listen(ctx, s.config.Server)
	if err != nil {
		return errors.Join(err, s.DB.Close(), s.traces.Close(ctx), s.logger.Close())
	}
	s.Process.Listen("http", server.NewHTTPServer(s.config.Server, s.Engine, s.Log), listener)
	s.Process.Go("schema", s.awaitSchema)
	s.Process.Go("health", s.Health.Run)
	s.Process.Go("self check", func(ctx context.Context) error {
		if err := lifecycle.SelfCheck(ctx, server.LocalURL(listener.Addr(), "/healthz")); err != nil {
			return err
		}
		s.Log.Info("up", zap.String("address", listener.Addr().String()))
		return nil
	})
	return s.Process.Run()
}

// WatchSettings applies the log level when the file changes; everything else
// takes a restart. reload reads all settings anew.
func (s *Service) WatchSettings(file string, reload func() (logging.Config, error)) {
	if file == "" {
		return
	}
	s.Process.Go("settings", func(ctx context.Context) error {
		err := settings.Watch(ctx, file, func() {
			config, err := reload()
			if err == nil {
				err = s.logger.SetLevel(config.Level)
			}
			if err != nil {
				s.Log.Error("the changed settings are not used", zap.Error(err))
				return
			}
			s.Log.Info("settings read again; only the log level takes effect without a restart", zap.String("level", config.Level))
		})
		if err != nil { // such as no inotify watches left: no reason to stop serving
			s.Log.Warn("changes of the settings will not be noticed", zap.Error(err))
		}
		return nil
	})
}

// Migrate brings the schema of a service's database up to date and says on out
// what it did.
func Migrate(ctx context.Context, config Config, migrations database.Migrations, out io.Writer) (err error) {
	logger, err := logging.New(config.Log, config.Server.Release(), out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logger.Close()) }()
	db, err := database.Open(config.Database, logger.Logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	from, to, err := database.Migrate(ctx, db, migrations)
	if err != nil {
		return err
	}
	logger.Info("the schema is current", zap.Int64("from", from), zap.Int64("to", to))
	return nil
}
