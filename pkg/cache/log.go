package cache

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// logInterval is the minimum time between two lines of one kind.
const logInterval = time.Minute

// LogTo makes go-redis log to log. It applies to all clients of the process, because
// go-redis has one logger, which writes plain text to standard error. A line of one
// kind is logged at most once a minute: the library logs each of its attempts.
func LogTo(log *zap.Logger) { redis.SetLogger(&logger{log: log, last: map[string]time.Time{}}) }

type logger struct {
	log *zap.Logger

	mu   sync.Mutex
	last map[string]time.Time // by format, of which the library has a few
}

// Printf is called by go-redis.
func (l *logger) Printf(_ context.Context, format string, v ...any) {
	if l.due(format) {
		l.log.Warn("Redis client", zap.String("detail", fmt.Sprintf(format, v...)))
	}
}

func (l *logger) due(format string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if last, logged := l.last[format]; logged && now.Sub(last) < logInterval {
		return false
	}
	l.last[format] = now
	return true
}
