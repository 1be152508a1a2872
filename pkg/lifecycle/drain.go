package lifecycle

import (
	"bufio"
	"net"
	"net/http"

	"github.com/achilles-blog/achilles/pkg/failpoint"
)

// closeWhenDraining adds "Connection: close" to every response whose header is
// written after draining was closed, so that clients and proxies open their next
// connection to another replica. With HTTP/1.1 the server closes the connection
// after that response; with HTTP/2 net/http sends GOAWAY and finishes the open
// streams.
func closeWhenDraining(draining <-chan struct{}, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		writer := &drainWriter{ResponseWriter: w, draining: draining}
		next.ServeHTTP(writer, r)
		// If the handler wrote nothing, net/http sends a 200 that does not pass
		// through the writer.
		if !writer.started {
			writer.mark(http.StatusOK)
		}
	})
}

// drainWriter sets the header Connection when the response header is written:
// the drain may begin after the request.
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

// Flush implements http.Flusher. It writes the header.
func (w *drainWriter) Flush() {
	w.mark(http.StatusOK)
	_ = http.NewResponseController(w.ResponseWriter).Flush()
}

// FlushError is called by http.ResponseController instead of Flush.
func (w *drainWriter) FlushError() error {
	w.mark(http.StatusOK)
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack implements http.Hijacker. The stop does not close a hijacked connection;
// see Process.OnStop.
func (w *drainWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// CloseNotify implements http.CloseNotifier, which gin's Context.Stream needs.
func (w *drainWriter) CloseNotify() <-chan bool {
	if notifier, ok := w.ResponseWriter.(interface{ CloseNotify() <-chan bool }); ok {
		return notifier.CloseNotify()
	}
	return make(chan bool)
}

// Unwrap is used by http.ResponseController.
func (w *drainWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
