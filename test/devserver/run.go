package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/pkg/logging"
	"github.com/achilles-blog/achilles/test/devserver/claim"
)

const (
	// gatewayDrain is long enough for a busy client to see "Connection: close" on
	// each of its connections, and short enough for a person's Ctrl-C.
	gatewayDrain    = 500 * time.Millisecond
	gatewayShutdown = 20 * time.Second
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
	s := &system{data: d, base: "http://" + ln.Addr().String(), environ: environ, stdout: stdout, served: make(chan struct{})}
	defer s.closeLogs()
	if err := s.prepare(bin); err != nil {
		return err
	}
	return s.run(signals, ln)
}

// notify returns the signals that stop the system. After the first only another
// Ctrl-C counts: make repeats the SIGTERM that its process group was sent.
func notify() (<-chan os.Signal, func()) {
	received, signals := make(chan os.Signal, 4), make(chan os.Signal, 2)
	signal.Notify(received, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		stopping := false
		for sig := range received {
			if (!stopping || sig == syscall.SIGINT) && len(signals) < cap(signals) {
				signals <- sig
			}
			stopping = true
		}
	}()
	return signals, func() {
		signal.Stop(received)
		close(received)
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
	environ      []string
	stdout       io.Writer
	app          app
	gateway      *gateway
	tag, article *service
	log          *zap.Logger
	logs         []*os.File
	served       chan struct{} // closed when serve has returned
}

// prepare makes everything that needs no process.
func (s *system) prepare(bin string) error {
	keys, err := keySet(s.data)
	if err != nil {
		return err
	}
	if s.app, err = openApp(s.data); err != nil {
		return err
	}
	ports, err := freePorts(4)
	if err != nil {
		return err
	}
	for _, name := range []string{"gateway", "tag", "article"} {
		file, err := s.data.NewLog(name)
		if err != nil {
			return err
		}
		s.logs = append(s.logs, file)
	}
	logger, err := logging.New(logging.Default(), false, s.logs[0])
	if err != nil {
		return err
	}
	s.log = logger.Logger
	shared := []string{"ACHILLES_FEED_TOKEN=" + rand.Text(), "ACHILLES_AUTH_KEYSFILE=" + keys}
	s.tag = newService("tag", bin, s.data, ports[0], ports[1], s.logs[1], shared...)
	s.article = newService("article", bin, s.data, ports[2], ports[3], s.logs[2], append(shared, "ACHILLES_FEED_URL="+s.tag.url.String())...)
	s.gateway = newGateway(s.tag.url, s.article.url, s.errorLog())
	return nil
}

// services returns the services in the order in which they start.
func (s *system) services() []*service { return []*service{s.tag, s.article} }

func (s *system) errorLog() *log.Logger { return zap.NewStdLog(s.log) }

func (s *system) closeLogs() {
	for _, file := range s.logs {
		_ = file.Close()
	}
}

// run serves until a signal or a failure. The services outlive the last request
// that the gateway passed on to them; article stops before tag, whose feed it
// follows.
func (s *system) run(signals <-chan os.Signal, ln net.Listener) error {
	process := lifecycle.New(lifecycle.Config{DrainDelay: gatewayDrain, ShutdownTimeout: gatewayShutdown}, signals, s.log)
	for _, svc := range s.services() {
		// The service is killed before the hook would be left behind.
		process.OnStop(svc.name, serviceStop+time.Second, svc.stop)
	}
	process.Listen("gateway", newGatewayServer(s.gateway, s.errorLog()), ln)
	process.Go("services", s.serve)
	process.Go("notice", func(context.Context) error {
		<-process.Draining()
		if closed(s.gateway.opened) {
			s.say("\nStopping: requests in progress are finished first. Ctrl-C again ends it at once.\n")
		}
		return nil
	})
	err := process.Run()
	_ = s.log.Sync()
	if errors.Is(err, lifecycle.ErrForced) {
		<-s.served
		s.article.kill()
		s.tag.kill()
	}
	// Of all that followed from a service's failure, the person needs the cause.
	if cause := failure(""); errors.As(err, &cause) {
		return cause
	}
	if err == nil {
		s.say("Stopped. The data stays in %s.\n", s.data.Dir)
	}
	return err
}

// serve starts both services, opens the gateway and then watches over them.
func (s *system) serve(ctx context.Context) error {
	defer close(s.served)
	if err := s.start(ctx); err != nil {
		return err
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
	case <-s.tag.ended:
		return s.tag.crash()
	case <-s.article.ended:
		return s.article.crash()
	case <-ctx.Done():
		return nil
	}
}

// start returns when both services are ready.
func (s *system) start(ctx context.Context) error {
	if err := s.configure(ctx); err != nil {
		return err
	}
	for _, step := range []func(*service, context.Context) error{(*service).migrate, (*service).start, (*service).awaitReady} {
		for _, svc := range s.services() {
			if err := step(svc, ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (s *system) say(format string, args ...any) {
	_, _ = fmt.Fprintf(s.stdout, format, args...)
}
