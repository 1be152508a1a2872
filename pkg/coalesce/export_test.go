package coalesce

// Idle reports whether the Group is as New returned it.
func (g *Group[K, V]) Idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reads == 0 && g.waiting == 0 && len(g.queue) == 0 && len(g.byKey) == 0 && len(g.reading) == 0
}
