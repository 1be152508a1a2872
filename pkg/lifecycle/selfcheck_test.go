package lifecycle

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSelfCheckWaitsUntilTheServiceAnswers(t *testing.T) {
	var asked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	require.NoError(t, SelfCheck(t.Context(), srv.URL))
	require.EqualValues(t, 3, asked.Load())
}

func TestSelfCheckIgnoresProxies(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	require.NoError(t, SelfCheck(t.Context(), srv.URL))
}

func TestSelfCheckGivesUp(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	}))
	defer srv.Close()
	err := selfCheck(t.Context(), srv.URL, 250*time.Millisecond)
	require.ErrorIs(t, err, ErrNotUp)
	require.ErrorContains(t, err, "418")

	srv.Close()
	err = selfCheck(t.Context(), srv.URL, 250*time.Millisecond)
	require.ErrorIs(t, err, ErrNotUp)
	require.ErrorContains(t, err, "refused")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = selfCheck(ctx, srv.URL, selfCheckLimit)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrNotUp)
}

// A server that accepts and hangs must not stretch the limit.
func TestSelfCheckKeepsItsLimit(t *testing.T) {
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer srv.Close()
	defer close(hang)
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		began := time.Now()
		require.ErrorIs(t, selfCheck(ctx, srv.URL, 200*time.Millisecond), ErrNotUp)
		require.Less(t, time.Since(began), selfCheckTry, "it waited for a probe beyond its limit")
		cancel()
	}
}
