package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/database"
	"github.com/achilles-blog/achilles/pkg/lifecycle"
	"github.com/achilles-blog/achilles/pkg/server"
	"github.com/achilles-blog/achilles/pkg/systemd"
	"github.com/achilles-blog/achilles/pkg/upgrade"
)

// The names of the listeners, also for systemd.
const (
	httpListener  = "http"
	adminListener = "admin"
)

// handover is what takes the listeners from the process before this one or from systemd,
// and gives them to the process after it.
type handover struct {
	upgrades *upgrade.Upgrader
	sockets  systemd.Sockets
	release  func()      // lets the servers accept connections
	given    atomic.Bool // whether another process has taken over
	failures *prometheus.CounterVec
	lasted   prometheus.Gauge
}

// prepareHandover makes the service ready to take listeners. If it does, it holds its
// servers until it is ready: the replaced process accepts connections, or they wait in
// the queue of systemd's socket.
func (s *Service) prepareHandover() (err error) {
	h := &s.handover
	if h.upgrades, err = upgrade.New(s.config.Upgrade); err != nil {
		return err
	}
	if h.sockets, err = systemd.TakeSockets(httpListener, adminListener); err != nil {
		return err
	}
	h.release = func() {}
	if h.upgrades.Replaces() || len(h.sockets) > 0 {
		h.release = s.Process.HoldServers()
	}
	if h.upgrades.Replaces() {
		s.warn(s.logger.ShareFile(true))
		s.Process.Go("replaced process", s.awaitReplaced)
	}
	if s.config.Upgrade.PIDFile != "" {
		s.Process.OnStop("pid file", StopTimeout, func(context.Context) error { return h.upgrades.RemovePIDFile() })
	}
	s.Process.Go("end of upgrades", s.endUpgrades)
	s.countUpgrades()
	s.Process.OnSignal(syscall.SIGUSR1, s.reopenLog)
	if signal := h.upgrades.Signal(); signal != nil {
		s.Process.OnSignal(signal, s.upgrade)
		if err := s.checkUpgrade(); err != nil {
			s.Log.Warn("upgrades in place will be refused", zap.Error(err))
		}
	}
	return nil
}

func (s *Service) countUpgrades() {
	s.handover.failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "achilles_upgrade_failures_total",
		Help: "Upgrades in place that did not happen, by reason: refused, or failed because the new process did not become ready.",
	}, []string{"reason"})
	s.handover.lasted = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "achilles_replaced_process_stop_seconds",
		Help: "Seconds that the process which this one has replaced took to stop, with its drain; 0 if there was none or it has not ended.",
	})
	if s.config.Upgrade.Signal != upgrade.None {
		s.handover.failures.WithLabelValues("refused")
		s.handover.failures.WithLabelValues("failed")
		s.Metrics.Registry().MustRegister(s.handover.failures, s.handover.lasted)
	}
}

// listener returns the listener of that name: that of the replaced process, that of
// systemd, or a new one on the address.
func (s *Service) listener(name, address string, listen func() (net.Listener, error)) (net.Listener, error) {
	h := &s.handover
	// Those of systemd have no address in the settings.
	ofSystemd, ofSettings := name+" of systemd", name+" "+address
	ln, err := h.upgrades.Inherit(ofSystemd)
	if socket := h.sockets[name]; socket != nil && ln == nil && err == nil {
		ln, err = socket, errors.Join(server.Adopt(socket), h.upgrades.Pass(ofSystemd, socket))
	}
	if ln != nil || err != nil {
		s.Process.ShareListeners()
		return ln, err
	}
	if ln, err = h.upgrades.Inherit(ofSettings); ln != nil || err != nil {
		return ln, err
	}
	if ln, err = listen(); err != nil {
		return nil, err
	}
	return ln, h.upgrades.Pass(ofSettings, ln)
}

// becomeReady waits until the service is ready, lets its servers accept connections, checks
// that it answers, and tells the replaced process and systemd.
func (s *Service) becomeReady(ctx context.Context, address net.Addr) error {
	accept := s.startAccepting
	if s.handover.upgrades.Replaces() {
		accept = s.takeOver
	}
	if err := accept(ctx, address); err != nil {
		return err
	}
	s.warn(systemd.Ready(s.config.Upgrade.PIDFile == ""))
	return nil
}

// takeOver starts to accept connections in a process that replaces another one. It waits until
// the other one knows that this one is ready: until then the other one may end it.
func (s *Service) takeOver(ctx context.Context, address net.Addr) error {
	if err := s.Health.AwaitReady(ctx); err != nil {
		return err
	}
	if err := s.checkPrivately(ctx); err != nil {
		return err
	}
	if err := s.handover.upgrades.Ready(ctx); err != nil {
		s.Process.ShareListeners()
		return err
	}
	s.handover.release()
	s.Log.Info("up", zap.String("address", address.String()))
	return nil
}

// checkPrivately checks that the service answers, by a listener of its own: at its address
// the process that it replaces would answer.
func (s *Service) checkPrivately(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("self check: %w", err)
	}
	own := server.NewHTTPServer(s.config.Server, s.Engine, s.Log)
	defer func() { _ = own.Close() }()
	go func() { _ = own.Serve(listener) }()
	return lifecycle.SelfCheck(ctx, server.LocalURL(listener.Addr(), "/healthz"))
}

// queueTimeout is how long connections wait in the queue of systemd's socket for a service
// that is not ready. Then they are answered with 503.
const queueTimeout = 5 * time.Second

// startAccepting starts to accept connections in a process that replaces no other one.
func (s *Service) startAccepting(ctx context.Context, address net.Addr) error {
	if len(s.handover.sockets) > 0 {
		queue, cancel := context.WithTimeout(ctx, queueTimeout)
		defer cancel()
		_ = s.Health.AwaitReady(queue)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.handover.release()
	if err := lifecycle.SelfCheck(ctx, server.LocalURL(address, "/healthz")); err != nil {
		return err
	}
	s.Log.Info("up", zap.String("address", address.String()))
	if err := s.Health.AwaitReady(ctx); err != nil {
		return err
	}
	return s.handover.upgrades.Ready(ctx)
}

// upgrade replaces this process by a new one. If that fails, this one serves on.
func (s *Service) upgrade() {
	err := s.checkUpgrade()
	if err == nil {
		err = s.handover.upgrades.Upgrade(func() {
			s.Log.Info("upgrade: starting a new process", zap.Duration("timeout", s.config.Upgrade.Timeout))
			s.warn(s.logger.ShareFile(true))
			s.warn(systemd.Reloading())
		})
	}
	switch {
	case err == nil:
		s.handover.given.Store(true)
		s.Process.HandOver()
	case errors.Is(err, upgrade.ErrRefused):
		s.handover.failures.WithLabelValues("refused").Inc()
		s.Log.Warn("upgrade refused: this process serves on", zap.Error(err))
	case s.stopping():
		s.Log.Info("upgrade ended: this process stops")
	default:
		s.handover.failures.WithLabelValues("failed").Inc()
		s.Log.Error("upgrade failed: this process serves on; what the new process has printed says more", zap.Error(err))
		s.warn(s.logger.ShareFile(false))
		s.warn(systemd.NotReloaded(err))
	}
}

func (s *Service) stopping() bool {
	select {
	case <-s.Process.Draining():
		return true
	default:
		return false
	}
}

// checkUpgrade returns an error if this process can never be replaced.
func (s *Service) checkUpgrade() error {
	if s.config.Database.DBType == database.SQLite {
		return fmt.Errorf("%w: the database is SQLite, which is for one process at a time: stop the service and start it again, or use MySQL or MariaDB", upgrade.ErrRefused)
	}
	return s.handover.upgrades.Check()
}

// endUpgrades refuses upgrades when the stop begins, and tells systemd, unless another
// process serves.
func (s *Service) endUpgrades(context.Context) error {
	<-s.Process.Draining()
	s.handover.upgrades.Stop()
	if !s.handover.given.Load() {
		s.warn(systemd.Stopping())
	}
	return nil
}

// awaitReplaced waits until the process that this one replaces has ended.
func (s *Service) awaitReplaced(ctx context.Context) error {
	took, err := s.handover.upgrades.AwaitReplaced(ctx)
	if err != nil {
		return err
	}
	s.handover.lasted.Set(took.Seconds())
	s.Log.Info("the replaced process has ended", zap.Duration("after", took))
	s.warn(s.logger.ShareFile(false))
	return nil
}

// reopenLog opens the log file again, after another program has renamed it.
func (s *Service) reopenLog() {
	reopened, err := s.logger.Reopen()
	switch {
	case err != nil:
		s.Log.Warn("the log file could not be closed", zap.Error(err))
	case reopened:
		s.Log.Info("log file reopened")
	default:
		s.Log.Info("there is no log file to reopen: set Log.LogSavePath for one")
	}
}

// warn logs an error of something that the service can do without.
func (s *Service) warn(err error) {
	if err != nil {
		s.Log.Warn(err.Error())
	}
}
