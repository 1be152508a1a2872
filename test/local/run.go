package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/pkg/logging"
)

const (
	// doorDrain is long enough for a busy client to see "Connection: close" on
	// each of its connections, and short enough for a person's Ctrl-C.
	doorDrain    = 500 * time.Millisecond
	doorShutdown = 20 * time.Second
	serviceStop  = 25 * time.Second
	migrateStop  = 3 * time.Second
	readyLimit   = 30 * time.Second
	// sameSignal is the time within which a second signal is the first one over
	// again: make passes on the SIGTERM that the terminal or a supervisor sent
	// to all of them.
	sameSignal = 300 * time.Millisecond
)

// run starts the system and returns when it has stopped: nil if a signal asked
// for that and nothing went wrong.
func run(portText, dataDir, bin string, environ []string, stdout io.Writer) error {
	signals, release := notify()
	defer release()
	port, err := parsePort(portText)
	if err != nil {
		return err
	}
	d, err := openData(dataDir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	ln, err := listen(port)
	if err != nil {
		return err
	}
	s, err := newSystem(d, ln.Addr().String(), bin, environ, stdout)
	if err != nil {
		_ = ln.Close()
		return err
	}
	defer s.close()
	return s.run(signals, ln)
}

// notify returns the signals that stop the system. The first two are passed
// on, unless the second follows so closely that it is the first over again.
func notify() (<-chan os.Signal, func()) {
	raw, signals := make(chan os.Signal, 4), make(chan os.Signal, 2)
	done := make(chan struct{})
	signal.Notify(raw, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		var first time.Time
		for {
			select {
			case received := <-raw:
				if first.IsZero() {
					first = time.Now()
				} else if time.Since(first) < sameSignal {
					continue
				}
				select {
				case signals <- received:
				default: // two are enough
				}
			case <-done:
				return
			}
		}
	}()
	return signals, func() {
		signal.Stop(raw)
		close(done)
	}
}

func listen(port int) (net.Listener, error) {
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		return ln, nil
	}
	reason := err.Error()
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		reason = "it is taken"
	case errors.Is(err, syscall.EACCES):
		reason = "this user may not open it"
	}
	return nil, fmt.Errorf("port %d can't be used: %s; choose another one, such as PORT=%d", port, reason, another(port))
}

func another(port int) int {
	if port < 1024 {
		return 8080
	}
	if port == 65535 {
		return port - 1
	}
	return port + 1
}

// freePorts returns n different ports that are free at this moment.
func freePorts(n int) ([]int, error) {
	ports := make([]int, 0, n)
	for range n {
		// All stay open until the last is found, so that they differ.
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("no free port for the services: %w", err)
		}
		defer func() { _ = ln.Close() }()
		ports = append(ports, ln.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// system is both services and the door in front of them.
type system struct {
	data         *data
	base         string // the door's address as a URL
	stdout       io.Writer
	log          *zap.Logger
	logFile      *os.File
	door         *door
	tag, article *service
	app          app
}

func newSystem(d *data, address, bin string, environ []string, stdout io.Writer) (*system, error) {
	ring, err := d.keyRing()
	if err != nil {
		return nil, err
	}
	own, err := d.app()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	logFile, err := d.newLog("door")
	if err != nil {
		return nil, err
	}
	logger, err := logging.New(logging.Default(), false, logFile)
	if err != nil {
		_ = logFile.Close()
		return nil, err
	}
	s := &system{data: d, base: "http://" + address, stdout: stdout, log: logger.Logger, logFile: logFile, app: own}
	env := slices.Concat(roomyLimits(), ownEnvironment(environ),
		[]string{"ACHILLES_FEED_TOKEN=" + rand.Text(), "ACHILLES_AUTH_KEYSFILE=" + ring})
	s.tag = newService("tag", bin, d, env, ports[0], ports[1])
	s.article = newService("article", bin, d, env, ports[2], ports[3])
	s.article.serveArgs = append(s.article.serveArgs, "--feed.url="+s.tag.url.String())
	s.door = newDoor(s.tag.url, s.article.url, s.errorLog())
	return s, nil
}

// roomyLimits are limits that neither a person nor the demo meets. Those of the
// environment come behind them, and so win.
func roomyLimits() []string {
	return []string{
		"ACHILLES_LIMITS_READPERSECOND=1000", "ACHILLES_LIMITS_READBURST=2000",
		"ACHILLES_LIMITS_WRITEPERSECOND=1000", "ACHILLES_LIMITS_WRITEBURST=2000",
		"ACHILLES_LIMITS_AUTHPERMINUTE=60", "ACHILLES_LIMITS_AUTHBURST=60",
	}
}

// ownEnvironment leaves out the settings that the flags and the token of this
// program decide. Those of other sections (ACHILLES_LOG_LEVEL, ACHILLES_APP_…)
// reach the services.
func ownEnvironment(environ []string) []string {
	own := []string{"ACHILLES_CONFIG=", "ACHILLES_SERVER_", "ACHILLES_DATABASE_", "ACHILLES_REDIS_", "ACHILLES_FEED_"}
	var kept []string
	for _, variable := range environ {
		decided := false
		for _, prefix := range own {
			decided = decided || strings.HasPrefix(variable, prefix)
		}
		if !decided {
			kept = append(kept, variable)
		}
	}
	return kept
}

func (s *system) errorLog() *log.Logger { return zap.NewStdLog(s.log) }

func (s *system) close() {
	s.tag.close()
	s.article.close()
	_ = s.log.Sync()
	_ = s.logFile.Close()
}

// run serves until a signal or a failure. The services outlive the last request
// that the door passed on to them; article stops before tag, whose feed it
// follows.
func (s *system) run(signals <-chan os.Signal, ln net.Listener) error {
	process := lifecycle.New(lifecycle.Config{DrainDelay: doorDrain, ShutdownTimeout: doorShutdown}, signals, s.log)
	for _, svc := range []*service{s.tag, s.article} {
		process.OnStop(svc.name, serviceStop, svc.stop)
	}
	process.Listen("front door", newDoorServer(s.door, s.errorLog()), ln)
	process.Go("services", s.serve)
	process.Go("farewell", func(context.Context) error {
		<-process.Draining()
		s.say("\nStopping: finishing what is under way. Ctrl-C again ends it at once.\n")
		return nil
	})
	err := process.Run()
	if errors.Is(err, lifecycle.ErrForced) {
		s.article.kill()
		s.tag.kill()
	}
	// Of all that followed from a service's failure, the person needs the cause.
	if failed := new(failure); errors.As(err, &failed) {
		return failed
	}
	if err == nil {
		s.say("Stopped. The data stays in %s.\n", s.data.dir)
	}
	return err
}

// serve brings both services up, opens the door and then watches over them.
func (s *system) serve(ctx context.Context) error {
	services := []*service{s.tag, s.article}
	for _, svc := range services {
		if err := svc.migrate(ctx); err != nil {
			return err
		}
	}
	for _, svc := range services {
		if err := svc.start(); err != nil {
			return err
		}
	}
	for _, svc := range services {
		if err := svc.awaitReady(ctx); err != nil {
			return err
		}
	}
	s.door.open()
	client := newAPI(s.base)
	defer client.close()
	if err := s.admit(ctx, client); err != nil {
		return err
	}
	s.greet(ctx, client)
	select {
	case <-s.tag.child.done:
		return s.tag.ended()
	case <-s.article.child.done:
		return s.article.ended()
	case <-ctx.Done():
		return nil
	}
}

func (s *system) say(format string, args ...any) {
	_, _ = fmt.Fprintf(s.stdout, format, args...)
}

// service is one of the two services: how it is started, and its process once
// it has been.
type service struct {
	name                string
	path                string
	database, serveArgs []string
	env                 []string
	url, admin          *url.URL
	data                *data
	log                 *os.File
	child               *child
}

func newService(name, bin string, d *data, env []string, port, adminPort int) *service {
	database := []string{"--database.dbtype=sqlite", "--database.dbname=" + d.path(name+".db")}
	return &service{
		name: name, path: bin + "/" + name, env: env, data: d,
		url:      &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)},
		admin:    &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", adminPort)},
		database: database,
		serveArgs: append([]string{
			"serve",
			"--server.runmode=debug",
			"--server.host=127.0.0.1", fmt.Sprintf("--server.httpport=%d", port),
			"--server.adminhost=127.0.0.1", fmt.Sprintf("--server.adminport=%d", adminPort),
			"--server.trustedproxies=127.0.0.1,::1",
			// The door has drained before the services are stopped.
			"--server.draindelay=0",
		}, database...),
	}
}

func (s *service) launch(args []string) (*child, error) {
	if s.log == nil {
		file, err := s.data.newLog(s.name)
		if err != nil {
			return nil, err
		}
		s.log = file
	}
	return launch(s.path, args, s.env, s.log)
}

func (s *service) migrate(ctx context.Context) error {
	c, err := s.launch(append([]string{"migrate"}, s.database...))
	if err != nil {
		return &failure{err: err}
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), migrateStop)
		defer cancel()
		_ = c.stop(limited)
		return ctx.Err()
	}
	if c.err != nil {
		return s.failure(fmt.Errorf("migrating the database of the %s service failed: %w", s.name, c.err))
	}
	return nil
}

func (s *service) start() error {
	c, err := s.launch(s.serveArgs)
	if err != nil {
		return &failure{err: err}
	}
	s.child = c
	return nil
}

// awaitReady asks the service's /readyz until it answers 200.
func (s *service) awaitReady(ctx context.Context) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * time.Second}
	expired := time.After(readyLimit)
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	for !ready(ctx, client, s.url.JoinPath("readyz").String()) {
		select {
		case <-ticker.C:
		case <-s.child.done:
			return s.ended()
		case <-expired:
			return s.failure(fmt.Errorf("the %s service was not ready within %s", s.name, readyLimit))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func ready(ctx context.Context, client *http.Client, address string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// stop ends the service in order, if it was started.
func (s *service) stop(ctx context.Context) error {
	if s.child == nil || s.hasEnded() {
		return nil
	}
	if err := s.child.stop(ctx); err != nil {
		return s.failure(fmt.Errorf("the %s service did not stop in order: %w", s.name, err))
	}
	return nil
}

func (s *service) kill() {
	if s.child != nil {
		s.child.kill()
	}
}

func (s *service) hasEnded() bool {
	select {
	case <-s.child.done:
		return true
	default:
		return false
	}
}

func (s *service) close() {
	if s.log != nil {
		_ = s.log.Close()
	}
}

// ended is the error of a service that ended without having been asked to.
func (s *service) ended() error {
	how := "with exit status 0"
	if s.child.err != nil {
		how = "with " + s.child.err.Error()
	}
	return s.failure(fmt.Errorf("the %s service ended by itself, %s", s.name, how))
}

func (s *service) failure(err error) error {
	return &failure{err: err, log: s.log.Name()}
}

// failure is an error of a service together with the log that tells why.
type failure struct {
	err error
	log string // a path, or empty
}

func (f *failure) Unwrap() error { return f.err }

// Error shows the error and the end of the log.
func (f *failure) Error() string {
	text := f.err.Error()
	if f.log == "" {
		return text
	}
	text += "; the end of " + f.log + ":"
	for _, line := range lastLines(f.log, 10) {
		text += "\n  " + line
	}
	return text
}

// lastLines returns up to n lines from the end of a file.
func lastLines(path string, n int) []string {
	content, err := os.ReadFile(path) // #nosec G304 -- a log that this program has made
	if err != nil {
		return []string{err.Error()}
	}
	lines := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return lines[max(0, len(lines)-n):]
}
