// Package service starts what every service of Achilles has (log, metrics,
// admin listener, tracing, database, Redis, tokens, rate limits, HTTP engine) and
// stops it in the reverse order.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/auth"
	"github.com/achilles-blog/achilles/pkg/buildinfo"
	"github.com/achilles-blog/achilles/pkg/cache"
	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/errcode"
	"github.com/achilles-blog/achilles/pkg/failpoint"
	"github.com/achilles-blog/achilles/pkg/health"
	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/pkg/logging"
	"github.com/achilles-blog/achilles/pkg/memory"
	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/ratelimit"
	"github.com/achilles-blog/achilles/pkg/responses"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/tracing"
)

// StopTimeout is the timeout of each stop hook of a service.
const StopTimeout = 2 * time.Second

// schemaInterval is the time between two checks of a database that is not
// reachable or not migrated yet.
const schemaInterval = 500 * time.Millisecond

var errNotMigrated = errors.New("the database is not reachable or not migrated yet")

// Config holds the settings sections that every service has. A service embeds it
// in its own Config.
type Config struct {
	Server   server.Config
	Database database.Config
	Redis    cache.Config
	Auth     auth.Config
	Limits   ratelimit.Config
	Log      logging.Config
	Health   health.Config
	Tracing  tracing.Config
}

// Default returns the sections' defaults.
func Default() Config {
	return Config{
		Server: server.Default(), Database: database.Default(), Redis: cache.Default(), Auth: auth.Default(),
		Limits: ratelimit.Default(), Log: logging.Default(), Health: health.Default(), Tracing: tracing.Default(),
	}
}

// Validate reports values of different sections that cannot work together.
func (c Config) Validate() error {
	if c.Database.Timeout >= c.Server.RequestTimeout {
		return settings.Invalid("Database.Timeout", c.Database.Timeout.String(),
			fmt.Sprintf("less than Server.RequestTimeout (%s), so that a slow database is answered with 503", c.Server.RequestTimeout))
	}
	return nil
}

// Service holds the parts that all services share. A concrete service adds its
// routes to Engine, and its workers and stop hooks to Process.
type Service struct {
	Log     *zap.Logger
	Metrics *metrics.Metrics
	Health  *health.Health
	Process *lifecycle.Process
	DB      *database.DB
	// Redis is nil if none is configured.
	Redis  redis.UniversalClient
	KeySet *auth.KeySet
	Limits *ratelimit.Limiter
	// Responses bounds the memory of responses.
	Responses *responses.Memory
	Engine    *gin.Engine

	config     Config
	migrations database.Migrations
	info       buildinfo.Info
	logger     *logging.Logger
	tracer     *tracing.Tracer
	schema     *health.Gate
	migrated   atomic.Bool
}

// Run starts a service, serves until a signal or a failure, and stops
// everything in the reverse order of its start. shared extracts the common settings
// from the service's Config, and register adds the service's own parts. A start that
// fails, in register or elsewhere, stops what has been started in the same way. Run
// returns nil only after a complete, graceful stop. The service is not ready until
// its database is reachable and migrated.
func Run[C any](ctx context.Context, run command.Run[C], shared func(C) Config, migrations database.Migrations,
	register func(*Service, C) error) error {
	s, err := newService(shared(run.Config), migrations, run.Signals, run.Stdout)
	if err != nil {
		return err
	}
	defer func() { _ = s.logger.Sync() }()
	if run.ConfigFile != "" {
		s.watchSettings(run.ConfigFile, func() (Config, error) {
			config, err := run.Reload()
			return shared(config), err
		})
	}
	if err := s.start(ctx, func() error { return register(s, run.Config) }); err != nil {
		s.Process.Fail(err)
	}
	return s.Process.Run()
}

// newService makes the parts that every later step of the start needs.
func newService(config Config, migrations database.Migrations, signals <-chan os.Signal, stdout io.Writer) (*Service, error) {
	if failpoint.Enabled(failpoint.StartLate) {
		time.Sleep(failpoint.StartDelay)
	}
	info := buildinfo.Get()
	logger, err := logging.New(config.Log, config.Server.Release(), stdout)
	if err != nil {
		return nil, err
	}
	log := logger.With(zap.String("service", migrations.Service))
	log.Info("starting", zap.String("version", info.Version), zap.String("commit", info.Commit),
		zap.String("build_time", info.BuildTime), zap.String("go_version", info.GoVersion))
	limitMemory(memlimit.FromCgroup, log)
	relaxCollector()
	s := &Service{
		Log: log, Metrics: metrics.New(info), Process: lifecycle.New(config.Server.Lifecycle(), signals, log),
		config: config, migrations: migrations, info: info, logger: logger,
	}
	s.Process.OnStop("log", StopTimeout, func(context.Context) error { return logger.Close() })
	s.Metrics.TrackDraining(s.Process.Draining())
	s.Metrics.Registry().MustRegister(s.Process, logger.Collector())
	s.Health = health.New(config.Health, s.Process.Draining(), log, s.Metrics.Registry())
	return s, nil
}

// start makes the parts in order. Each registers its stop hook as soon as it
// exists.
func (s *Service) start(ctx context.Context, register func() error) error {
	if err := s.listenAdmin(ctx); err != nil {
		return err
	}
	s.openTracing()
	if err := s.openDatabase(); err != nil {
		return err
	}
	s.openRedis()
	if err := s.newEngine(); err != nil {
		return err
	}
	if err := register(); err != nil {
		return err
	}
	return s.listen(ctx)
}

func (s *Service) listenAdmin(ctx context.Context) error {
	listener, err := server.ListenAdmin(ctx, s.config.Server)
	if err != nil {
		return err
	}
	s.Process.ServeAdmin("admin", server.NewAdminServer(metrics.AdminHandler(s.Metrics, s.Health.AdminReadyz), s.Log), listener)
	s.Log.Info("metrics and profiles", zap.String("address", listener.Addr().String()))
	return nil
}

func (s *Service) openTracing() {
	traces := tracing.New(s.config.Tracing, "achilles-"+s.migrations.Service, s.info.Version, s.Log)
	s.Process.OnStop("tracing", StopTimeout, traces.Close)
	s.tracer = traces.Tracer()
}

func (s *Service) openDatabase() (err error) {
	if s.DB, err = database.Open(s.config.Database, s.Log); err != nil {
		return err
	}
	s.Process.OnStop("database", StopTimeout, func(context.Context) error { return s.DB.Close() })
	if err := s.DB.Claim(); err != nil {
		return err
	}
	s.Health.Dependency("database", func(ctx context.Context) error { return database.WithReason(s.DB.Ping(ctx)) })
	// Reads go on, so this does not make the process unready in strict mode.
	s.Health.Observe("writable database", func(ctx context.Context) error { return database.WithReason(s.DB.Writable(ctx)) })
	s.schema = s.Health.Gate("schema")
	return s.DB.Register(s.Metrics.Registry())
}

// openRedis does nothing if no Redis is configured. Replicas notify each other
// and share rate limits through it, and work without it.
func (s *Service) openRedis() {
	if s.Redis = cache.Open(s.config.Redis); s.Redis == nil {
		return
	}
	cache.LogTo(s.Log)
	s.Process.OnStop("redis", StopTimeout, func(context.Context) error { return s.Redis.Close() })
	s.Health.Dependency("redis", func(ctx context.Context) error { return cache.Check(ctx, s.Redis) })
}

func appKey(c *gin.Context) string { return auth.PrincipalOf(c).AppKey }

func (s *Service) newEngine() (err error) {
	if s.KeySet, err = auth.OpenKeySet(s.config.Auth); err != nil {
		return err
	}
	s.KeySet.Register(s.Metrics.Registry())
	s.Process.Go("key set", func(ctx context.Context) error { return s.KeySet.Watch(ctx, s.Log) })
	s.Limits = ratelimit.New(ratelimit.Deps{
		Service: s.migrations.Service, Redis: s.Redis, Log: s.Log, Registerer: s.Metrics.Registry(),
		Principal: appKey,
	}, s.config.Limits)
	budget := memory.New(memory.Config{Use: "responses", Total: s.config.Server.MaxResponseMemory})
	s.Metrics.Registry().MustRegister(budget)
	s.Responses = responses.NewMemory(budget, s.Limits.Client)
	s.Engine, err = server.NewEngine(s.config.Server, server.Deps{
		Log: s.Log, Metrics: s.Metrics, Health: s.Health, Info: s.info, Tracer: s.tracer, LimitReads: s.Limits.Read(), Client: s.Limits.Client,
	})
	if err != nil {
		return err
	}
	s.Engine.Use(s.requireSchema)
	return nil
}

func (s *Service) listen(ctx context.Context) error {
	listener, err := server.Listen(ctx, s.config.Server)
	if err != nil {
		return err
	}
	s.Process.Serve("http", server.NewHTTPServer(s.config.Server, s.Engine, s.Log), listener)
	s.Process.Go("schema", s.awaitSchema)
	s.Process.Go("health", s.Health.Run)
	s.Process.Go("self check", func(ctx context.Context) error {
		if err := lifecycle.SelfCheck(ctx, server.LocalURL(listener.Addr(), "/healthz")); err != nil {
			return err
		}
		s.Log.Info("up", zap.String("address", listener.Addr().String()))
		return nil
	})
	return nil
}

// Access returns the middleware that the routes of an API begin with:
// the rejection of reads under overload, authentication, rate limits, and the rejection of
// invalid tokens. Requests with an invalid token count against the limit of their client's
// address.
func (s *Service) Access() []gin.HandlerFunc {
	return []gin.HandlerFunc{server.LimitReads(s.config.Server), auth.Authenticate(s.KeySet), s.Limits.ByMethod(), auth.RejectInvalidToken()}
}

// requireSchema answers 503 until the database is reachable and migrated. It
// applies to the routes that are registered after it.
func (s *Service) requireSchema(c *gin.Context) {
	if !s.migrated.Load() {
		responses.Error(c, errcode.NewUnavailable(errNotMigrated))
	}
}

// awaitSchema opens the gate once the database is reachable and migrated. Until
// then the gate logs each new reason why it is not.
func (s *Service) awaitSchema(ctx context.Context) error {
	for {
		err := database.SchemaCurrent(ctx, s.DB, s.migrations)
		if ctx.Err() != nil {
			return nil
		}
		s.migrated.Store(err == nil)
		s.schema.Set(database.WithReason(err))
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(schemaInterval):
		}
	}
}

// watchSettings applies the log level when the configuration file changes. All
// other settings take effect at the next start.
func (s *Service) watchSettings(file string, reload func() (Config, error)) {
	s.Process.Go("settings", func(ctx context.Context) error {
		err := settings.Watch(ctx, file, func() {
			config, err := reload()
			if err == nil {
				err = s.logger.SetLevel(config.Log.Level)
			}
			if err != nil {
				s.Log.Error("the changed settings are not used", zap.Error(err))
				return
			}
			s.Log.Info("settings read again; only the log level takes effect without a restart", zap.String("level", config.Log.Level))
		})
		if err != nil { // such as no inotify watches left: no reason to stop serving
			s.Log.Warn("changes of the settings will not be noticed", zap.Error(err))
		}
		return nil
	})
}

// Migrate brings the schema of a service's database up to date and logs to out
// from which version to which.
func Migrate(ctx context.Context, config Config, migrations database.Migrations, out io.Writer) (err error) {
	logger, err := logging.New(config.Log, config.Server.Release(), out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logger.Close()) }()
	limitMemory(memlimit.FromCgroup, logger.Logger)
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

// recountTimeout is the timeout of a statement of Recount, which reads all rows.
const recountTimeout = 10 * time.Minute

// Recount runs recount, which returns a line for each thing that it has repaired, also if it
// then fails, and prints the result. It is the command recount of a service.
func Recount(ctx context.Context, config Config, migrations database.Migrations, out io.Writer,
	recount func(context.Context, *database.DB) (repaired []string, err error)) error {
	config.Database.Timeout = recountTimeout
	return UseDatabase(ctx, config.Database, migrations, func(db *database.DB) error {
		repaired, err := recount(ctx, db)
		text := "Nothing was wrong."
		switch {
		case len(repaired) > 0:
			text = "Repaired:\n" + strings.Join(repaired, "\n")
		case err != nil:
			return err
		}
		_, printed := fmt.Fprintln(out, text)
		return errors.Join(err, printed)
	})
}

// UseDatabase opens the database for work, and closes it afterwards. It returns an error
// that says what to do, unless the schema is current.
func UseDatabase(ctx context.Context, config database.Config, migrations database.Migrations, work func(*database.DB) error) (err error) {
	db, err := database.Open(config, zap.NewNop())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = database.SchemaCurrent(ctx, db, migrations)
	switch {
	case errors.Is(err, database.ErrSchemaBehind):
		return fmt.Errorf("the database %s: %w", config.DBName, err)
	case err != nil:
		var coded *errcode.Error
		if errors.As(err, &coded) && coded.Cause != nil {
			err = coded.Cause // clients of the API are told to try again later
		}
		return fmt.Errorf("the database %s at %s cannot be used: %w; check the section Database of the configuration, "+
			"and run the command migrate if the database is new", config.DBName, config.Host, err)
	}
	return work(db)
}
