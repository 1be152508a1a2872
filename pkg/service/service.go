// Package service starts what every service of Achilles has (log, metrics,
// admin listener, tracing, database, Redis, tokens, rate limits, HTTP engine) and
// stops it in the reverse order.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
	"github.com/achilles-blog/achilles/pkg/changefeed/sqlfeed"
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
	"github.com/achilles-blog/achilles/pkg/slowtrace"
	"github.com/achilles-blog/achilles/pkg/status"
	"github.com/achilles-blog/achilles/pkg/tracing"
	"github.com/achilles-blog/achilles/pkg/upgrade"
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
	Upgrade  upgrade.Config
}

// Default returns the sections' defaults.
func Default() Config {
	return Config{
		Server: server.Default(), Database: database.Default(), Redis: cache.Default(), Auth: auth.Default(),
		Limits: ratelimit.Default(), Log: logging.Default(), Health: health.Default(), Tracing: tracing.Default(),
		Upgrade: upgrade.Default(),
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
	// Status is the page /statusz of the admin listener.
	Status *status.Page

	config     Config // of the start
	live       *settings.Live[Config]
	reloads    *reloads
	migrations database.Migrations
	info       buildinfo.Info
	logger     *logging.Logger
	tracer     *tracing.Tracer
	schema     *health.Gate
	migrated   atomic.Bool
	readOnly   *readOnly

	began    time.Time                   // of the process
	settings func() []settings.Explained // those in use, for /statusz and /configz
	slow     *slowtrace.Recorder
	feeds    feedParts
	handover handover
}

// Run starts a service, serves until a signal or a failure, and stops
// everything in the reverse order of its start. shared extracts the common settings
// from the service's Config, and register adds the service's own parts. A start that
// fails, in register or elsewhere, stops what has been started in the same way. Run
// returns nil only after a complete, graceful stop. The service is not ready until
// its database is reachable and migrated. own is the service's own middleware.
func Run[C any](ctx context.Context, run command.Run[C], shared func(C) Config, migrations database.Migrations,
	register func(*Service, *settings.Live[C]) error, own ...Middleware[C]) error {
	live, update := settings.NewLive(run.Config)
	s, err := newService(settings.Part(live, shared), migrations, run.Signals, run.Stdout)
	if err != nil {
		return err
	}
	s.settings = func() []settings.Explained {
		var sources settings.Sources
		if run.Sources != nil {
			sources = run.Sources()
		}
		config := live.Now()
		return sources.Explain(&config)
	}
	defer func() { _ = s.logger.Sync() }()
	s.reloads = newReloads(s.Metrics.Registry())
	s.Process.Go("settings", func(ctx context.Context) error {
		return watchSettings(ctx, s, run, func(config C) ([]settings.Change, error) {
			if err := server.CheckMiddleware(shared(config).Server, names(own)...); err != nil {
				return nil, err
			}
			return update(config)
		})
	})
	middleware := func() (map[string]gin.HandlerFunc, error) { return handlers(s, live, own) }
	if err := s.start(ctx, middleware, func() error { return register(s, live) }); err != nil {
		s.Process.Fail(err)
	}
	return s.Process.Run()
}

// newService makes the parts that every later step of the start needs.
func newService(live *settings.Live[Config], migrations database.Migrations, signals <-chan os.Signal, stdout io.Writer) (*Service, error) {
	if failpoint.Enabled(failpoint.StartLate) {
		time.Sleep(failpoint.StartDelay)
	}
	info, config := buildinfo.Get(), live.Now()
	logger, err := logging.New(config.Log, config.Server.Release(), stdout)
	if err != nil {
		return nil, err
	}
	log := logger.With(zap.String("service", migrations.Service))
	if config.Upgrade.Signal != upgrade.None { // the lines of two processes, for a while
		log = log.With(zap.Int("pid", os.Getpid()))
	}
	log.Info("starting", zap.String("version", info.Version), zap.String("commit", info.Commit),
		zap.String("build_time", info.BuildTime), zap.String("go_version", info.GoVersion))
	limitMemory(memlimit.FromCgroup, log)
	relaxCollector()
	s := &Service{
		Log: log, Metrics: metrics.New(info), Process: lifecycle.New(config.Server.Lifecycle(), signals, log),
		config: config, live: live, migrations: migrations, info: info, logger: logger,
		began: time.Now(),
	}
	s.Process.OnStop("log", StopTimeout, func(context.Context) error { return logger.Close() })
	s.Process.Go("memory limit", func(ctx context.Context) error { return followMemory(ctx, memlimit.FromCgroup, log) })
	s.Metrics.TrackDraining(s.Process.Draining())
	s.Metrics.Registry().MustRegister(s.Process, logger.Collector())
	s.Health = health.New(config.Health, s.Process.Draining(), log, s.Metrics.Registry())
	return s, nil
}

// start makes the parts in order. Each registers its stop hook as soon as it
// exists.
func (s *Service) start(ctx context.Context, middleware func() (map[string]gin.HandlerFunc, error), register func() error) error {
	if err := s.prepareHandover(); err != nil {
		return err
	}
	if err := s.listenAdmin(ctx); err != nil {
		return err
	}
	s.openTracing()
	if err := s.openDatabase(); err != nil {
		return err
	}
	s.openRedis()
	own, err := middleware()
	if err != nil {
		return err
	}
	if err := s.newEngine(own); err != nil {
		return err
	}
	if err := register(); err != nil {
		return err
	}
	return s.listen(ctx)
}

func (s *Service) listenAdmin(ctx context.Context) error {
	listener, err := s.listener("admin", s.config.Server.AdminAddress(), func() (net.Listener, error) { return server.ListenAdmin(ctx, s.config.Server) })
	if err != nil {
		return err
	}
	s.recordSlow()
	s.Process.ServeAdmin("admin", server.NewAdminServer(s.admin(), s.Log), listener)
	s.Log.Info("metrics and profiles", zap.String("address", listener.Addr().String()))
	return nil
}

// recordSlow begins to record execution traces, for those of slow requests.
func (s *Service) recordSlow() {
	slow, err := slowtrace.Start(s.config.Server.SlowRequestTrace, s.Log)
	if err != nil {
		s.Log.Warn("slow requests have no execution trace", zap.Error(err))
	}
	s.slow = slow
	s.Process.Go("slow requests", func(ctx context.Context) error {
		<-ctx.Done()
		slow.Close()
		return nil
	})
}

func (s *Service) openTracing() {
	tracing.LogTo(s.Log)
	traces := tracing.New(settings.Part(s.live, func(c Config) tracing.Config { return c.Tracing }), "achilles-"+s.migrations.Service, s.info.Version, s.Log)
	s.Process.OnStop("tracing", StopTimeout, traces.Close)
	s.tracer = traces.Tracer()
	s.Status.Add("tracing", func() status.Content {
		about := traces.About()
		return status.Fields{{Name: "endpoint", Value: about.Endpoint}, {Name: "sampler", Value: about.Sampler}}
	})
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
	s.readOnly = newReadOnly(s.live, s.DB.Writable, s.Metrics.Registry())
	s.Process.Go("read-only database", s.readOnly.watch)
	// Reads go on, so this does not make the process unready in strict mode.
	s.Health.Observe("writable database", func(ctx context.Context) error { return database.WithReason(s.readOnly.check(ctx)) })
	s.schema = s.Health.Gate("schema")
	return s.DB.Register(s.Metrics.Registry())
}

// openRedis does nothing if no Redis is configured. Replicas notify each other
// and share rate limits through it, and work without it.
func (s *Service) openRedis() {
	cache.LogTo(s.Log)
	if s.Redis = cache.Open(s.config.Redis); s.Redis == nil {
		return
	}
	s.Process.OnStop("redis", StopTimeout, func(context.Context) error { return s.Redis.Close() })
	s.Metrics.Registry().MustRegister(cache.Collector(s.Redis))
	s.Health.Dependency("redis", func(ctx context.Context) error { return cache.Check(ctx, s.Redis) })
}

func appKey(c *gin.Context) string { return auth.PrincipalOf(c).AppKey }

func (s *Service) newEngine(own map[string]gin.HandlerFunc) (err error) {
	if s.KeySet, err = auth.OpenKeySet(s.config.Auth); err != nil {
		return err
	}
	s.KeySet.Register(s.Metrics.Registry())
	s.Process.Go("key set", func(ctx context.Context) error { return s.KeySet.Watch(ctx, s.Log) })
	s.Limits = ratelimit.New(ratelimit.Deps{
		Service: s.migrations.Service, Redis: s.Redis, Log: s.Log, Registerer: s.Metrics.Registry(),
		Principal: appKey,
	}, settings.Part(s.live, func(c Config) ratelimit.Config { return c.Limits }))
	budget := memory.New(memory.Config{Use: "responses", Total: s.config.Server.MaxResponseMemory})
	s.Metrics.Registry().MustRegister(budget)
	s.Responses = responses.NewMemory(budget, s.Limits.Client)
	s.Engine, err = server.NewEngine(settings.Part(s.live, func(c Config) server.Config { return c.Server }), server.Deps{
		Log: s.Log, Metrics: s.Metrics, Health: s.Health, Info: s.info, Tracer: s.tracer, LimitReads: s.Limits.Read(), Client: s.Limits.Client, AppKey: appKey,
		Slow: s.slow, Own: own,
	})
	if err != nil {
		return err
	}
	s.Engine.Use(s.requireSchema)
	return nil
}

func (s *Service) listen(ctx context.Context) error {
	listener, err := s.listener("http", s.config.Server.Address(), func() (net.Listener, error) { return server.Listen(ctx, s.config.Server) })
	if err != nil {
		return err
	}
	s.Process.Serve("http", server.NewHTTPServer(s.config.Server, s.Engine, s.Log), listener)
	s.Process.Go("schema", s.awaitSchema)
	s.Process.Go("health", s.Health.Run)
	s.Process.Go("self check", func(ctx context.Context) error { return s.becomeReady(ctx, listener.Addr()) })
	return nil
}

// Access returns the middleware that the routes of an API begin with:
// the rejection of reads under overload, authentication, rate limits, the rejection of
// invalid tokens, and that of writes while the service is read-only. Requests with an invalid
// token count against the limit of their client's address.
func (s *Service) Access() []gin.HandlerFunc {
	return []gin.HandlerFunc{
		server.LimitReads(s.config.Server), auth.Authenticate(s.KeySet), s.Limits.ByMethod(), auth.RejectInvalidToken(), s.readOnly.rejectWrites,
	}
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

// commandTimeout is the timeout of a transaction of Recount and Epoch, which nobody waits for.
const commandTimeout = 10 * time.Minute

// Recount runs recount, which returns a line for each thing that it has repaired, also if it
// then fails, and prints the result. It is the command recount of a service.
func Recount(ctx context.Context, config Config, migrations database.Migrations, out io.Writer,
	recount func(context.Context, *database.DB) (repaired []string, err error)) error {
	config.Database.Timeout = commandTimeout
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

// Restored says what a service changes after its database was restored from a backup.
type Restored struct {
	Feeds []func(*database.DB) sqlfeed.Feed
	// IDs are the tables whose ids clients know, and Revisions those with the column revision, without their prefix.
	IDs, Revisions []string
}

// Epoch prints the epoch of a service's feed of changes. With options.New, it first replaces what clients may have of writes that
// are lost: the epoch, ids and revisions. It is the command epoch of a service.
func Epoch(ctx context.Context, config Config, migrations database.Migrations, out io.Writer, restored Restored, options command.EpochOptions) error {
	config.Database.Timeout = commandTimeout
	return UseDatabase(ctx, config.Database, migrations, func(db *database.DB) error {
		if !options.New {
			return restored.print(ctx, db, out)
		}
		if err := restored.renew(ctx, db, options.Lost, out); err != nil {
			return fmt.Errorf("%w; the command needs the rights that migrate needs, and can be repeated", err)
		}
		return nil
	})
}

func (r Restored) print(ctx context.Context, db *database.DB, out io.Writer) error {
	for _, of := range r.Feeds {
		feed := of(db)
		head, err := feed.Head(ctx)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "The feed%s has the epoch %s.\n", r.name(feed), head.Epoch); err != nil {
			return err
		}
	}
	return nil
}

// name returns what the feed is called if there are others.
func (r Restored) name(feed sqlfeed.Feed) string {
	if len(r.Feeds) == 1 {
		return ""
	}
	return " " + feed.Changes
}

func (r Restored) renew(ctx context.Context, db *database.DB, lost uint64, out io.Writer) error {
	if err := db.SkipIDs(ctx, lost, r.IDs...); err != nil {
		return err
	}
	if err := db.RaiseRevisions(ctx, lost, r.Revisions...); err != nil {
		return err
	}
	for _, of := range r.Feeds {
		feed := of(db)
		former, current, err := feed.Renew(ctx)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "The feed%s has the epoch %s instead of %s: its readers start over. %d ids and versions are left out.\n", r.name(feed), current.Epoch, former.Epoch, lost)
		if err != nil {
			return err
		}
	}
	return nil
}

// UseDatabase opens the database for work, and closes it afterwards. It returns an error
// that says what to do, unless the database is that of the service and its schema is current.
func UseDatabase(ctx context.Context, config database.Config, migrations database.Migrations, work func(*database.DB) error) (err error) {
	db, err := database.Open(config, zap.NewNop())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = database.SchemaCurrent(ctx, db, migrations)
	switch {
	case errors.Is(err, database.ErrOtherService):
		return err
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
