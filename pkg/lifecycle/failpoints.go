package lifecycle

// disableKeepAlives is what a drain must not do: it closes each idle
// connection, also one on which a request is on its way.
func (p *Process) disableKeepAlives() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.servers {
		s.srv.SetKeepAlivesEnabled(false)
	}
}
