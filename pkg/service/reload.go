package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/achilles-blog/achilles/pkg/command"
	"github.com/achilles-blog/achilles/pkg/settings"
)

// reloads is the result of the last time that the settings were read, first at the start.
type reloads struct {
	last    atomic.Pointer[settings.ReloadStatus]
	success atomic.Int64 // the time of the last one that succeeded, in Unix milliseconds
}

func newReloads(registerer prometheus.Registerer) *reloads {
	r := &reloads{}
	r.set(settings.ReloadStatus{Time: time.Now(), OK: true})
	flag := func(is bool) float64 {
		if is {
			return 1
		}
		return 0
	}
	registerer.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "achilles_config_last_reload_successful", Help: "1 if the settings were valid when they were read last, otherwise 0: then the former ones are used.",
		}, func() float64 { return flag(r.last.Load().OK) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "achilles_config_last_reload_success_timestamp_seconds", Help: "When valid settings were read last.",
		}, func() float64 { return float64(r.success.Load()) / 1000 }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "achilles_config_restart_pending", Help: "1 if settings have changed that take effect at the next start only, otherwise 0.",
		}, func() float64 { return flag(len(r.last.Load().Restart) > 0) }))
	return r
}

func (r *reloads) set(status settings.ReloadStatus) {
	if status.OK {
		r.success.Store(status.Time.UnixMilli())
	}
	r.last.Store(&status)
}

// ReloadStatus returns the result of the last time that the settings were read.
func (s *Service) ReloadStatus() settings.ReloadStatus { return *s.reloads.last.Load() }

// watchSettings publishes the live settings of the configuration file by update whenever the
// file changes.
func watchSettings[C any](ctx context.Context, s *Service, run command.Run[C], update func(C) ([]settings.Change, error)) error {
	err := settings.Watch(ctx, run.ConfigFile, run.FileContent, func(content []byte) {
		changes, err := reload(run, content, update)
		status := settings.ReloadStatus{Time: time.Now(), OK: err == nil || errors.Is(err, settings.ErrNeedsRestart)}
		if err != nil {
			status.Error = err.Error()
		}
		for _, c := range changes {
			if !c.Live || err != nil {
				status.Restart = append(status.Restart, c.Key)
			}
		}
		s.apply(status, changes, err)
	})
	if err != nil { // such as no inotify watches left: no reason to stop serving
		s.Log.Warn("changes of the settings will not be noticed", zap.Error(err))
	}
	return nil
}

// reload reads the settings with another content of the file, and publishes them.
func reload[C any](run command.Run[C], content []byte, update func(C) ([]settings.Change, error)) ([]settings.Change, error) {
	if len(bytes.TrimSpace(content)) == 0 { // rather a mistake than a wish for all defaults
		return nil, fmt.Errorf("configuration file %s: is empty; write the settings into it, or restart the service to run on the defaults", run.ConfigFile)
	}
	config, err := run.Reload(content)
	if err != nil {
		return nil, err
	}
	return update(config)
}

// apply notes and logs the result of a reload, and sets the level of the log.
func (s *Service) apply(status settings.ReloadStatus, changes []settings.Change, err error) {
	if !status.OK {
		status.Restart = s.ReloadStatus().Restart
	}
	s.reloads.set(status)
	if !status.OK {
		s.Log.Error("the changed settings are not used", zap.Error(err))
		return
	}
	if len(status.Restart) > 0 {
		s.Log.Warn("changed settings take effect at the next start", zap.Strings("keys", status.Restart), zap.Error(err))
	}
	if err != nil {
		return
	}
	var changed []string
	for _, c := range changes {
		if c.Live {
			changed = append(changed, c.String())
		}
	}
	s.Log.Info("settings read again", zap.Strings("changed", changed))
	if err := s.logger.SetLevel(s.live.Now().Log.Level); err != nil {
		s.Log.Error("the log level has not changed", zap.Error(err))
	}
}
