package lifecycle

import (
	"bufio"
	"net"
	"net/http"

	"github.com/achilles-blog/achilles/pkg/failpoint"
)

// CloseWhenDraining marks every answer whose header is written after draining
// was closed with "Connection: close", so that clients and proxies open their
// next connection elsewhere. In HTTP/1.1 the server closes the connection
// after that answer; in HTTP/2 net/http sends GOAWAY instead and lets the
// streams in flight end. Requests that began before the drain are marked too.
func CloseWhenDraining(draining <-chan struct{}, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writer := &drainWriter{ResponseWriter: w, draining: draining}
		next.ServeHTTP(writer, r)
		// A handler that wrote nothing is answered by net/http with a 200 that
		// never passes through the writer.
		if !writer.started {
			writer.mark(http.StatusOK)
		}
	})
}

// drainWriter looks at the drain when the header is written, not when the
// request begins.
type drainWriter struct {
	http.ResponseWriter
	draining <-chan struct{}
	started  bool
}

func (w *drainWriter) mark(status int) {
	interim := status < http.StatusOK
	if w.started || interim {
		return
	}
	w.started = true
	if closed(w.draining) && !failpoint.Enabled(failpoint.DisableKeepAlives) {
		w.Header().Set("Connection", "close")
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *drainWriter) WriteHeader(status int) {
	w.mark(status)
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *drainWriter) Write(data []byte) (int, error) {
	w.mark(http.StatusOK)
	return w.ResponseWriter.Write(data)
}

// Flush implements http.Flusher; flushing writes the header.
func (w *drainWriter) Flush() {
	w.mark(http.StatusOK)
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// FlushError is what http.ResponseController calls in place of Flush.
func (w *drainWriter) FlushError() error {
	w.mark(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker. A hijacked connection is its taker's to
// end; see Process.OnStop.
func (w *drainWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// CloseNotify is there because gin's Context.Stream asserts it.
func (w *drainWriter) CloseNotify() <-chan bool {
	if notifier, ok := w.ResponseWriter.(interface{ CloseNotify() <-chan bool }); ok {
		return notifier.CloseNotify()
	}
	return make(chan bool)
}

// Unwrap lets http.ResponseController reach the server's own writer.
func (w *drainWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
