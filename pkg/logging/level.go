package logging

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// temporarily is how long a level of ServeLevel is in force.
	temporarily = 10 * time.Minute
	// maxLevelBody is the maximum size of the body of a request for ServeLevel, in bytes.
	maxLevelBody = 1 << 10
)

// levelControl has the configured level, and one that takes its place for a while.
type levelControl struct {
	now zap.AtomicLevel

	mu         sync.Mutex
	configured zapcore.Level
	until      time.Time // zero if the configured level is in force
	end        *time.Timer
}

// configure changes the configured level. If another one takes its place, it is in force
// afterwards.
func (l *levelControl) configure(level zapcore.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.configured = level
	if l.until.IsZero() {
		l.now.SetLevel(level)
	}
}

// replace puts another level in force for a while, after which ended is called.
func (l *levelControl) replace(level zapcore.Level, ended func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end != nil {
		l.end.Stop()
	}
	until := time.Now().Add(temporarily)
	l.until = until
	l.now.SetLevel(level)
	l.end = time.AfterFunc(temporarily, func() {
		if l.restore(until) {
			ended()
		}
	})
}

// restore puts the configured level in force, unless another one does so later.
func (l *levelControl) restore(until time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until != until {
		return false
	}
	l.until = time.Time{}
	l.now.SetLevel(l.configured)
	return true
}

// close keeps the level that is in force.
func (l *levelControl) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end != nil {
		l.end.Stop()
	}
}

// levelAnswer is a response of ServeLevel.
type levelAnswer struct {
	Level      string     `json:"level"`
	Configured string     `json:"configured"`
	Until      *time.Time `json:"until,omitempty"`
}

func (l *levelControl) answer() levelAnswer {
	l.mu.Lock()
	defer l.mu.Unlock()
	answer := levelAnswer{Level: l.now.String(), Configured: l.configured.String()}
	if !l.until.IsZero() {
		until := l.until.UTC().Truncate(time.Second)
		answer.Until = &until
	}
	return answer
}

// SetLevel changes the configured minimum level of this logger and of all loggers derived
// from it. A level of ServeLevel stays in force until its time is over.
func (l *Logger) SetLevel(text string) error {
	level, err := parseLevel(text)
	if err == nil {
		l.level.configure(level)
	}
	return err
}

// ServeLevel answers GET with the level in force, and with the configured one. PUT puts another
// level in force for ten minutes: {"level":"debug"} as JSON, or level=debug in a form or in the
// query.
func (l *Logger) ServeLevel(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		r.Body = http.MaxBytesReader(w, r.Body, maxLevelBody)
		text, err := levelOf(r)
		level := zapcore.Level(0)
		if err == nil {
			level, err = parseLevel(text)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		l.Warn("another log level is in force for a while", zap.Stringer("level", level), zap.Duration("for", temporarily))
		l.level.replace(level, func() {
			l.Warn("the configured log level is in force again", zap.String("level", l.level.answer().Level))
		})
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(l.level.answer())
}

func levelOf(r *http.Request) (string, error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		return r.FormValue("level"), nil
	}
	var body struct{ Level string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return "", fmt.Errorf(`the body is no JSON such as {"level":"debug"}: %w`, err)
	}
	return body.Level, nil
}
