package service

import (
	"context"
	"math"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
	"slices"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/achilles-blog/achilles/pkg/metrics"
	"github.com/achilles-blog/achilles/pkg/settings"
	"github.com/achilles-blog/achilles/pkg/status"
)

// Paths of the admin listener.
const (
	statusPath = "/statusz"
	configPath = "/configz"
	slowPath   = "/debug/slow"
)

// admin returns the handler of the admin listener. It adds what every service has to
// s.Status; other sections may follow.
func (s *Service) admin() http.Handler {
	mux := metrics.AdminHandler(s.Metrics, s.Health.AdminReadyz)
	mux.HandleFunc("GET /loglevel", s.logger.ServeLevel)
	mux.HandleFunc("PUT /loglevel", s.logger.ServeLevel)
	host, _ := os.Hostname()
	title := "Achilles " + s.migrations.Service + " on " + host
	s.Status = status.New(title, status.Link{Path: configPath, About: "configuration"}, status.Link{Path: "/readyz", About: "readiness"},
		status.Link{Path: "/metrics", About: "metrics"}, status.Link{Path: "/debug/pprof/", About: "profiles"}, status.Link{Path: slowPath, About: "trace of the last slow request"})
	s.Status.Add("process", s.processStatus)
	s.Status.Add("checks", s.checksStatus)
	s.Status.Add("errors", func() status.Content { return status.Table{Columns: []string{"line"}, Rows: column(s.logger.Recent())} })
	s.Status.Add("slow_request", s.slowStatus)
	s.Status.Add("feeds", s.feedStatus)
	s.Status.Add("pools", func() status.Content {
		return s.measured("go_sql_", "achilles_database_rejected_reads", "achilles_redis_")
	})
	s.Status.Add("limits", func() status.Content {
		return s.measured("achilles_http_connections", "achilles_http_requests_in_flight", "achilles_memory_", "achilles_rate_limit_", "achilles_log_dropped_lines")
	})
	s.Status.Add("last_reload", s.reloadStatus)
	s.Status.Add("configuration", func() status.Content {
		return settingsTable(s.settings(), func(set settings.Explained) bool { return !set.Default })
	})
	config := status.New("Configuration of "+title, status.Link{Path: statusPath, About: "status"})
	config.Add("settings", func() status.Content {
		return settingsTable(s.settings(), func(settings.Explained) bool { return true })
	})
	config.Add("environment", environmentStatus)
	mux.Handle("GET "+statusPath, s.Status)
	mux.Handle("GET "+configPath, config)
	mux.Handle("GET "+slowPath, s.slow)
	return mux
}

func column[T any](values []T) (rows [][]any) {
	for _, value := range values {
		rows = append(rows, []any{value})
	}
	return rows
}

// moment returns a time as pages show it, or nil for the zero time.
func moment(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Truncate(time.Millisecond)
}

func (s *Service) processStatus() status.Content {
	limit := any("none")
	if bytes := debug.SetMemoryLimit(-1); bytes != math.MaxInt64 {
		limit = bytes
	}
	heap := []runtimemetrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	runtimemetrics.Read(heap)
	return status.Fields{
		{Name: "state", Value: s.Health.Status()}, {Name: "service", Value: s.migrations.Service},
		{Name: "version", Value: s.info.Version}, {Name: "commit", Value: s.info.Commit}, {Name: "build_time", Value: s.info.BuildTime}, {Name: "go_version", Value: s.info.GoVersion},
		{Name: "pid", Value: os.Getpid()}, {Name: "started", Value: moment(s.began)}, {Name: "uptime", Value: time.Since(s.began).Round(time.Second).String()},
		{Name: "log_level", Value: s.logger.Level()}, {Name: "processors", Value: runtime.GOMAXPROCS(0)}, {Name: "goroutines", Value: runtime.NumGoroutine()},
		{Name: "memory_limit_bytes", Value: limit}, {Name: "heap_bytes", Value: heap[0].Value.Uint64()},
	}
}

func (s *Service) reloadStatus() status.Content {
	last := s.ReloadStatus()
	return status.Fields{
		{Name: "time", Value: moment(last.Time)}, {Name: "ok", Value: last.OK}, {Name: "error", Value: last.Error},
		{Name: "restart_pending", Value: strings.Join(last.Restart, ", ")},
	}
}

func (s *Service) checksStatus() status.Content {
	table := status.Table{Columns: []string{"name", "kind", "result", "checked", "last_error", "last_error_at"}}
	for _, check := range s.Health.Checks() {
		kind, last := "dependency", any(nil)
		if check.Gate {
			kind = "gate"
		}
		if check.Error != nil {
			last = check.Error.Error()
		}
		table.Rows = append(table.Rows, []any{check.Name, kind, check.Result, moment(check.Checked), last, moment(check.Failed)})
	}
	return table
}

func (s *Service) slowStatus() status.Content {
	last, found := s.slow.Last()
	if !found {
		return status.Fields{}
	}
	return status.Fields{
		{Name: "began", Value: moment(last.Began)}, {Name: "duration", Value: last.Duration.String()}, {Name: "method", Value: last.Method}, {Name: "route", Value: last.Route},
		{Name: "status", Value: last.Status}, {Name: "request_id", Value: last.RequestID}, {Name: "trace_id", Value: last.TraceID}, {Name: "trace_bytes", Value: last.TraceBytes},
	}
}

// headTimeout is the timeout for the numbers of the newest changes of all feeds.
const headTimeout = time.Second

// feedParts are those of all feeds of a service.
type feedParts struct {
	mu  sync.Mutex
	all []FeedPart
}

func (p *feedParts) add(part FeedPart) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, part)
}

// feedStatus shows the newest change of the service's own feeds, and the metrics of all.
func (s *Service) feedStatus() status.Content {
	ctx, cancel := context.WithTimeout(context.Background(), headTimeout)
	defer cancel()
	s.feeds.mu.Lock()
	parts := s.feeds.all
	s.feeds.mu.Unlock()
	table := s.measured("achilles_feed_", "achilles_tag_feed_")
	for _, part := range slices.Backward(parts) {
		newest, about := any(nil), "Number of the newest change."
		if number, err := part.Last(ctx); err == nil {
			newest = number
		} else {
			about = err.Error()
		}
		table.Rows = slices.Insert(table.Rows, 0, []any{"feed " + part.Name, newest, about})
	}
	return table
}

// settingsTable shows the settings for which selected returns true.
func settingsTable(all []settings.Explained, selected func(settings.Explained) bool) status.Table {
	table := status.Table{Columns: []string{"setting", "value", "source"}}
	for _, set := range all {
		if selected(set) {
			table.Rows = append(table.Rows, []any{set.Key, set.Value, set.Source})
		}
	}
	return table
}

// environmentStatus shows which variables are set that others than the settings read. The
// values of OTEL_ may be credentials.
func environmentStatus() status.Content {
	table := status.Table{Columns: []string{"variable", "value"}}
	for _, entry := range slices.Sorted(slices.Values(os.Environ())) {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case strings.HasPrefix(name, "OTEL_"):
			table.Rows = append(table.Rows, []any{name, "set"})
		case name == "GOMEMLIMIT", name == "GOGC", name == "GOMAXPROCS", name == "GODEBUG", name == "TZ":
			table.Rows = append(table.Rows, []any{name, value})
		}
	}
	return table
}

// measured returns the metrics whose names begin with one of the prefixes.
func (s *Service) measured(prefixes ...string) status.Table {
	table := status.Table{Columns: []string{"metric", "value", "about"}}
	families, err := s.Metrics.Registry().Gather()
	if err != nil { // those that could be collected are among the families
		table.Rows = append(table.Rows, []any{"", nil, err.Error()})
	}
	for _, family := range families {
		if !slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(family.GetName(), prefix) }) {
			continue
		}
		for _, metric := range family.GetMetric() {
			table.Rows = append(table.Rows, []any{family.GetName() + labels(metric), value(family.GetName(), metric), family.GetHelp()})
		}
	}
	return table
}

func labels(metric *dto.Metric) string {
	var pairs []string
	for _, label := range metric.GetLabel() {
		pairs = append(pairs, label.GetName()+"="+label.GetValue())
	}
	if pairs == nil {
		return ""
	}
	return " " + strings.Join(pairs, " ")
}

// value returns the value of a gauge or counter.
func value(name string, metric *dto.Metric) any {
	number := metric.GetGauge().GetValue() + metric.GetCounter().GetValue() + metric.GetUntyped().GetValue()
	if strings.HasSuffix(name, "_timestamp_seconds") && number > 0 {
		return moment(time.UnixMilli(int64(number * 1000)))
	}
	return number
}
