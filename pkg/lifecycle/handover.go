package lifecycle

import "net"

// HoldServers keeps the servers that are added from now on from accepting connections,
// until release is called. A process that has the listeners of another one must not take
// connections before it can answer. release must be called at most once.
func (p *Process) HoldServers() (release func()) {
	released := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = released
	return func() { close(released) }
}

// ShareListeners marks the listeners as shared with another process, which keeps them open
// after this one has ended. The stop then closes those of this process when the drain
// begins, so that new connections reach the other process or wait for it. One that was
// accepted at the end of the drain might be closed before its first request arrives.
func (p *Process) ShareListeners() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shared = true
}

// HandOver begins the stop, because another process accepts the connections from now
// on. It must be called at most once.
func (p *Process) HandOver() {
	p.ShareListeners()
	close(p.replaced)
}

// add keeps the listener of a server, and returns what to wait for before it is used.
func (p *Process) add(ln net.Listener) (released <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners = append(p.listeners, ln)
	return p.released
}

// releaseListeners closes the listeners if other processes have them.
func (p *Process) releaseListeners() {
	p.mu.Lock()
	listeners := p.listeners
	if !p.shared {
		listeners = nil
	}
	p.mu.Unlock()
	for _, ln := range listeners {
		_ = ln.Close()
	}
}
