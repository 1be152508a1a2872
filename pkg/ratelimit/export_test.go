package ratelimit

// Reporting reports whether Redis is yet to be told about requests.
func (l *Limiter) Reporting() bool {
	l.local.mu.Lock()
	defer l.local.mu.Unlock()
	return l.shared != nil && l.shared.running
}
