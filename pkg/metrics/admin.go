package metrics

import (
	"encoding/json"
	"net/http"
	"net/http/pprof" // #nosec G108 -- http.DefaultServeMux is not served
)

// AdminHandler returns the handler of the admin listener, with /metrics, /readyz,
// /version and /debug/pprof/; further routes may be added. It must not be exposed to clients.
func AdminHandler(m *Metrics, readyz http.HandlerFunc) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", readyz)
	mux.Handle("GET /metrics", m.Handler())
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(m.info)
	})
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}
