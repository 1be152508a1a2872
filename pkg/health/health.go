// Package health implements the probes of a process: liveness (/healthz) and
// readiness (/readyz).
//
// A process is ready from the time when all its gates are open until it drains.
// Its dependencies are checked and shown, but a failing one does not make it
// unready, except with Config.Strict: an outage of a shared database would
// otherwise make all replicas unready at once.
package health

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/heptiolabs/healthcheck"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Health is the health of a process. Its methods are safe for concurrent use.
type Health struct {
	cfg        Config
	draining   <-chan struct{}
	log        *zap.Logger
	registerer prometheus.Registerer

	// The checks of these handlers don't block: they return the latest result.
	gates, strict, dependencies healthcheck.Handler

	mu      sync.Mutex
	watched []*dependency
	checks  []func() Check // of gates and dependencies
}

// New returns a Health without gates and dependencies, which is ready at once.
// draining is closed when the process begins to stop; see
// lifecycle.Process.Draining. registerer gets the gauges achilles_dependency_up and
// achilles_dependency_failing of each dependency.
func New(cfg Config, draining <-chan struct{}, log *zap.Logger, registerer prometheus.Registerer) *Health {
	return &Health{
		cfg: cfg, draining: draining, log: log, registerer: registerer,
		gates:        healthcheck.NewHandler(),
		strict:       healthcheck.NewHandler(),
		dependencies: healthcheck.NewHandler(),
	}
}

// Gate adds a start condition with a name that /readyz shows. The process is not
// ready until the gate is open.
func (h *Health) Gate(name string) *Gate {
	g := &Gate{name: name, log: h.log, err: Reason("not yet")}
	h.gates.AddReadinessCheck(name, g.check)
	h.mu.Lock()
	h.checks = append(h.checks, g.state)
	h.mu.Unlock()
	return g
}

// Dependency adds something that the process needs, with a name that /readyz and
// the gauge show. Run calls check periodically, and never concurrently; check must
// return when its context ends. Dependency must be called before Run.
func (h *Health) Dependency(name string, check func(ctx context.Context) error) {
	d := h.observe(name, check)
	if h.cfg.Strict {
		h.strict.AddReadinessCheck(name, d.strict)
	}
}

// Observe is like Dependency, for something that the process can do without: it
// does not make the process unready in strict mode.
func (h *Health) Observe(name string, check func(ctx context.Context) error) {
	h.observe(name, check)
}

func (h *Health) observe(name string, check func(ctx context.Context) error) *dependency {
	d := newDependency(name, check, h.cfg, h.log)
	h.mu.Lock()
	h.watched = append(h.watched, d)
	h.checks = append(h.checks, d.state)
	h.mu.Unlock()
	h.dependencies.AddReadinessCheck(name, d.latest)
	h.registerer.MustRegister(d)
	return d
}

// Run checks the dependencies until ctx ends.
func (h *Health) Run(ctx context.Context) error {
	h.mu.Lock()
	watched := h.watched
	h.mu.Unlock()
	var all sync.WaitGroup
	for _, d := range watched {
		all.Go(func() { d.watch(ctx) })
	}
	all.Wait()
	<-ctx.Done()
	return ctx.Err()
}

// readyInterval is the time between two looks of AwaitReady, which read variables.
const readyInterval = 20 * time.Millisecond

// AwaitReady returns when Readyz would answer 200, or with the error of ctx when that
// ends.
func (h *Health) AwaitReady(ctx context.Context) error {
	ticker := time.NewTicker(readyInterval)
	defer ticker.Stop()
	for h.readiness(false).Status != ready {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

// ready is the status of a process that is.
const ready = "ready"

type answer struct {
	Status  string            `json:"status"`
	Reasons map[string]string `json:"reasons,omitempty"`
	Checks  map[string]string `json:"checks,omitempty"`
	Errors  map[string]string `json:"errors,omitempty"`
}

// Healthz answers 200, also while the process drains or a dependency fails.
func (h *Health) Healthz(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, answer{Status: "ok"})
}

// Readyz answers 200 if the process is ready, else 503 with the reasons. With
// ?full=1 it shows all gates and dependencies.
func (h *Health) Readyz(w http.ResponseWriter, r *http.Request) {
	writeReadiness(w, h.readiness(r.URL.Query().Get("full") == "1"))
}

// AdminReadyz answers as Readyz does with ?full=1, and adds the full error of each
// gate and dependency that fails. These may contain addresses and accounts.
func (h *Health) AdminReadyz(w http.ResponseWriter, _ *http.Request) {
	body := h.readiness(true)
	body.Errors = map[string]string{}
	for _, check := range h.Checks() {
		if check.Result != passed && check.Error != nil && !check.Failed.Before(check.Checked) {
			body.Errors[check.Name] = check.Error.Error()
		}
	}
	writeReadiness(w, body)
}

func (h *Health) readiness(full bool) answer {
	gates, strict := evaluate(h.gates), evaluate(h.strict)
	body := answer{Status: ready}
	switch {
	case closed(h.draining):
		body.Status = "draining"
	case len(failing(gates)) > 0:
		body.Status, body.Reasons = "starting", failing(gates)
	case len(failing(strict)) > 0:
		body.Status, body.Reasons = "unready", failing(strict)
	}
	if full {
		body.Checks = gates
		for name, result := range evaluate(h.dependencies) {
			body.Checks[name] = result
		}
	}
	return body
}

func writeReadiness(w http.ResponseWriter, body answer) {
	status := http.StatusOK
	if body.Status != ready {
		status = http.StatusServiceUnavailable
	}
	write(w, status, body)
}

func write(w http.ResponseWriter, status int, body answer) {
	data, err := json.Marshal(body)
	if err != nil {
		http.Error(w, `{"status":"error"}`, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

// evaluate returns the result of each check of a handler: passed, or the text of
// its error. The handler's interface has only HTTP endpoints.
func evaluate(handler healthcheck.Handler) map[string]string {
	var recorded recorder
	handler.ReadyEndpoint(&recorded, &http.Request{Method: http.MethodGet, URL: &url.URL{RawQuery: "full=1"}})
	results := map[string]string{}
	if err := json.Unmarshal(recorded.body, &results); err != nil {
		results["healthcheck"] = "its response cannot be read"
	}
	return results
}

const passed = "OK"

func failing(results map[string]string) map[string]string {
	failing := map[string]string{}
	for name, result := range results {
		if result != passed {
			failing[name] = result
		}
	}
	return failing
}

// recorder is an http.ResponseWriter that keeps the body.
type recorder struct {
	header http.Header
	body   []byte
}

func (r *recorder) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}

func (r *recorder) WriteHeader(int) {}

func (r *recorder) Write(data []byte) (int, error) {
	r.body = append(r.body, data...)
	return len(data), nil
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
