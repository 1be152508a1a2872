// Package agent runs loads on the nodes of a cluster, where Services are reached like by
// other pods, and kills processes there.
package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"syscall"

	"github.com/achilles-blog/achilles/test/e2e/load"
)

// Handler returns the handler of the agent of a node:
//
//	POST   /loads/NAME        start a load (load.Config)
//	GET    /loads/NAME        return its load.Count so far
//	POST   /loads/NAME/nudge  see load.Load.Nudge
//	PUT    /loads/NAME/token  see load.Load.SetToken
//	PUT    /loads/NAME/readonly  see load.Load.SetReadOnly
//	POST   /loads/NAME/stop   stop it and return its load.Result
//	POST   /kill/UID          kill the processes of a pod on this node with SIGKILL
//	POST   /hangup/UID        send them SIGHUP
func Handler() http.Handler {
	a := &server{loads: map[string]*load.Load{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /loads/{name}", a.start)
	mux.HandleFunc("GET /loads/{name}", a.with(func(w http.ResponseWriter, l *load.Load) { answer(w, l.Count()) }))
	mux.HandleFunc("POST /loads/{name}/nudge", a.with(func(w http.ResponseWriter, l *load.Load) { l.Nudge(); answer(w, nil) }))
	mux.HandleFunc("PUT /loads/{name}/token", a.setToken)
	mux.HandleFunc("PUT /loads/{name}/readonly", a.setReadOnly)
	mux.HandleFunc("POST /loads/{name}/stop", a.stop)
	mux.HandleFunc("POST /kill/{uid}", signalTo(syscall.SIGKILL))
	mux.HandleFunc("POST /hangup/{uid}", signalTo(syscall.SIGHUP))
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	return mux
}

type server struct {
	mu    sync.Mutex
	loads map[string]*load.Load
}

func (a *server) start(w http.ResponseWriter, r *http.Request) {
	var config load.Config
	if err := json.NewDecoder(r.Body).Decode(&config); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.loads[r.PathValue("name")] != nil {
		http.Error(w, "this load already exists", http.StatusConflict)
		return
	}
	a.loads[r.PathValue("name")] = load.Start(config)
	answer(w, nil)
}

func (a *server) with(do func(http.ResponseWriter, *load.Load)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		l := a.loads[r.PathValue("name")]
		a.mu.Unlock()
		if l == nil {
			http.Error(w, "there is no such load", http.StatusNotFound)
			return
		}
		do(w, l)
	}
}

func (a *server) setToken(w http.ResponseWriter, r *http.Request) {
	var token string
	if err := json.NewDecoder(r.Body).Decode(&token); err != nil {
		http.Error(w, "the token is not a JSON string", http.StatusBadRequest)
		return
	}
	a.with(func(w http.ResponseWriter, l *load.Load) { l.SetToken(token); answer(w, nil) })(w, r)
}

func (a *server) setReadOnly(w http.ResponseWriter, r *http.Request) {
	var on bool
	if err := json.NewDecoder(r.Body).Decode(&on); err != nil {
		http.Error(w, "read-only mode is not a JSON boolean", http.StatusBadRequest)
		return
	}
	a.with(func(w http.ResponseWriter, l *load.Load) { l.SetReadOnly(on); answer(w, nil) })(w, r)
}

func (a *server) stop(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	l := a.loads[r.PathValue("name")]
	delete(a.loads, r.PathValue("name"))
	a.mu.Unlock()
	if l == nil {
		http.Error(w, "there is no such load", http.StatusNotFound)
		return
	}
	answer(w, l.Stop())
}

func signalTo(signal syscall.Signal) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		found, err := signalPod(r.PathValue("uid"), signal)
		if err == nil && found == 0 {
			err = errors.New("no process of this pod is on this node")
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		answer(w, fmt.Sprintf("%d processes", found))
	}
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the client detects a truncated response
}
