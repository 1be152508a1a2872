package logging

import (
	"bytes"
	"io"
	"sync"
	"time"
)

const (
	// maxBuffered is the maximum size of the lines that wait to be written, in bytes.
	maxBuffered = 1 << 20
	// flushSize is the size in bytes from which lines are written at once.
	flushSize = 64 << 10
	// flushInterval is how long other lines wait for further ones.
	flushInterval = 100 * time.Millisecond
	// syncTimeout is how long Sync waits until all lines are written.
	syncTimeout = time.Second
)

// writer writes in the background, so that nobody waits for a pipe that is not read.
// Lines are written together, after flushInterval at most. Those that don't fit into
// the buffer, or fail to be written, are dropped and counted.
type writer struct {
	out io.Writer
	// notice returns a line that says how many lines were dropped.
	notice func(lines int) []byte
	now    chan struct{} // ends the flushInterval

	mu       sync.Mutex
	buffered []byte
	free     []byte        // becomes buffered when that is written
	idle     chan struct{} // closed when all lines are written; nil if they are
	dropped  int
	noticed  int // of dropped
}

// Write implements io.Writer. line must be a whole line. It never blocks or fails.
func (w *writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buffered)+len(line) > maxBuffered {
		w.dropped++
		return len(line), nil
	}
	w.buffered = append(w.buffered, line...)
	if w.idle == nil {
		w.idle = make(chan struct{})
		go w.run()
	}
	if len(w.buffered) >= flushSize {
		w.flush()
	}
	return len(line), nil
}

// flush makes the lines be written now, without waiting for that.
func (w *writer) flush() {
	select {
	case w.now <- struct{}{}:
	default:
	}
}

// run waits for a flush, and writes until the buffer is empty.
func (w *writer) run() {
	timeout := time.NewTimer(flushInterval)
	select {
	case <-w.now:
		timeout.Stop()
	case <-timeout.C:
	}
	for {
		lines := w.next()
		if lines == nil {
			return
		}
		if _, err := w.out.Write(lines); err != nil {
			w.mu.Lock()
			w.dropped += bytes.Count(lines, []byte("\n"))
			w.noticed = w.dropped // the notice would fail, too
			w.mu.Unlock()
		}
	}
}

// next returns the lines to write, or nil if there are none. They are valid until it
// is called again.
func (w *writer) next() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	if lost := w.dropped - w.noticed; lost > 0 {
		w.noticed = w.dropped
		w.buffered = append(w.buffered, w.notice(lost)...)
	}
	if len(w.buffered) == 0 {
		close(w.idle)
		w.idle = nil
		return nil
	}
	lines := w.buffered
	w.buffered, w.free = w.free[:0], lines
	return lines
}

// Sync waits until all lines are written, for syncTimeout at most.
func (w *writer) Sync() error {
	w.mu.Lock()
	idle := w.idle
	w.mu.Unlock()
	if idle == nil {
		return nil
	}
	w.flush()
	select {
	case <-idle:
	case <-time.After(syncTimeout):
	}
	return nil
}

func (w *writer) lost() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dropped
}
