package lifecycle_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/achilles-blog/achilles/pkg/lifecycle"
)

func TestCloseWhenDraining(t *testing.T) {
	handlers := map[string]http.HandlerFunc{
		"explicit status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) },
		"write":           func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") },
		"flush":           func(w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush() },
		"controller": func(w http.ResponseWriter, _ *http.Request) {
			if err := http.NewResponseController(w).Flush(); err != nil {
				panic(err)
			}
		},
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"interim first": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusOK)
		},
	}
	for name, write := range handlers {
		t.Run(name, func(t *testing.T) {
			for _, drained := range []bool{false, true} {
				draining := make(chan struct{})
				// The request begins before the drain, and its header is written during the drain.
				srv := httptest.NewServer(lifecycle.CloseWhenDraining(draining, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if drained {
						close(draining)
					}
					write(w, r)
				})))
				c := mustDial(t, srv.Listener.Addr().String())
				require.NoError(t, c.send(http.MethodGet, "/", ""))
				status, _, closing, err := c.receive()
				if status == http.StatusEarlyHints {
					require.False(t, closing, "an interim response does not close the connection")
					_, _, closing, err = c.receive()
				}
				require.NoError(t, err)
				require.Equal(t, drained, closing, "Connection: close, draining %v", drained)
				srv.Close()
			}
		})
	}
}

func TestCloseWhenDrainingSupportsResponseController(t *testing.T) {
	errs := make(chan error, 2)
	srv := httptest.NewServer(lifecycle.CloseWhenDraining(nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		errs <- http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience))
		taken, _, err := w.(http.Hijacker).Hijack()
		errs <- err
		if err == nil {
			_, _ = io.WriteString(taken, "HTTP/1.1 204 No Content\r\n\r\n")
			_ = taken.Close()
		}
	})))
	defer srv.Close()
	c := mustDial(t, srv.Listener.Addr().String())
	require.NoError(t, c.send(http.MethodGet, "/", ""))
	status, _, _, err := c.receive()
	require.NoError(t, err)
	require.Equal(t, http.StatusNoContent, status)
	require.NoError(t, <-errs)
	require.NoError(t, <-errs)
}

func TestCloseNotify(t *testing.T) {
	started, gone := make(chan struct{}), make(chan struct{})
	srv := httptest.NewServer(lifecycle.CloseWhenDraining(nil, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		notified := w.(interface{ CloseNotify() <-chan bool }).CloseNotify()
		close(started)
		<-notified
		close(gone)
	})))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
	require.NoError(t, err)
	go func() { <-started; cancel() }()
	response, err := srv.Client().Do(request)
	if err == nil {
		_ = response.Body.Close()
	}
	require.ErrorIs(t, err, context.Canceled)
	await(t, "the notification", gone)
}
