// Package health answers the two questions a cluster asks of a process: does it
// serve (/healthz), and is it to get traffic (/readyz).
//
// A process is ready once its gates are open and until it drains. What it
// depends on is watched and shown, but does not make it unready unless asked to
// (Config.Strict): a shared database that goes away would take every replica
// out at once, and turn an outage of writes into an outage of everything.
package health

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"

	"github.com/heptiolabs/healthcheck"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Health is the state of one process. Its methods are safe for concurrent use.
type Health struct {
	cfg        Config
	draining   <-chan struct{}
	log        *zap.Logger
	registerer prometheus.Registerer

	// Each handler of heptiolabs/healthcheck keeps one kind of checks. The
	// checks never wait: they report what was found before.
	gates, strict, dependencies healthcheck.Handler

	mu      sync.Mutex
	watched []*dependency
}

// New returns a Health without gates and dependencies, which is ready at once.
// draining is closed when the process begins to stop; see
// lifecycle.Process.Draining. registerer gets the gauge achilles_dependency_up
// of each dependency.
func New(cfg Config, draining <-chan struct{}, log *zap.Logger, registerer prometheus.Registerer) *Health {
	return &Health{
		cfg: cfg, draining: draining, log: log, registerer: registerer,
		gates:        healthcheck.NewHandler(),
		strict:       healthcheck.NewHandler(),
		dependencies: healthcheck.NewHandler(),
	}
}

// Gate adds a condition of the start under a name that /readyz shows. The
// process is not ready before it is open.
func (h *Health) Gate(name string) *Gate {
	g := &Gate{name: name, log: h.log, err: Reason("not yet")}
	h.gates.AddReadinessCheck(name, g.check)
	return g
}

// Dependency adds something the process needs, under a name that /readyz and
// the gauge show. Run calls check over and over, never twice at the same time;
// check has to return when its context ends. Add dependencies before Run.
func (h *Health) Dependency(name string, check func(ctx context.Context) error) {
	d := h.observe(name, check)
	if h.cfg.Strict {
		h.strict.AddReadinessCheck(name, d.judged)
	}
}

// Observe is Dependency for what the process can do without: it is shown, but
// does not make the process unready in strict mode either.
func (h *Health) Observe(name string, check func(ctx context.Context) error) {
	h.observe(name, check)
}

func (h *Health) observe(name string, check func(ctx context.Context) error) *dependency {
	d := newDependency(name, check, h.cfg, h.log)
	h.mu.Lock()
	h.watched = append(h.watched, d)
	h.mu.Unlock()
	h.dependencies.AddReadinessCheck(name, d.latest)
	h.registerer.MustRegister(d.gauge())
	return d
}

// Run watches the dependencies until ctx ends.
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

type answer struct {
	Status  string            `json:"status"`
	Reasons map[string]string `json:"reasons,omitempty"`
	Checks  map[string]string `json:"checks,omitempty"`
}

// Healthz answers 200 as long as the process serves at all, also while it
// drains and whatever it depends on is doing.
func (h *Health) Healthz(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, answer{Status: "ok"})
}

// Readyz answers 200 when the process is to get traffic, else 503 with the
// reasons. With ?full=1 it shows every gate and dependency.
func (h *Health) Readyz(w http.ResponseWriter, r *http.Request) {
	gates, strict := evaluate(h.gates), evaluate(h.strict)
	body := answer{Status: "ready"}
	switch {
	case closed(h.draining):
		body.Status = "draining"
	case len(failing(gates)) > 0:
		body.Status, body.Reasons = "starting", failing(gates)
	case len(failing(strict)) > 0:
		body.Status, body.Reasons = "unready", failing(strict)
	}
	if r.URL.Query().Get("full") == "1" {
		body.Checks = gates
		for name, result := range evaluate(h.dependencies) {
			body.Checks[name] = result
		}
	}
	status := http.StatusOK
	if body.Status != "ready" {
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

// evaluate asks a handler for the result of each of its checks: passed, or the
// text of its error. The handler's interface has only its HTTP endpoint.
func evaluate(handler healthcheck.Handler) map[string]string {
	var recorded recorder
	handler.ReadyEndpoint(&recorded, &http.Request{Method: http.MethodGet, URL: &url.URL{RawQuery: "full=1"}})
	results := map[string]string{}
	if err := json.Unmarshal(recorded.body, &results); err != nil {
		results["healthcheck"] = "its answer cannot be read"
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
