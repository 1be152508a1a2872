package lifecycle

// disableKeepAlives does what a drain must not do: it closes each idle
// connection, even if a request is about to arrive on it.
func (p *Process) disableKeepAlives() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.servers {
		s.srv.SetKeepAlivesEnabled(false)
	}
}
