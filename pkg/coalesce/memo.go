package coalesce

import "sync"

// A Memo keeps what is computed from a shared value, such as its encodings, for all who
// share the value. There should be few different keys. The zero Memo is empty. It is
// safe for concurrent use, and must not be copied.
type Memo[K comparable, V any] struct {
	mu   sync.Mutex
	kept []kept[K, V]
}

type kept[K comparable, V any] struct {
	key   K
	value V
}

// Get returns what compute returned when it was first called for the key. Others wait
// meanwhile. If compute panics, the next call of Get calls it again.
func (m *Memo[K, V]) Get(key K, compute func() V) V {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.kept {
		if k.key == key {
			return k.value
		}
	}
	value := compute()
	m.kept = append(m.kept, kept[K, V]{key, value})
	return value
}
