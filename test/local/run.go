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
	"github.com/achilles-blog/achilles/test/local/claim"
)

const (
	// gatewayDrain is long enough for a busy client to see "Connection: close" on
	// each of its connections, and short enough for a person's Ctrl-C.
	gatewayDrain    = 500 * time.Millisecond
	gatewayShutdown = 20 * time.Second
	serviceStop     = 25 * time.Second
	migrateStop     = 3 * time.Second
	readyLimit      = 30 * time.Second
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
	ln, err := claim.Listen(portText)
	if err != nil {
		return err
	}
	defer func() { _ = ln.Close() }()
	d, err := claim.OpenData(dataDir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	s, err := newSystem(d, ln.Addr().String(), bin, environ, stdout)
	if err != nil {
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

// system is both services and the gateway in front of them.
type system struct {
	data         *claim.Data
	base         string // the gateway's address as a URL
	stdout       io.Writer
	log          *zap.Logger
	logFile      *os.File
	gateway      *gateway
	tag, article *service
	app          app
	environ      []string
}

func newSystem(d *claim.Data, address, bin string, environ []string, stdout io.Writer) (*system, error) {
	keys, err := keySet(d)
	if err != nil {
		return nil, err
	}
	own, err := openApp(d)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	logFile, err := d.NewLog("gateway")
	if err != nil {
		return nil, err
	}
	logger, err := logging.New(logging.Default(), false, logFile)
	if err != nil {
		_ = logFile.Close()
		return nil, err
	}
	s := &system{data: d, base: "http://" + address, stdout: stdout, log: logger.Logger, logFile: logFile, app: own, environ: environ}
	shared := []string{"ACHILLES_FEED_TOKEN=" + rand.Text(), "ACHILLES_AUTH_KEYSFILE=" + keys}
	s.tag = newService("tag", bin, d, ports[0], ports[1], shared...)
	s.article = newService("article", bin, d, ports[2], ports[3], append(shared, "ACHILLES_FEED_URL="+s.tag.url.String())...)
	s.gateway = newGateway(s.tag.url, s.article.url, s.errorLog())
	return s, nil
}

func (s *system) errorLog() *log.Logger { return zap.NewStdLog(s.log) }

func (s *system) close() {
	s.tag.close()
	s.article.close()
	_ = s.log.Sync()
	_ = s.logFile.Close()
}

// run serves until a signal or a failure. The services outlive the last request
// that the gateway passed on to them; article stops before tag, whose feed it
// follows.
func (s *system) run(signals <-chan os.Signal, ln net.Listener) error {
	process := lifecycle.New(lifecycle.Config{DrainDelay: gatewayDrain, ShutdownTimeout: gatewayShutdown}, signals, s.log)
	for _, svc := range []*service{s.tag, s.article} {
		process.OnStop(svc.name, serviceStop, svc.stop)
	}
	process.Listen("gateway", newGatewayServer(s.gateway, s.errorLog()), ln)
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
		s.say("Stopped. The data stays in %s.\n", s.data.Dir)
	}
	return err
}

// serve brings both services up, opens the gateway and then watches over them.
func (s *system) serve(ctx context.Context) error {
	services := []*service{s.tag, s.article}
	if err := s.configure(ctx); err != nil {
		return err
	}
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
	s.gateway.open()
	client := newAPI(s.base)
	defer client.close()
	if err := s.admit(ctx, client); err != nil {
		return err
	}
	if err := s.data.KeepAddress(s.base); err != nil {
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
	name       string
	path       string
	settings   []string // the variables that make run sets
	env        []string // all variables of its programs
	url, admin *url.URL
	data       *claim.Data
	log        *os.File
	child      *child
}

func newService(name, bin string, d *claim.Data, port, adminPort int, shared ...string) *service {
	return &service{
		name: name, path: bin + "/" + name, data: d,
		url:      &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)},
		admin:    &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", adminPort)},
		settings: slices.Concat(fixedSettings(d.Path(name+".db"), port, adminPort), shared),
	}
}

func (s *service) launch(args ...string) (*child, error) {
	if s.log == nil {
		file, err := s.data.NewLog(s.name)
		if err != nil {
			return nil, err
		}
		s.log = file
	}
	return launch(s.path, args, s.env, s.log)
}

func (s *service) migrate(ctx context.Context) error {
	c, err := s.launch("migrate")
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
	c, err := s.launch("serve")
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
