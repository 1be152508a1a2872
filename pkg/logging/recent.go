package logging

import (
	"bytes"
	"encoding/json"
	"slices"
	"sync"

	"go.uber.org/zap/zapcore"
)

const (
	// maxRecent is the maximum number of lines that recent keeps.
	maxRecent = 100
	// maxRecentBytes is the maximum size of all of them, and maxRecentLine that of one.
	maxRecentBytes = 128 << 10
	maxRecentLine  = 8 << 10
)

// recent keeps the last lines of the level error.
type recent struct {
	mu    sync.Mutex
	lines [][]byte // the oldest first
	bytes int
}

func (r *recent) core() zapcore.Core {
	return zapcore.NewCore(jsonEncoder(), zapcore.AddSync(r), zapcore.ErrorLevel)
}

// Write implements io.Writer. line must be a whole line, as JSON. One that is too long is
// replaced by its beginning.
func (r *recent) Write(line []byte) (int, error) {
	kept := slices.Clone(bytes.TrimSuffix(line, []byte("\n")))
	if len(kept) > maxRecentLine {
		kept = shorten(kept)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, kept)
	r.bytes += len(kept)
	for len(r.lines) > maxRecent || r.bytes > maxRecentBytes {
		r.bytes -= len(r.lines[0])
		r.lines[0] = nil
		r.lines = r.lines[1:]
	}
	return len(line), nil
}

// shorten returns an object with the time, level and message of a line, and with the
// beginning of the line.
func shorten(line []byte) []byte {
	var head struct {
		Time    string `json:"ts"`
		Level   string `json:"level"`
		Message string `json:"msg"`
		Line    string `json:"beginning"`
	}
	_ = json.Unmarshal(line, &head) // what can't be read stays empty
	const part = maxRecentLine / 16 // six bytes for each, if they must be escaped
	head.Message = head.Message[:min(len(head.Message), part)]
	head.Line = string(line[:part])
	short, err := json.Marshal(head)
	if err != nil {
		return []byte("{}")
	}
	return short
}

// Recent returns the last lines of the level error, as JSON and the newest first: 100, or
// fewer if they are long.
func (l *Logger) Recent() []json.RawMessage {
	l.recent.mu.Lock()
	defer l.recent.mu.Unlock()
	lines := make([]json.RawMessage, 0, len(l.recent.lines))
	for _, line := range slices.Backward(l.recent.lines) {
		lines = append(lines, line)
	}
	return lines
}

// Level returns the minimum level.
func (l *Logger) Level() string { return l.level.now.String() }
