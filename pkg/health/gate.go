package health

import (
	"sync"

	"go.uber.org/zap"
)

// Gate is a start condition. Once open, it stays open.
type Gate struct {
	name string
	log  *zap.Logger

	mu   sync.Mutex
	err  error
	last failure
}

// Open opens the gate.
func (g *Gate) Open() { g.Set(nil) }

// Set sets the reason why the gate is closed; nil opens it. Set does nothing if the
// gate is open. /readyz shows the text of a Reason that err wraps, else only the
// class of err; the log and the admin port show err.
func (g *Gate) Set(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		return
	}
	if err == nil {
		g.log.Info("start condition met", zap.String("gate", g.name))
	} else if err.Error() != g.err.Error() { // it may be set repeatedly
		g.log.Warn("start condition not met", zap.String("gate", g.name), zap.Error(err))
	}
	g.err = err
	g.last.note(err)
}

func (g *Gate) check() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return reasonOf(g.err)
}

func (g *Gate) state() Check {
	g.mu.Lock()
	defer g.mu.Unlock()
	return Check{Name: g.name, Gate: true, Result: result(reasonOf(g.err)), Error: g.last.err, Failed: g.last.at}
}
