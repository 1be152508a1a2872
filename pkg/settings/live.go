package settings

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Live is a configuration of type C, or a part of one, whose settings tagged `live:"true"` change while the process runs. Its
// methods are safe for concurrent use.
//
// What a request does depends on one [Snapshot] of the configuration, from its first middleware to its last handler: its context
// has the snapshot under [SnapshotKey]. Parts of a program don't keep settings that change, but what they make of them, as a
// [Value].
type Live[C any] struct {
	source *source
	part   func(whole any) C
}

// source is what a configuration and its parts have in common.
type source struct {
	mu     sync.Mutex // held by those who publish
	derive []func(whole any) (any, error)
	now    atomic.Pointer[Snapshot]
}

// Snapshot is a configuration at a moment, with the values that are derived from it. It never changes.
type Snapshot struct {
	source *source
	whole  any
	values []any
}

// SnapshotKey is the key of the *Snapshot in the context of a request.
type SnapshotKey struct{}

// NewLive returns a configuration, and the function that changes it. Both this configuration and those that it is changed to must
// be valid.
//
// update publishes the live settings of a configuration and returns the settings that differ: live ones from the present values,
// others from those of the start, which stay in use. If it returns an error, it has published nothing; with one that wraps
// [ErrNeedsRestart] it also returns the changes.
func NewLive[C any](config C) (live *Live[C], update func(C) ([]Change, error)) {
	s := &source{}
	s.now.Store(&Snapshot{source: s, whole: config})
	return &Live[C]{s, func(whole any) C { return whole.(C) }}, func(loaded C) ([]Change, error) { return publish(s, loaded) }
}

// Fixed returns a configuration that never changes.
func Fixed[C any](config C) *Live[C] {
	live, _ := NewLive(config)
	return live
}

// Part returns a part of a configuration, which changes together with the whole.
func Part[C, P any](l *Live[C], part func(C) P) *Live[P] {
	return &Live[P]{l.source, func(whole any) P { return part(l.part(whole)) }}
}

// Now returns the present configuration, which must not be written to. Code that works for a request uses a [Value] instead.
func (l *Live[C]) Now() C { return l.part(l.Snapshot().whole) }

// Snapshot returns the present snapshot, for the context of a request.
func (l *Live[C]) Snapshot() *Snapshot { return l.source.now.Load() }

// Value is derived from a configuration, and anew from each changed one.
type Value[T any] struct {
	source *source
	index  int
}

// Derive returns the value that derive makes of the configuration. For each changed configuration, derive is called again before
// anyone sees the configuration, and may reject it by an error. It must not have side effects: another value may reject the same
// configuration.
func Derive[C, T any](l *Live[C], derive func(C) (T, error)) (Value[T], error) {
	s := l.source
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now.Load()
	ofWhole := func(whole any) (any, error) { return derive(l.part(whole)) }
	value, err := ofWhole(now.whole)
	if err != nil {
		return Value[T]{}, err
	}
	s.derive = append(s.derive, ofWhole)
	s.now.Store(&Snapshot{source: s, whole: now.whole, values: append(slices.Clone(now.values), value)})
	return Value[T]{s, len(now.values)}, nil
}

// Map is like [Derive], for a function that rejects no configuration.
func Map[C, T any](l *Live[C], derive func(C) T) Value[T] {
	value, _ := Derive(l, func(c C) (T, error) { return derive(c), nil })
	return value
}

// Constant returns a value that is derived from no configuration.
func Constant[T any](value T) Value[T] {
	s := &source{}
	s.now.Store(&Snapshot{source: s, values: []any{value}})
	return Value[T]{s, 0}
}

// In returns the value in the snapshot of a request, or the present one if ctx has no snapshot.
func (v Value[T]) In(ctx context.Context) T {
	s, _ := ctx.Value(SnapshotKey{}).(*Snapshot)
	if s == nil || s.source != v.source || v.index >= len(s.values) {
		s = v.source.now.Load()
	}
	return s.values[v.index].(T)
}

// Change is a setting of which two configurations have different values.
type Change struct {
	Key      string
	From, To string // as texts; secrets are masked
	// Live reports whether the change takes effect while the process runs.
	Live bool
}

// String returns the change as a text for the log.
func (c Change) String() string { return fmt.Sprintf("%s: %q, was %q", c.Key, c.To, c.From) }

// ErrNeedsRestart is wrapped by the error of a configuration that is valid, but whose live settings are not valid together with
// those that the process has started with.
var ErrNeedsRestart = errors.New("these settings only go together with others that need a restart")

// publish is the function that NewLive returns.
func publish[C any](s *source, loaded C) ([]Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.now.Load().whole.(C)
	changes, err := apply(&next, &loaded)
	if err != nil || !slices.ContainsFunc(changes, func(c Change) bool { return c.Live }) {
		return changes, err
	}
	if err := validateAll(&next); err != nil {
		return changes, fmt.Errorf("%w: %w", ErrNeedsRestart, err)
	}
	snapshot := &Snapshot{source: s, whole: next, values: make([]any, len(s.derive))}
	for i, derive := range s.derive {
		if snapshot.values[i], err = derive(next); err != nil {
			return nil, err
		}
	}
	s.now.Store(snapshot)
	return changes, nil
}

// apply sets the live settings of the configuration to which dst points to those of src, and returns what differs.
func apply(dst, src any) ([]Change, error) {
	old, err := describe(dst)
	if err != nil {
		return nil, err
	}
	loaded, err := describe(src)
	if err != nil {
		return nil, err
	}
	var changes []Change
	for i, f := range old.fields {
		to := loaded.fields[i]
		if f.equal(to) || old.fromFile(f) && loaded.fromFile(to) {
			continue
		}
		changes = append(changes, Change{Key: f.key, From: f.text(), To: to.text(), Live: f.live})
		if f.live {
			f.value.Set(to.value)
		}
	}
	return changes, nil
}

// equal reports whether two fields of the same setting have the same value. A list that is not set is an empty one.
func (f field) equal(other field) bool {
	if list, ok := f.value.Interface().([]string); ok {
		return slices.Equal(list, other.value.Interface().([]string))
	}
	return f.value.Equal(other.value)
}

// fromFile reports whether a secret comes from a file. Then its setting is the name of the file, and not the content, which
// changes by itself.
func (s *schema) fromFile(f field) bool {
	name, ok := s.field(f.key + "File")
	return f.secret() && ok && name.value.String() != ""
}

// validateAll reports the values of a configuration that its sections or the whole do not allow.
func validateAll(dst any) error {
	known, err := describe(dst)
	if err != nil {
		return err
	}
	l := &loading{schema: known, broken: map[string]bool{}}
	l.validate()
	return errors.Join(l.problems...)
}

// ReloadStatus is the result of the last time that a process has read its configuration, first at its start.
type ReloadStatus struct {
	Time time.Time `json:"time"`
	// OK reports whether the configuration was valid. If not, the former one is in use, and Error says why, with the keys.
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
	// Restart has the keys of changed settings that take effect at the next start. If Error is not empty, it says why live
	// settings are among them.
	Restart []string `json:"restart,omitempty"`
}
