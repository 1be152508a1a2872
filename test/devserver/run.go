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
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/pkg/logging"
	"github.com/achilles-blog/achilles/test/devserver/claim"
	"github.com/achilles-blog/achilles/test/services"
)

const (
	// gatewayDrain is long enough for a busy client to see "Connection: close" on
	// each of its connections, and short enough for a person's Ctrl-C.
	gatewayDrain = 500 * time.Millisecond
	// gatewayShutdown is long enough for a transfer that has just begun.
	gatewayShutdown = transferTimeout + 5*time.Second
	// gatewayConnections is the maximum number of connections: the files that a process
	// may have open are often limited to 1024.
	gatewayConnections = 500
)

// run starts the system and returns when it has stopped: nil if a signal asked
// for that and nothing went wrong.
func run(portText, dataDir, bin, root string, environ []string, stdout io.Writer) error {
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
	if err := s.prepare(bin, root); err != nil {
		return err
	}
	return s.run(signals, ln)
}

// notify returns the signals that stop the system. After the first only another
// Ctrl-C counts: make repeats the SIGTERM that its process group was sent, however
// late.
func notify() (<-chan os.Signal, func()) {
	received, stop := lifecycle.Notify()
	signals, done := make(chan os.Signal, 4), make(chan struct{})
	go func() {
		for stopping := false; ; stopping = true {
			select {
			case sig := <-received:
				if (!stopping || sig == syscall.SIGINT) && len(signals) < cap(signals) {
					signals <- sig
				}
			case <-done:
				return
			}
		}
	}()
	return signals, func() {
		stop()
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

// system is the services and the gateway in front of them.
type system struct {
	data     *claim.Data
	base     string // the gateway's address as a URL
	environ  []string
	stdout   io.Writer
	client   credentials
	gateway  *gateway
	services []*service // in the order in which they start
	log      *zap.Logger
	logs     []*os.File
	served   chan struct{} // closed when serve has returned
}

// prepare makes everything that needs no process.
func (s *system) prepare(bin, root string) error {
	all, err := services.Read(root)
	if err != nil {
		return err
	}
	keys, err := keySet(s.data)
	if err != nil {
		return err
	}
	if s.client, err = openCredentials(s.data); err != nil {
		return err
	}
	for _, name := range append([]string{"gateway"}, services.Names(all)...) {
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
	if err := s.addServices(all, bin, "ACHILLES_FEED_TOKEN="+rand.Text()+rand.Text(), "ACHILLES_AUTH_KEYSFILE="+keys); err != nil {
		return err
	}
	s.gateway = newGateway(s.services, s.errorLog())
	return nil
}

// addServices adds the listed services on free ports; shared are settings of all.
func (s *system) addServices(all []services.Service, bin string, shared ...string) error {
	ports, err := freePorts(2 * len(all))
	if err != nil {
		return err
	}
	for i, listed := range all {
		svc := newService(listed, bin, s.data, ports[2*i], ports[2*i+1], s.logs[i+1], shared...)
		if feed := listed.Feed(); feed != "" {
			svc.settings = append(svc.settings, "ACHILLES_FEED_URL="+s.service(feed).url.String())
		}
		if listed.Name == "article" {
			storage, err := fileSettings(s.data)
			if err != nil {
				return err
			}
			svc.settings = append(svc.settings, storage...)
		}
		s.services = append(s.services, svc)
	}
	return nil
}

// service returns the service of that name.
func (s *system) service(name string) *service {
	return s.services[slices.IndexFunc(s.services, func(svc *service) bool { return svc.Name == name })]
}

// has reports whether the system has services of these names.
func (s *system) has(names ...string) bool {
	for _, name := range names {
		if !slices.ContainsFunc(s.services, func(svc *service) bool { return svc.Name == name }) {
			return false
		}
	}
	return true
}

// issuer returns the service that issues the tokens.
func (s *system) issuer() *service {
	return s.services[slices.IndexFunc(s.services, func(svc *service) bool { return svc.Issuer })]
}

func (s *system) errorLog() *log.Logger { return log.New(errorWriter{s.log}, "", 0) }

// errorWriter logs what net/http reports, each as one line.
type errorWriter struct{ log *zap.Logger }

// Write implements io.Writer.
func (w errorWriter) Write(message []byte) (int, error) {
	w.log.Info(oneLine(strings.TrimSuffix(string(message), "\n")))
	return len(message), nil
}

func (s *system) closeLogs() {
	for _, file := range s.logs {
		_ = file.Close()
	}
}

// run serves until a signal or a failure. The services outlive the last request
// that the gateway passed on to them, and stop before the one whose feed they
// follow.
func (s *system) run(signals <-chan os.Signal, ln net.Listener) error {
	process := lifecycle.New(lifecycle.Config{
		DrainDelay: gatewayDrain, ShutdownTimeout: gatewayShutdown, MaxConnections: gatewayConnections,
	}, signals, s.log)
	for _, svc := range s.services {
		// The service is killed before the hook would be left behind.
		process.OnStop(svc.Name, serviceStop+time.Second, svc.stop)
	}
	process.Serve("gateway", newGatewayServer(s.gateway, s.errorLog()), ln)
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
		for _, svc := range slices.Backward(s.services) {
			svc.kill()
		}
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

// serve starts the services, opens the gateway and returns when ctx ends, or with
// an error when a service has ended by itself.
func (s *system) serve(ctx context.Context) error {
	defer close(s.served)
	if err := s.start(ctx); err != nil {
		return err
	}
	s.gateway.open()
	client, err := newAPI(s.base, s.client)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := s.admit(ctx, client); err != nil {
		return err
	}
	if err := s.data.KeepAddress(s.base); err != nil {
		return err
	}
	s.greet(ctx, client)
	return s.watch(ctx)
}

// watch returns when ctx ends, or with an error when a service has ended by itself.
func (s *system) watch(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, svc := range s.services {
		group.Go(func() error {
			select {
			case <-svc.ended:
				return svc.crash()
			case <-ctx.Done():
				return nil
			}
		})
	}
	return group.Wait()
}

// start returns when all services are ready.
func (s *system) start(ctx context.Context) error {
	if err := s.configure(ctx); err != nil {
		return err
	}
	for _, step := range []func(*service, context.Context) error{(*service).migrate, (*service).start, (*service).awaitReady} {
		for _, svc := range s.services {
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
