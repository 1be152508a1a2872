package health

import (
	"sync"

	"go.uber.org/zap"
)

// Gate is a condition of the start: closed until it is opened, open for ever
// after.
type Gate struct {
	name string
	log  *zap.Logger

	mu  sync.Mutex
	err error
}

// Open opens the gate.
func (g *Gate) Open() { g.Set(nil) }

// Set says why the gate is still closed; nil opens it. Once the gate is open,
// Set does nothing: what fails later is a dependency's matter. /readyz shows
// the text of a Reason in err's chain, else only the class of err; the log has
// it in full.
func (g *Gate) Set(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		return
	}
	if err == nil {
		g.log.Info("start condition met", zap.String("gate", g.name))
	} else if err.Error() != g.err.Error() { // it may be set again and again while the start waits
		g.log.Warn("start condition not met", zap.String("gate", g.name), zap.Error(err))
	}
	g.err = err
}

func (g *Gate) check() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return shown(g.err)
}
